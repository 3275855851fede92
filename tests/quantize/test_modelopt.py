"""The real ModelOpt, on the CPU: the demo model in BF16, quantized as tools/ does it by hand.

Needs the environment of `enginix setup modelopt`; `make test-modelopt` has one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.made_checkpoint import DEMO

from enginix.accuracy.text import ENGLISH
from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.checkpoint.tensors import read_headers
from enginix.cli import environment
from enginix.cli.main import main
from enginix.runtimes.runtime import Runtime

TOOLS = Path(__file__).parents[2] / "tools" / "demo-checkpoint"
WITH_DEQUANTIZE = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\n"

# Writes the BF16 model of an NVFP4 checkpoint.
PLAIN = (
    WITH_DEQUANTIZE
    + """
from pathlib import Path
import torch
from dequantize import load_model
load_model(Path(sys.argv[1]), torch.bfloat16).save_pretrained(sys.argv[2])
"""
)
# Tokenizes lines of text for tools/demo-checkpoint/quantize.py.
TOKENIZE = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = [tokenizer(line.strip())["input_ids"][:512] for line in open(sys.argv[2])]
json.dump([{"prompt_ids": row, "answer_ids": []} for row in rows], open(sys.argv[3], "w"))
"""
# Whether every weight is the same number in two NVFP4 checkpoints.
SAME = (
    WITH_DEQUANTIZE
    + """
from pathlib import Path
import torch
from dequantize import load_weights
one, other = (load_weights(Path(each), torch.float32) for each in sys.argv[1:])
print(one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one))
"""
)


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    root = environment.runtime_override("modelopt")
    if root is None:
        pytest.skip("ENGINIX_RUNTIME_MODELOPT names no environment; `make test-modelopt` sets it")
    with pytest.MonkeyPatch.context() as patch:
        # More threads than free cores make a small model ten times slower.
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Runtime(root).python


def run(python: Path, *words: str | Path) -> str:
    done = subprocess.run([python, *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def source(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in BF16, with the demo's tokenizer."""
    directory = tmp_path_factory.mktemp("plain") / "bf16"
    run(python, "-c", PLAIN, DEMO, directory)
    for path in DEMO.glob("*token*.json"):
        shutil.copy(path, directory)
    for name in ("generation_config.json", "chat_template.jinja", "vocab.json", "merges.txt"):
        shutil.copy(DEMO / name, directory)
    return directory


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    lines = dict.fromkeys(line for line in ENGLISH.read_text("utf-8").splitlines() if line.strip())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def words(source: Path, out: Path, calibration: Path, *more: str) -> list[str]:
    command = ["checkpoint", "quantize", str(source), f"--out={out}"]
    return [*command, f"--calibration={calibration}", "--device=cpu", *more]


@pytest.fixture(scope="module")
def made(python: Path, source: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "nvfp4"
    assert main(words(source, out, texts)) == 0
    return out


def test_nvfp4_is_byte_for_byte_what_modelopt_makes_by_hand(
    python: Path, source: Path, texts: Path, made: Path, tmp_path: Path
) -> None:
    by_hand, ids = tmp_path / "by-hand", tmp_path / "ids.json"
    run(python, "-c", TOKENIZE, source, texts, ids)
    run(python, TOOLS / "quantize.py", source, by_hand, "--calibrate", ids)
    for name in ("model.safetensors", "hf_quant_config.json", "config.json"):
        assert (made / name).read_bytes() == (by_hand / name).read_bytes()
    # Quantizing what was quantized changes no weight.
    assert run(python, "-c", SAME, made, DEMO).strip() == "True"


@pytest.mark.triton
def test_it_becomes_an_engine_that_predicts_as_the_demo_does(
    made: Path, runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = ["engine", "build", f"--checkpoint={made}", "--name=mine", "--kind=gguf"]
    assert main([*build, f"--out={tmp_path}/engine"]) == 0
    capsys.readouterr()
    assert main(["evaluate", f"{tmp_path}/engine"]) == 0
    assert "perplexity 334.4" in " ".join(capsys.readouterr().out.split())


def test_the_comparison_gives_the_perplexity_that_the_engine_has(
    source: Path, python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], texts: Path
) -> None:
    assert main(words(source, tmp_path / "out", texts, "--evaluate", "--max-drop=1")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "dequantized weights in float32" in shown
    assert "perplexity 334.4" in shown


@pytest.mark.parametrize(
    ("format", "kv_cache", "algo"),
    [
        ("fp8", "none", "FP8"),
        ("fp8_pc_pt", "fp8", "FP8_PER_CHANNEL_PER_TOKEN"),
        ("w4a16_nvfp4", "fp8", "W4A16_NVFP4"),
        ("nvfp4_mlp_only", "none", "NVFP4"),
    ],
)
def test_other_formats_are_what_enginix_expects(
    format: str, kv_cache: str, algo: str, python: Path, source: Path, tmp_path: Path
) -> None:
    chats = tmp_path / "chats.jsonl"
    questions = [f"What is {n} + {n + 1}, and the capital of France?" for n in range(24)]
    messages = [[{"role": "user", "content": question}] for question in questions]
    chats.write_text("".join(json.dumps({"messages": each}) + "\n" for each in messages))
    out = tmp_path / "out"
    options = [f"--format={format}", f"--kv-cache={kv_cache}"]
    if format.startswith("fp8"):
        # The other way of storing weights: it must be read rightly, too.
        options += ["--evaluate", "--max-drop=3"]
    assert main(words(source, out, chats, *options)) == 0

    found = inspect_checkpoint(open_checkpoint(out))
    assert not found.damage
    assert set(found.algorithms.values()) == {algo, None}
    assert any("k_scale" in name for name in read_headers(out)) == (kv_cache == "fp8")


def test_a_text_that_says_too_little_is_refused(
    python: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n".join(f"Hi {n}" for n in range(20)))
    assert main(words(source, tmp_path / "out", short)) == 2
    assert "tokens, expected at least 512" in capsys.readouterr().err


def test_an_unknown_architecture_is_one_sentence(
    python: Path, source: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = shutil.copytree(source, tmp_path / "strange")
    config = json.loads((source / "config.json").read_text())
    changed = {**config, "architectures": ["FooForCausalLM"], "model_type": "foo"}
    (strange / "config.json").write_text(json.dumps(changed))
    assert main(words(strange, tmp_path / "out", texts)) == 1
    error = capsys.readouterr().err
    assert "strange is of an architecture that ModelOpt's transformers cannot load: " in error
    assert "model type `foo`" in error
    assert error.count("\n") == 1


def test_a_full_disk_leaves_no_checkpoint(
    python: Path, source: Path, texts: Path, tmp_path: Path
) -> None:
    """On a disk of its own, which has room for the estimate and then for nothing."""
    small = tmp_path / "small"
    small.mkdir()
    inside = [sys.executable, "-m", "enginix", *words(source, small / "out", texts)]
    script = (
        'mount -t tmpfs -o size=3m enginix "$0" && head -c 800k /dev/zero >"$0/x" && "$@"; '
        'status=$?; ls -A "$0"; exit $status'
    )
    alone = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    command = [*alone, "sh", "-c", script, str(small), *inside]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"enginix: no space was left for {small / 'out'} while it wrote the" in done.stderr
    assert done.stdout.splitlines()[-2:] == [".out.log", "x"]
