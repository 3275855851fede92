"""The models a gateway serves: each a name bound to one backend, one tokenizer, one chat format."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from enginix.backends.openai import OpenAIBackend
from enginix.catalog.load import load_catalog
from enginix.chat.reply import markers
from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import ModelNotFound, PromptTooLong, RequestError
from enginix.gateway.prompt.defaults import SamplingDefaults, read_sampling_defaults
from enginix.generation.backend import Backend
from enginix.manifest import Manifest, read_manifest, require_within

# Characters that are more than any text needs for a token.
CHARS_PER_TOKEN_LIMIT = 16
# By how much a text that was cut may count more than it does as a whole.
CUT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Names:
    """What a model is called here."""

    name: str
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()


def one_thread() -> Executor:
    return ThreadPoolExecutor(1, "render")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """All that is needed to turn a conversation into tokens and tokens into a reply."""

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults
    backend: Backend
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    """A name nobody has that holds one of these words means this model."""
    renderer: Executor = field(default_factory=one_thread, compare=False)
    """Renders what the event loop cannot wait for, one conversation at a time."""
    # OpenAI's `created`; the engine itself carries no time, so that builds are reproducible.
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def engine(self) -> str:
        """What a profile calls who serves it."""
        return "triton"

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return self.manifest.limits.max_seq_len

    def encode(self, text: str, param: str, *, add_special_tokens: bool = False) -> list[int]:
        """The prompt's tokens; PromptTooLong, naming `param`, without reading megabytes first."""
        plenty = CHARS_PER_TOKEN_LIMIT * self.context
        if len(text) > plenty:
            beginning = len(self.tokenizer.encode(text[:plenty]))
            if beginning - CUT_TOKENS > self.context:
                raise PromptTooLong(beginning, self.context, param, counted_all=False)
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens)


@dataclass(frozen=True, slots=True)
class RelayedModel:
    """A model of a server that speaks the OpenAI API itself: requests are passed on to it."""

    name: str
    backend: OpenAIBackend
    engine: str
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))
    reasoning: str | None = None
    """The format of reasoning that the server leaves in its texts, for our parser to find."""
    tools: str | None = None
    """As `reasoning`, of tool calls."""
    starts_inside: bool = False
    """The chat template begins the reasoning, so that the model never writes its first tag."""


Model = ServedModel | RelayedModel


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """What an engine directory says of its model, waiting for a backend.

    In two steps, because files are read before the event loop runs and backends belong to one.
    """

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults
    names: Names
    vocabulary: int
    """The width of the model's logits, which is more than the tokenizer's tokens."""

    def bind(self, backend: Backend) -> ServedModel:
        return ServedModel(
            replace(self.manifest, name=self.names.name),
            self.tokenizer,
            self.template,
            self.defaults,
            backend,
            self.names.aliases,
            self.names.contains,
        )


def read_engine(engine: Path, names: Names | None = None) -> EngineFiles:
    """Read everything but weights; `names` are others than the engine's and the catalogue's."""
    manifest = read_manifest(engine)
    require_within(engine)
    tokenizer = Tokenizer.load(engine)
    # Says now, not on the first request, that a format is not known.
    markers(manifest.chat.reasoning, manifest.chat.tools)
    return EngineFiles(
        manifest=manifest,
        tokenizer=tokenizer,
        template=ChatTemplate.load(engine),
        defaults=read_sampling_defaults(engine),
        names=_all_names(manifest.name, names),
        vocabulary=_engine_vocabulary(engine) or tokenizer.vocabulary_size,
    )


def _all_names(name: str, others: Names | None) -> Names:
    spec = load_catalog().get(name)
    own = tuple(spec.aliases) if spec else ()
    if others is None:
        return Names(name, own)
    # The catalogue's aliases belong to its own name of the model.
    return replace(others, aliases=(*(own if others.name == name else ()), *others.aliases))


def _engine_vocabulary(engine: Path) -> int | None:
    """What TensorRT-LLM's own config.json says, which has the padding; gguf takes any width."""
    try:
        config = json.loads((engine / "config.json").read_text(encoding="utf-8"))
        return int(config["pretrained_config"]["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Models:
    """Finds a model by its name, its alias, or a word in the name that was asked for."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = tuple(models)
        self.relays = any(isinstance(model, RelayedModel) for model in models)
        self._by_name: dict[str, list[Model]] = {model.name: [model] for model in models}
        for model in models:
            for alias in model.aliases:
                self._by_name.setdefault(alias, []).append(model)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def find(self, name: str | None, engine: str | None = None) -> ServedModel:
        """As `resolve`, for what only a model with a tokenizer of ours can do."""
        model = self.resolve(name, engine)
        if isinstance(model, RelayedModel):
            raise RequestError(
                f"{model.name} is served by {model.engine}, which keeps its tokenizer to itself; "
                "ask it through /v1/chat/completions or /v1/completions",
                param="model",
                code="unsupported_model",
            )
        return model

    def resolve(self, name: str | None, engine: str | None = None) -> Model:
        """The model of that name; the only one when no name is given.

        Where several go by the name it is that which `engine` serves, else the one whose own name
        it is, else the first.
        """
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
            raise RequestError(
                f"model is missing; this server has {', '.join(sorted(self._by_name))}",
                param="model",
                code="model_missing",
            )
        if found := self._by_name.get(name):
            return found
        plain = name.lower()
        found = [
            model for model in self._models if any(word.lower() in plain for word in model.contains)
        ]
        if not found:
            raise ModelNotFound(name, self._by_name)
        return found
