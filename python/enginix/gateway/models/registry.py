"""The models a gateway serves: each a name bound to one backend, one tokenizer, one chat format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginix.catalog.load import load_catalog
from enginix.chat.reply import markers
from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import NO_MODEL, ModelNotFound, RequestError
from enginix.gateway.keys.key import Key
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.models.model import Model
from enginix.gateway.models.server_model import ServerModel
from enginix.gateway.passthrough.adapt import Passthrough, passthrough
from enginix.gateway.prompt.chat_request import (
    ChatGeneration,
    chat_request,
    count_prompt,
)
from enginix.gateway.prompt.conversation import Conversation, prompt_of
from enginix.gateway.prompt.defaults import SamplingDefaults, read_sampling_defaults
from enginix.gateway.prompt.prepare import Options, chat_generation, check_choices
from enginix.gateway.reply.generate import TokenGeneration
from enginix.gateway.settings import RequestLimits
from enginix.generation.backend import Backend
from enginix.manifest import Manifest, read_manifest, require_within

# A model's task, in messages.
DOES = {
    "generate": "generates text",
    "embed": "embeds texts (/v1/embeddings)",
    "rerank": "reranks documents (/v1/rerank)",
}
# The file of an engine for llama.cpp.
GGUF_FILE = "model.gguf"


@dataclass(frozen=True, slots=True)
class Names:
    """What a model is called here."""

    name: str
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    path: str = ""


class ServedModel(EngineModel):
    """A model whose tokens are generated and read here."""

    __slots__ = ()
    takes_messages = False

    @property
    def root(self) -> str:
        return self.manifest.source.repo or self.name

    async def prepare(
        self, conversation: Conversation, options: Options, limits: RequestLimits
    ) -> TokenGeneration:
        return await chat_generation(self, conversation, options, limits)

    async def count(self, conversation: Conversation, request_id: str) -> int:
        return len((await prompt_of(self, conversation)).ids)

    def passthrough(self, path: str, sent: Mapping[str, Any], *, translatable: bool) -> None:
        return None


class PassthroughModel(ServerModel):
    """A model of a server that speaks the OpenAI API itself: it gets requests as they are."""

    __slots__ = ()
    takes_messages = True
    defaults = SamplingDefaults()

    @property
    def root(self) -> str:
        return self.backend.model

    async def prepare(
        self, conversation: Conversation, options: Options, limits: RequestLimits
    ) -> ChatGeneration:
        check_choices(1, options.choices, limits)
        return chat_request(self, conversation, options)

    async def count(self, conversation: Conversation, request_id: str) -> int:
        return await count_prompt(self, conversation, request_id)

    def passthrough(
        self, path: str, sent: Mapping[str, Any], *, translatable: bool
    ) -> Passthrough | None:
        return passthrough(self, path, sent, translatable=translatable)


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """An engine directory's files, read and waiting for a backend.

    In two steps, because files are read before the event loop runs and backends belong to one.
    """

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults
    names: Names
    vocabulary: int
    """The width of the model's logits, which is more than the tokenizer's tokens."""
    tokens_per_block: int | None = None

    def bind(self, backend: Backend, metrics: str = "") -> ServedModel:
        return ServedModel(
            replace(self.manifest, name=self.names.name),
            self.tokenizer,
            self.template,
            self.defaults,
            backend,
            self.names.aliases,
            self.names.contains,
            self.names.path,
            metrics,
            tokens_per_block=self.tokens_per_block,
        )


def read_engine(engine: Path, names: Names | None = None) -> EngineFiles:
    """Read everything but weights; without `names` it has the manifest's and the catalogue's."""
    manifest = read_manifest(engine)
    require_within(engine)
    tokenizer = Tokenizer.load(engine)
    config = _engine_config(engine)
    # Raises for an unknown format now, not on the first request.
    markers(manifest.chat.reasoning, manifest.chat.tools)
    return EngineFiles(
        manifest=manifest,
        tokenizer=tokenizer,
        template=ChatTemplate.load(engine),
        defaults=read_sampling_defaults(engine),
        names=replace(_all_names(manifest.name, names), path=str(engine)),
        # gguf accepts any width, and its cache has no blocks.
        vocabulary=_number_in(config, "pretrained_config", "vocab_size")
        or tokenizer.vocabulary_size,
        tokens_per_block=1
        if manifest.kind == "gguf"
        else _number_in(config, "build_config", "plugin_config", "tokens_per_block"),
    )


def _all_names(name: str, others: Names | None) -> Names:
    spec = load_catalog().get(name)
    own = tuple(spec.aliases) if spec else ()
    if others is None:
        return Names(name, own)
    # The catalogue's aliases belong to its own name of the model.
    return replace(others, aliases=(*(own if others.name == name else ()), *others.aliases))


def _engine_config(engine: Path) -> Any:
    """TensorRT-LLM's description of its engine; None where there is none."""
    try:
        return json.loads((engine / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _number_in(config: Any, *path: str) -> int | None:
    for name in path:
        config = config.get(name) if isinstance(config, dict) else None
    return config if type(config) is int and config > 0 else None


class Models:
    """Finds a model by its name, its alias, its file, or a word in the name that was asked for."""

    def __init__(self, models: Sequence[Model], none_here: str = NO_MODEL) -> None:
        """`none_here`: what errors say where there is no model at all."""
        self._models = tuple(models)
        self._none_here = none_here
        self._of_keys: dict[tuple[str, ...], Models] = {}
        self.any_takes_messages = any(model.takes_messages for model in models)
        self._by_name: dict[str, list[Model]] = {model.name: [model] for model in models}
        for model in models:
            for alias in model.aliases:
                self._by_name.setdefault(alias, []).append(model)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def of_key(self, key: Key | None) -> Models:
        """Those that the key may use; for others it is as if they were not here."""
        if key is None or not key.models:
            return self
        if key.models not in self._of_keys:
            usable = [each for each in self._models if key.may_use((each.name, *each.aliases))]
            none = f"this API key may use {', '.join(key.models)}, of which nothing is loaded"
            self._of_keys[key.models] = Models(usable, none)
        return self._of_keys[key.models]

    def find(self, name: str | None, engine: str | None = None) -> ServedModel:
        """Like `resolve`, for requests that need a model whose tokenizer is here."""
        model = self.resolve(name, engine, task="generate")
        if not isinstance(model, ServedModel):
            raise RequestError(
                f"{model.name} is served by {model.engine}, which keeps its tokenizer to itself; "
                "ask it through /v1/chat/completions or /v1/completions",
                param="model",
                code="unsupported_model",
            )
        return model

    def resolve(
        self, name: str | None, engine: str | None = None, *, task: str | None = None
    ) -> Model:
        """The model of that name; the only one when no name is given.

        Where several go by the name it is that which `engine` serves, else the one whose own name
        it is, else the first. RequestError if it does another `task`.
        """
        model = self._resolved(name, engine)
        if task is None or model.task == task:
            return model
        able = ", ".join(sorted(one.name for one in self._models if one.task == task))
        raise RequestError(
            f"{model.name} {DOES[model.task]}, but this route wants a model that {DOES[task]}; "
            + (f"send one of {able} as model" if able else "none is served here"),
            param="model",
            code="unsupported_model",
        )

    def _resolved(self, name: str | None, engine: str | None) -> Model:
        found = self._called(name)
        if engine is None:
            return found[0]
        for model in found:
            if model.engine == engine:
                return model
        raise RequestError(
            f"{found[0].name} is not served by {engine!r} here; it is by "
            f"{', '.join(sorted({model.engine for model in found}))}",
            param="engine",
            code="engine_not_found",
        )

    def _called(self, name: str | None) -> list[Model]:
        if name is None:
            if len(self._models) == 1:
                return list(self._models)
            known = f"this server has {', '.join(sorted(self._by_name))}"
            raise RequestError(
                f"model is missing; {known if self._models else self._none_here}",
                param="model",
                code="model_missing",
            )
        if found := self._by_name.get(name):
            return found
        in_file = [model for model in self._models if name.rstrip("/") in _files(model)]
        if len(in_file) == 1:
            return in_file
        plain = name.lower()
        found = [
            model for model in self._models if any(word.lower() in plain for word in model.contains)
        ]
        if not found and in_file:
            raise RequestError(
                f"{name} is the file of {' and '.join(model.name for model in in_file)}; send one "
                "of these names as model",
                param="model",
                code="model_ambiguous",
            )
        if not found:
            raise ModelNotFound(name, self._by_name, self._none_here)
        return found


def _files(model: Model) -> set[str]:
    """The names that clients of llama.cpp's and vLLM's servers use: its path, or its file."""
    path, found = Path(model.path), {model.path}
    if path.suffix == ".gguf":
        found |= {path.name, str(path.parent)} if path.name == GGUF_FILE else {path.name}
    elif model.manifest and model.manifest.kind == "gguf":
        found |= {GGUF_FILE, str(path / GGUF_FILE)}
    return found - {""}
