"""Speculative decoding of a profile's models: what a server can do, and whether a draft fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginix.catalog.load import ModelSpec
from enginix.errors import UsageError
from enginix.gguf_header import read_gguf
from enginix.hub_files import CONFIG_FILE, read_object
from enginix.serve.model_entry import ModelEntry
from enginix.serve.servers import SERVERS, server_for_kind
from enginix.serve.servers.program import Reads
from enginix.speculative import Speculative

# A vocabulary may be padded to a round number.
PADDING = 128
# Where configurations say how many layers predict further tokens.
MTP_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers")


def check_drafting(entry: ModelEntry, where: str, drafts: Speculative | None) -> None:
    """Refuse what the entry's server cannot do."""
    if drafts is None:
        return
    if drafts.mistake:
        raise UsageError(f"{where}: speculative: {drafts.mistake}")
    if not drafts.is_on:
        return
    server = SERVERS[entry.engine]
    if not server.speculative:
        why = server.lacks.get("speculative", "leave it out, or choose another engine")
        raise UsageError(f"{where}: speculative: {server.title} cannot do it: {why}")
    if drafts.method not in server.speculative:
        raise UsageError(
            f"{where}: speculative.method: {server.title} has {', '.join(server.speculative)}, got "
            f"{drafts.method!r}"
        )
    if entry.task != "generate":
        raise UsageError(
            f"{where}: speculative: it is for models that generate, and the task is {entry.task}"
        )
    if entry.autodeploy:
        raise UsageError(
            f"{where}: speculative: AutoDeploy has settings of its own for it, which differ "
            "between releases; put speculative_config into autodeploy, or leave autodeploy out"
        )


def drafting_of(entry: ModelEntry, spec: ModelSpec | None) -> Speculative | None:
    """What the entry says, or the catalogue if its server is the one that the catalogue means."""
    drafts = entry.speculative
    if drafts is None and spec and SERVERS[entry.engine] is server_for_kind(spec.kind):
        drafts = spec.speculative
        check_drafting(entry, f"{spec.name} of the catalogue", drafts)
    return drafts if drafts and drafts.is_on else None


def require_draft(entry: ModelEntry, drafts: Speculative, model: str) -> None:
    """UsageError if what drafts is not there, or not for `model`.

    Of a model that is only a name at the hub nothing is known here: its server finds out.
    """
    where = f"{entry.name}: speculative"
    is_gguf = SERVERS[entry.engine].reads is Reads.GGUF
    if drafts.method == "mtp":
        _require_layers(where, Path(model), is_gguf=is_gguf)
    if not drafts.model:
        return
    draft = Path(drafts.model)
    if not draft.exists() and (is_gguf or draft.is_absolute()):
        raise UsageError(
            f"{where}: model: there is no {draft}; name a "
            + ("GGUF file, or an engine of kind gguf" if is_gguf else "checkpoint's directory")
        )
    if drafts.method == "draft":
        _require_same(where, _vocabulary(draft, is_gguf), _vocabulary(Path(model), is_gguf), draft)
    elif is_gguf:
        _require_head(where, draft, Path(model))
    else:
        sizes = [_config(path).get("vocab_size") for path in (draft, Path(model))]
        if None not in sizes and sizes[0] != sizes[1]:
            raise UsageError(
                f"{where}: model: {draft} drafts for a vocabulary of {sizes[0]} tokens, and "
                f"{model} has {sizes[1]}; name a draft that was trained for this model"
            )


def _require_layers(where: str, model: Path, *, is_gguf: bool) -> None:
    if is_gguf:
        file = read_gguf(model)
        count = file.values.get(f"{file.architecture}.nextn_predict_layers", 0)
    elif config := _config(model):
        count = next((config[key] for key in MTP_LAYERS if config.get(key)), 0)
    else:
        return
    if not count:
        raise UsageError(
            f"{where}: method: mtp drafts with layers of the model itself, and {model} has none of "
            "them; use ngram, or draft with a small model of the same family"
        )


def _require_head(where: str, draft: Path, model: Path) -> None:
    if read_gguf(draft).architecture == (kind := read_gguf(model).architecture):
        raise UsageError(
            f"{where}: model: {draft} is a {kind} model, as {model} is, and eagle3 drafts with a "
            'head that was trained for it; name that, or use method = "draft"'
        )


def _require_same(
    where: str, drafts: Mapping[int, str], model: Mapping[int, str], path: Path
) -> None:
    if not drafts or not model:
        return
    other = next((n for n in sorted(drafts) if drafts[n] != model.get(n, drafts[n])), None)
    if other is not None:
        raise UsageError(
            f"{where}: model: {path} has another vocabulary: its token {other} is "
            f"{drafts[other]!r}, and the model's is {model[other]!r}; name a draft of the same "
            "family"
        )
    if abs(max(drafts) - max(model)) > PADDING:
        raise UsageError(
            f"{where}: model: {path} has another vocabulary: {len(drafts)} tokens, and the model "
            f"has {len(model)}; name a draft of the same family"
        )


def _vocabulary(model: Path, is_gguf: bool) -> dict[int, str]:
    """Token by id; empty if it is not known here."""
    if is_gguf:
        return dict(enumerate(read_gguf(model).tokens))
    data = read_object(model / "tokenizer.json", UsageError) or {}
    try:
        words = data["model"]["vocab"]
        # A list of the tokens with their scores, or an object of their ids.
        pairs = enumerate(words) if isinstance(words, list) else ((n, t) for t, n in words.items())
        found = {n: token[0] if isinstance(token, list) else token for n, token in pairs}
        found |= {row["id"]: row["content"] for row in data.get("added_tokens", ())}
        return {n: token for n, token in found.items() if type(n) is int}
    except (LookupError, TypeError, AttributeError):
        return {}


def _config(model: Path) -> dict[str, Any]:
    """Of the part that generates text; empty if the model is not here."""
    config = read_object(model / CONFIG_FILE, UsageError) or {} if model.is_dir() else {}
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config
