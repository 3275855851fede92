"""Holds the code to the map: who may import whom, and which file is a library's only door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "enginix"

BASE = {
    "errors",
    "marked",
    "owned",
    "ports",
    "prerequisites",
    "process",
    "readiness",
    "records",
    "manifest",
    "plain_files",
    "hub_files",
    "catalog",
    "runtimes",
}
BUILD = BASE | {"checkpoint", "engine"}
SERVE = BASE | {"chat", "generation", "triton", "backends"}

# Imports go one way. The build side (checkpoint, engine) and the serve side (chat, triton,
# backends, gateway, serve) meet in the manifest and nowhere else.
MAY_IMPORT = {
    "errors": set(),
    "prerequisites": set(),
    "marked": {"process"},
    "owned": set(),
    "ports": {"errors", "process"},
    "process": {"errors"},
    "readiness": set(),
    "records": set(),
    "manifest": {"errors", "records"},
    "catalog": {"errors", "manifest", "records"},
    "runtimes": {"errors", "prerequisites", "process", "records"},
    "checkpoint": BASE,
    "engine": BASE | {"checkpoint"},
    "plain_files": {"errors"},
    "hub_files": {"errors", "plain_files", "records"},
    "chat": {"errors", "hub_files"},
    "generation": {"errors"},
    "triton": BASE | {"chat", "generation"},
    "backends": BASE | {"chat", "generation", "triton"},
    "gateway": SERVE,
    "serve": SERVE,
    "doctor": BASE | {"triton"},
    "bench": {"errors", "process", "records"},
    "cli": BUILD | SERVE | {"gateway", "serve", "doctor", "bench"},
    "__main__": {"cli"},
}

# Outside library -> the places that may import it.
ONLY_DOOR = {
    "fastapi": ("gateway/", "backends/"),
    "grpc": ("triton/",),
    "tritonclient": ("triton/",),
    "google": ("triton/",),
    "hpack": ("triton/",),
    "subprocess": ("process.py",),
    "tokenizers": ("chat/", "engine/text/libraries.py"),
    "transformers": ("engine/text/libraries.py",),
    "sentencepiece": ("engine/text/libraries.py",),
    "tiktoken": ("engine/text/libraries.py",),
    "regex": ("engine/text/libraries.py",),
    "jinja2": ("chat/",),
    "gguf": ("engine/gguf/",),
    "huggingface_hub": ("checkpoint/listing.py",),
    "tensorrt_llm": ("engine/trtllm/convert.py",),
    "rich": ("cli/",),
    "matplotlib": ("bench/plot.py",),
    "argparse": ("cli/", "engine/trtllm/convert.py", "serve/llama_server.py"),
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


MODULES = [str(path.relative_to(PACKAGE)) for path in python_files()]


def imported_by(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module or "")
            if node.module == "enginix":
                names |= {f"enginix.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_part_may(module: str) -> None:
    part = module.split("/")[0].removesuffix(".py")
    ours = {name.split(".")[1] for name in imported_by(module) if name.startswith("enginix.")}
    assert ours - {part, "__version__"} <= MAY_IMPORT.get(part, set())


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_imported_only_through_its_door(module: str) -> None:
    for name in {name.split(".")[0] for name in imported_by(module)} & ONLY_DOOR.keys():
        assert module.startswith(ONLY_DOOR[name]), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_not_loaded_by_its_name_past_its_door(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    loads = {"import_module", "__import__", "load"}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = [
        call.args[0].value.split(".")[0]
        for call in calls
        if isinstance(call.func, ast.Name | ast.Attribute)
        and (call.func.id if isinstance(call.func, ast.Name) else call.func.attr) in loads
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]
    for name in set(names) & ONLY_DOOR.keys():
        assert module.startswith(ONLY_DOOR[name]), f"{module} loads {name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_reads_the_environment(module: str) -> None:
    text = (PACKAGE / module).read_text(encoding="utf-8")
    reads = "os.environ" in text or "getenv(" in text
    assert not reads or module == "cli/environment.py"


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("cli/")])
def test_only_the_command_line_prints(module: str) -> None:
    calls = ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8")))
    printed = [
        node.lineno
        for node in calls
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    # convert.py runs inside TensorRT-LLM's own Python, where a line of text is its report.
    assert not printed or module == "engine/trtllm/convert.py"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    text = (PACKAGE / module).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()


def test_the_map_names_every_folder() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {f"{Path(module).parent}/" for module in MODULES if "/" in module}
    assert not {folder for folder in folders if folder not in page}
