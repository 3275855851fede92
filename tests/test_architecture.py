"""Holds the code to the map: who may import whom, and which file is a library's only door."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "enginix"

# Imports go one way. The build side (checkpoint, engine) and the serve side (chat, triton,
# backends, gateway, serve) meet in the manifest and nowhere else. These are the imports there
# are: add a line when you add the first import of another part.
MAY_IMPORT = {
    "errors": set(),
    "memory": set(),
    "owned": set(),
    "prerequisites": set(),
    "readiness": set(),
    "records": set(),
    "accuracy": {"errors", "manifest", "process", "records"},
    "bench": {"errors", "records"},
    "manifest": {"errors", "records"},
    "plain_files": {"errors"},
    "process": {"errors"},
    # All that a gateway and a supervisor know of each other.
    "supervision": {"errors", "records", "speculative"},
    "speculative": {"errors"},
    "catalog": {"errors", "manifest", "records", "speculative"},
    "deploy": {"catalog", "errors"},
    "gguf_header": {"errors", "records"},
    "hub_files": {"errors", "plain_files", "records"},
    "marked": {"process"},
    "ports": {"errors", "process"},
    "runtimes": {"errors", "prerequisites", "process", "records"},
    "chat": {"errors", "hub_files"},
    "checkpoint": {"catalog", "errors", "hub_files", "manifest", "plain_files", "records"},
    "engine": {
        "accuracy",
        "checkpoint",
        "errors",
        "gguf_header",
        "hub_files",
        "manifest",
        "marked",
        "memory",
        "plain_files",
        "process",
        "records",
    },
    "generation": {"chat"},
    "inventory": {
        "catalog",
        "checkpoint",
        "errors",
        "manifest",
        "owned",
        "process",
        "runtimes",
        "supervision",
    },
    "triton": {
        "catalog",
        "errors",
        "generation",
        "hub_files",
        "manifest",
        "owned",
        "ports",
        "process",
    },
    "backends": {"chat", "errors", "generation", "triton"},
    "doctor": {"errors", "manifest", "ports", "prerequisites", "process", "triton"},
    "gateway": {
        "backends",
        "catalog",
        "chat",
        "errors",
        "generation",
        "hub_files",
        "manifest",
        "process",
        "speculative",
        "supervision",
    },
    "serve": {
        "backends",
        "catalog",
        "errors",
        "gguf_header",
        "hub_files",
        "manifest",
        "marked",
        "memory",
        "owned",
        "plain_files",
        "ports",
        "process",
        "readiness",
        "records",
        "runtimes",
        "speculative",
        "supervision",
    },
    "cli": {
        "accuracy",
        "backends",
        "bench",
        "catalog",
        "chat",
        "checkpoint",
        "deploy",
        "doctor",
        "engine",
        "errors",
        "gateway",
        "generation",
        "inventory",
        "manifest",
        "memory",
        "owned",
        "ports",
        "prerequisites",
        "process",
        "readiness",
        "records",
        "runtimes",
        "serve",
        "supervision",
        "triton",
    },
    "__main__": {"cli"},
}

# Outside library -> the places that may import it. Every library that the package imports is here.
ONLY_DOOR = {
    "argparse": (
        "cli/",
        "engine/trtllm/convert.py",
        "runtimes/edge_llm_program.py",
        "serve/llama_server.py",
    ),
    "experimental": ("runtimes/edge_llm_program.py",),
    "fastapi": ("gateway/",),
    "gguf": ("engine/gguf/",),
    "google": ("triton/",),
    "grpc": ("triton/client/",),
    "hpack": ("triton/client/http2/",),
    "httptools": ("backends/", "bench/connection.py", "gateway/http/"),
    "httpx": ("accuracy/server.py", "bench/", "checkpoint/", "cli/", "readiness.py", "serve/"),
    "huggingface_hub": ("checkpoint/listing.py",),
    "jinja2": ("chat/",),
    "markupsafe": ("chat/",),
    "matplotlib": ("bench/plot.py",),
    "numpy": ("engine/gguf/",),
    "opentelemetry": ("gateway/traces/otlp.py",),
    "orjson": ("backends/", "bench/", "cli/openai_models.py", "gateway/"),
    "prometheus_client": (
        "gateway/models/conditions.py",
        "gateway/models/metrics.py",
        "gateway/models/server_metrics.py",
    ),
    "pydantic": ("gateway/",),
    "pydantic_core": ("gateway/http/body.py",),
    "regex": ("engine/text/libraries.py",),
    "rich": ("cli/",),
    "sentencepiece": ("engine/text/libraries.py",),
    "starlette": ("gateway/",),
    "subprocess": ("process.py",),
    "tensorrt_edgellm": ("runtimes/edge_llm_program.py",),
    "tensorrt_llm": ("engine/trtllm/convert.py",),
    "tiktoken": ("engine/text/libraries.py",),
    "tokenizers": ("chat/tokens.py", "engine/text/libraries.py"),
    "transformers": ("engine/text/libraries.py",),
    "tritonclient": ("triton/",),
    "uvicorn": ("gateway/",),
    "uvloop": ("cli/bench.py", "cli/bench_report.py"),
    "xllamacpp": ("serve/llama_server.py",),
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


MODULES = [str(path.relative_to(PACKAGE)) for path in python_files()]


def imported_by(module: str) -> set[str]:
    """The modules it imports, and every `module.name` that it imports from one."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def parts_imported_by(module: str) -> set[str]:
    ours = [name.split(".") for name in imported_by(module) if name.startswith("enginix.")]
    return {name[1] for name in ours} - {part_of(module), "__version__"}


def dotted(module: str) -> str:
    return f"enginix.{module.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_part_may(module: str) -> None:
    assert parts_imported_by(module) <= MAY_IMPORT.get(part_of(module), set())


def test_the_map_allows_no_import_that_no_module_makes() -> None:
    unused = {part: set(allowed) for part, allowed in MAY_IMPORT.items()}
    for module in MODULES:
        unused.get(part_of(module), set()).difference_update(parts_imported_by(module))
    assert not {part: names for part, names in unused.items() if names}


@pytest.mark.parametrize("part", ["chat", "generation", "triton", "backends", "gateway", "serve"])
def test_the_build_side_and_the_serve_side_never_import_each_other(part: str) -> None:
    build = {"checkpoint", "engine"}
    assert not MAY_IMPORT[part] & build
    assert not any(part in MAY_IMPORT[each] for each in build)


def test_no_module_imports_itself_through_others() -> None:
    # Imports for type checkers count: a module that needs another's types depends on it.
    names = {dotted(module) for module in MODULES}
    imports = {dotted(module): imported_by(module) & names for module in MODULES}
    graph = {name: found - {name} for name, found in imports.items()}
    TopologicalSorter(graph).prepare()  # A CycleError names the modules.


def test_every_outside_library_has_its_door_named() -> None:
    imported = {name.split(".")[0] for module in MODULES for name in imported_by(module)}
    assert not imported - sys.stdlib_module_names - {"", "enginix"} - ONLY_DOOR.keys()


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
def test_only_the_registry_asks_what_kind_a_model_is_of(module: str) -> None:
    text = (PACKAGE / module).read_text(encoding="utf-8")
    asked = re.search(r"isinstance\([^()]*(Served|Passthrough|Engine|Server)Model", text)
    assert not asked or module == "gateway/models/registry.py"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    text = (PACKAGE / module).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()


def test_the_map_names_every_folder() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {f"{Path(module).parent}/" for module in MODULES if "/" in module}
    assert not {folder for folder in folders if folder not in page}


def test_the_guide_names_files_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and ".py`" in line]
    paths = [path for row in rows for path in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
    assert paths
    assert not [path for path in paths if not any((at / path).exists() for at in (PACKAGE, ROOT))]


MAX_FILE, MAX_FUNCTION = 300, 40

# What is longer, and why.
LONG = {
    "errors.py": "the exception tree is read as a whole",
    "triton/client/http2/connection.py": "one state machine; its parts share every field per frame",
    "triton/client/http2/connection.py:__init__": "the fields of that state, each with its reason",
    "cli/bench.py:add_arguments": "one statement per option",
    "engine/gguf/build.py:gguf_build": "the stages of a build in their order",
    "engine/trtllm/watchdog.py:watch": "one loop over one process, with its cleanup",
    "gateway/app.py:create_app": "everything an application consists of, in its order",
}


def test_a_long_file_or_function_has_a_reason() -> None:
    long = set()
    for module in MODULES:
        text = (PACKAGE / module).read_text(encoding="utf-8")
        if len(text.splitlines()) > MAX_FILE:
            long.add(module)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > MAX_FUNCTION:
                    long.add(f"{module}:{node.name}")
    assert long == LONG.keys()
