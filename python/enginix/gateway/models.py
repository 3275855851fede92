"""The models a gateway serves: each a name bound to one backend, one tokenizer, one chat format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix.backends.protocol import Backend
from enginix.catalog.load import load_catalog
from enginix.chat.reply import markers
from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import ModelNotFound, RequestError
from enginix.gateway.defaults import SamplingDefaults, read_sampling_defaults
from enginix.manifest import Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class ServedModel:
    """All that is needed to turn a conversation into tokens and tokens into a reply."""

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults
    backend: Backend
    aliases: tuple[str, ...] = ()
    # OpenAI's `created`; the engine itself carries no time, so that builds are reproducible.
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return self.manifest.limits.max_seq_len


def read_model(engine: Path) -> Callable[[Backend], ServedModel]:
    """Read what an engine directory says of its model, no weights; bind it to a backend later.

    In two steps, because files are read before the event loop runs and backends belong to one.
    """
    manifest = read_manifest(engine)
    spec = load_catalog().get(manifest.name)
    parts: dict[str, Any] = {
        "manifest": manifest,
        "tokenizer": Tokenizer.load(engine),
        "template": ChatTemplate.load(engine),
        "defaults": read_sampling_defaults(engine),
        "aliases": tuple(spec.aliases) if spec else (),
    }
    # Says now, not on the first request, that a format is not known.
    markers(manifest.chat.reasoning, manifest.chat.tools)
    return lambda backend: ServedModel(backend=backend, **parts)


class Models:
    """Finds a model by its name or alias."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = tuple(models)
        self._by_name = {alias: model for model in models for alias in model.aliases}
        self._by_name |= {model.name: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    def find(self, name: str | None) -> ServedModel:
        """The model of that name; the only one when no name is given."""
        if name is None:
            if len(self._models) == 1:
                return self._models[0]
            raise RequestError(
                f"model is missing; this server has {', '.join(sorted(self._by_name))}",
                param="model",
                code="model_missing",
            )
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelNotFound(name, self._by_name) from None
