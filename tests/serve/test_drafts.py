"""Speculative decoding of a profile: each server's own words for it, and drafts that do not fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.gguf_files import changed, shallow
from fakes.trtllm_serve.settings import LlmArgs

from enginix.catalog.load import load_model
from enginix.errors import CatalogError, RequestError, UsageError
from enginix.serve.drafts import drafting_of, require_draft
from enginix.serve.load_request import entry_of
from enginix.serve.model_entry import ModelEntry
from enginix.serve.models_file import read_models_file
from enginix.serve.overrides import overridden
from enginix.serve.profile import Profile, check
from enginix.serve.servers import SERVERS
from enginix.speculative import Speculative
from enginix.supervision import LoadRequest

SETTINGS = Path("/run/settings.yaml")
DRAFTS = {
    "eagle3": Speculative("eagle3", "/heads/e3", 4),
    "mtp": Speculative("mtp", tokens=1),
    "draft": Speculative("draft", "/small", 5),
    "ngram": Speculative("ngram"),
}


def argv(engine: str, method: str) -> list[str]:
    entry = ModelEntry("m", engine=engine, speculative=DRAFTS[method])
    return SERVERS[engine].command(["server"], entry, "model", SETTINGS).argv


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("eagle3", {"method": "eagle3", "model": "/heads/e3", "num_speculative_tokens": 4}),
        ("mtp", {"method": "mtp", "num_speculative_tokens": 1}),
        ("draft", {"method": "draft_model", "model": "/small", "num_speculative_tokens": 5}),
        ("ngram", {"method": "ngram", "num_speculative_tokens": 3}),
    ],
)
def test_vllm_gets_one_object(method: str, config: dict[str, Any]) -> None:
    (given,) = [word for word in argv("vllm", method) if word.startswith("--speculative-config=")]
    assert json.loads(given.partition("=")[2]) == config


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("eagle3", {"max_draft_len": 4, "speculative_model_dir": "/heads/e3"}),
        ("mtp", {"num_nextn_predict_layers": 1}),
        ("draft", {"max_draft_len": 5, "speculative_model_dir": "/small"}),
        ("ngram", {"max_draft_len": 3, "max_matching_ngram_size": 3}),
    ],
)
def test_trtllm_serve_gets_settings_that_it_accepts(method: str, config: dict[str, Any]) -> None:
    entry = ModelEntry("m", engine="trtllm", speculative=DRAFTS[method])
    command = SERVERS["trtllm"].command(["trtllm-serve"], entry, "model", SETTINGS)
    settings = json.loads(command.files[SETTINGS])
    kinds = {"eagle3": "Eagle", "mtp": "MTP", "draft": "DraftTarget", "ngram": "NGram"}
    assert settings["speculative_config"] == {"decoding_type": kinds[method], **config}
    assert settings.get("disable_overlap_scheduler", False) == (method in ("draft", "ngram"))
    LlmArgs.model_validate({"model": "model", **settings})


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("eagle3", ["draft-eagle3", "--spec-draft-n-max=4", "--spec-draft-model=/heads/e3"]),
        ("mtp", ["draft-mtp", "--spec-draft-n-max=1"]),
        ("draft", ["draft-simple", "--spec-draft-n-max=5", "--spec-draft-model=/small"]),
        ("ngram", ["ngram-simple", "--spec-draft-n-max=3"]),
    ],
)
def test_llama_server_gets_its_own_options(method: str, options: list[str]) -> None:
    given = argv("llamacpp", method)
    assert given[-len(options) :] == [f"--spec-type={options[0]}", *options[1:]]


def refused(**fields: Any) -> str:
    profile = Profile("p", "P", [ModelEntry("m", **fields)])
    with pytest.raises(UsageError) as error:
        check(profile, "p.toml")
    return str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "triton"}, 'Triton cannot do it: .* engine = "vllm", or a GGUF'),
        ({"task": "embed"}, "for models that generate, and the task is embed"),
        ({"engine": "trtllm", "autodeploy": {"a": 1}}, "put speculative_config into autodeploy"),
        ({"speculative": Speculative("eagle")}, "expected one of .*did you mean eagle3"),
        ({"speculative": Speculative("draft")}, "draft needs a model that drafts, and none"),
        ({"speculative": Speculative("ngram", "/x")}, "ngram needs none, got '/x'; leave it out"),
        ({"speculative": Speculative("ngram", tokens=0)}, "expected 1 to 64 .*, got 0"),
    ],
)
def test_what_a_server_cannot_do_is_refused(fields: dict[str, Any], message: str) -> None:
    text = refused(**{"engine": "vllm", "speculative": Speculative("ngram"), **fields})
    assert text.startswith("p.toml: m: speculative")
    assert re.search(message, text), text


def test_a_profile_can_be_told_on_the_command_line() -> None:
    profile = Profile("p", "P", [ModelEntry("m", engine="vllm")])
    profile = overridden(profile, ['m.speculative={method="ngram"}', "m.speculative.tokens=5"])
    assert profile.models[0].speculative == Speculative("ngram", tokens=5)


MODEL = """
title = "T"
kind = "vllm"
status = "untested"
source = { repo = "a/b" }
variants.tp1 = { tensor_parallel = 1, max_batch_size = 1, max_seq_len = 2, max_num_tokens = 2, gpu_memory_gb = 1 }
"""  # noqa: E501


def test_the_catalogue_says_it_for_the_server_of_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(MODEL + 'speculative = { method = "ngram", tokens = 2 }\n')
    spec = load_model(file)
    entry = ModelEntry("m", engine="vllm")
    assert drafting_of(entry, spec) == Speculative("ngram", tokens=2)
    assert drafting_of(replace(entry, engine="trtllm"), spec) is None
    assert drafting_of(replace(entry, speculative=Speculative("none")), spec) is None
    file.write_text(MODEL + 'speculative = { method = "draft" }\n')
    with pytest.raises(CatalogError, match=r"m\.toml: speculative: model: draft needs a model"):
        load_model(file)


def test_a_models_file_may_name_the_draft_beside_it(tmp_path: Path) -> None:
    for name in ("large.gguf", "small.gguf"):
        (tmp_path / name).touch()
    row = {
        "engine": "llamacpp",
        "model_path": "large.gguf",
        "speculative": {"method": "draft", "model": "small.gguf"},
    }
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"models": {"m": row}}))
    (entry,) = read_models_file(file).models
    assert entry.speculative == Speculative("draft", str(tmp_path / "small.gguf"))


def test_a_load_request_may_say_it_with_a_draft_in_the_roots(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    wanted = Speculative("draft", str(model))
    request = LoadRequest(model_path=str(model), speculative=wanted)
    assert entry_of(request, {}, [tmp_path]).speculative == wanted
    outside = replace(request, speculative=Speculative("draft", "/etc/passwd"))
    with pytest.raises(RequestError, match=r"^speculative\.model: '/etc/passwd' cannot be loaded"):
        entry_of(outside, {}, [tmp_path])
    with pytest.raises(RequestError, match="ngram needs none"):
        entry_of(replace(request, speculative=Speculative("ngram", "/x")), {}, [tmp_path])


LLAMACPP = ModelEntry("m", engine="llamacpp")


def test_a_draft_of_the_same_family_passes_and_others_are_refused_before_the_start(
    demo_engine: Path, tmp_path: Path
) -> None:
    model = str(demo_engine / "model.gguf")
    small = shallow(Path(model), tmp_path / "small.gguf", layers=1)
    require_draft(LLAMACPP, Speculative("draft", str(small)), model)
    words = [f"word {n}" for n in range(2048)]
    other = changed(small, tmp_path / "other.gguf", {"tokenizer.ggml.tokens": words})
    with pytest.raises(
        UsageError, match=r"other\.gguf has another vocabulary: its token 0 is 'word"
    ):
        require_draft(LLAMACPP, Speculative("draft", str(other)), model)
    with pytest.raises(UsageError, match=r"there is no .*gone.gguf; name a GGUF file"):
        require_draft(LLAMACPP, Speculative("draft", str(tmp_path / "gone.gguf")), model)
    with pytest.raises(
        UsageError, match=r"mtp drafts with layers of the model itself, and .* none"
    ):
        require_draft(LLAMACPP, Speculative("mtp"), model)
    with pytest.raises(UsageError, match=r"is a qwen3 model, as .* is, and eagle3 drafts with a"):
        require_draft(LLAMACPP, Speculative("eagle3", str(small)), model)
    small.write_bytes(small.read_bytes()[:5000])
    with pytest.raises(
        UsageError, match="too few for the 2048 entries it names; expected a complete GGUF"
    ):
        require_draft(LLAMACPP, Speculative("draft", str(small)), model)


def checkpoint(directory: Path, vocabulary: dict[str, int], **config: Any) -> str:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    text = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": 2, "content": "<end>"}]}
    (directory / "tokenizer.json").write_text(json.dumps(text))
    return str(directory)


def test_checkpoints_are_compared_by_their_tokenizers(tmp_path: Path) -> None:
    vllm = ModelEntry("m", engine="vllm")
    model = checkpoint(tmp_path / "model", {"a": 0, "b": 1}, vocab_size=64, mtp_num_hidden_layers=1)
    same = checkpoint(tmp_path / "same", {"b": 1, "a": 0}, vocab_size=64)
    other = checkpoint(tmp_path / "other", {"a": 1, "b": 0}, vocab_size=99)
    for drafts in ("draft", "eagle3"):
        require_draft(vllm, Speculative(drafts, same), model)
    require_draft(vllm, Speculative("mtp"), model)
    # Its server finds out what is not known here.
    require_draft(vllm, Speculative("draft", "org/small"), model)
    with pytest.raises(UsageError, match="its token 0 is 'b', and the model's is 'a'"):
        require_draft(vllm, Speculative("draft", other), model)
    with pytest.raises(UsageError, match=r"drafts for a vocabulary of 99 tokens, and .* has 64"):
        require_draft(vllm, Speculative("eagle3", other), model)
    with pytest.raises(UsageError, match="there is no /gone; name a checkpoint's directory"):
        require_draft(vllm, Speculative("draft", "/gone"), model)
