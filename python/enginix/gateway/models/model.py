"""What routes know of a model: the same for every kind of server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from enginix.gateway.passthrough.adapt import Passthrough
from enginix.gateway.prompt.conversation import Conversation
from enginix.gateway.prompt.defaults import SamplingDefaults
from enginix.gateway.prompt.prepare import Options
from enginix.gateway.settings import RequestLimits
from enginix.generation.backend import Server
from enginix.generation.reply import Arrived, Delivery, Replies
from enginix.generation.request import Origin
from enginix.manifest import Manifest


class NamedModel(Protocol):
    """What a reply states about its model."""

    @property
    def name(self) -> str: ...
    @property
    def engine(self) -> str:
        """What a profile calls the server."""

    @property
    def manifest(self) -> Manifest | None:
        """None if another server owns the engine."""


class GenerationRequest(Protocol):
    """One request, ready to generate."""

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> NamedModel: ...
    @property
    def choices(self) -> int: ...
    @property
    def prompt_tokens(self) -> int:
        """0 if only the server can count them: then the reply's last event has the number."""

    @property
    def prompts(self) -> int:
        """Each has equally many choices, one after the other."""

    @property
    def counts(self) -> bool:
        """Whether every event is preceded by the number of tokens so far."""

    def replies(
        self, origin: Origin, arrived: Sequence[Arrived], delivery: Delivery | None = None
    ) -> Replies:
        """The events of all choices; `arrived` has one counter for each. Use `aclosing`.

        What `delivery` takes is not yielded; the first events and the last always are.
        """


class Model(NamedModel, Protocol):
    """A name bound to a server that generates."""

    @property
    def backend(self) -> Server: ...
    async def close(self) -> None:
        """Let go of the server, and end what was started for this model."""

    @property
    def parent(self) -> str | None:
        """The model that it is an adapter of; None if it is none."""

    @property
    def served_by(self) -> str:
        """The model that the supervisor knows its server by: an adapter's is its parent's."""

    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def contains(self) -> tuple[str, ...]:
        """An unknown name that contains one of these strings means this model."""

    @property
    def path(self) -> str:
        """What its server loads: a directory, a file, or a name at the hub; empty if unknown."""

    @property
    def metrics(self) -> str:
        """The URL of its server's metrics page; empty if not known."""

    @property
    def created(self) -> int: ...
    @property
    def root(self) -> str:
        """The model's name at its source."""

    @property
    def defaults(self) -> SamplingDefaults: ...
    @property
    def takes_messages(self) -> bool:
        """Whether its server renders messages: it may read images and fields unknown here."""

    @property
    def task(self) -> str:
        """What it does: generate, embed or rerank."""

    @property
    def images(self) -> bool:
        """Whether it is known to read images."""

    async def prepare(
        self, conversation: Conversation, options: Options, limits: RequestLimits
    ) -> GenerationRequest:
        """The request whose `replies` answer `conversation`. Raises RequestError."""

    async def count(self, conversation: Conversation, request_id: str) -> int:
        """The number of prompt tokens. Raises ResourceNotFound if the server cannot count them."""

    def passthrough(
        self, path: str, sent: Mapping[str, Any], *, translatable: bool
    ) -> Passthrough | None:
        """The request to pass on; None if this gateway writes the reply's dialect.

        `translatable`: whether this gateway can.
        """
