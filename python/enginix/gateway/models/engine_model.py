"""A model whose engine is here: a tokenizer, a chat template, a backend that takes tokens."""

from __future__ import annotations

import time
from array import array
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import PromptTooLong
from enginix.gateway.prompt.defaults import SamplingDefaults
from enginix.gateway.prompt.render_process import RenderProcess
from enginix.generation.backend import Backend
from enginix.manifest import Manifest

# No token of a text has more characters than this.
CHARS_PER_TOKEN_LIMIT = 16
# By how much the tokens of a text's first part may exceed those of the same part in the whole.
CUT_TOKENS = 64


def one_thread() -> Executor:
    return ThreadPoolExecutor(1, "render")


@dataclass(frozen=True, slots=True)
class EngineModel:
    """All that is needed to turn a conversation into tokens and tokens into a reply."""

    manifest: Manifest
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults
    backend: Backend
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    """An unknown name that contains one of these strings means this model."""
    path: str = ""
    metrics: str = ""
    renderer: Executor = field(default_factory=one_thread, compare=False)
    """Renders long conversations outside the event loop, one at a time."""
    render_process: RenderProcess = field(default_factory=RenderProcess, compare=False)
    """Renders all of them, if the chat template is slow."""
    tokens_per_block: int | None = None
    """How many tokens a block of the engine's cache holds; None if that is not known."""
    # OpenAI's `created`; the engine itself carries no time, so that builds are reproducible.
    created: int = field(default_factory=lambda: int(time.time()))

    async def close(self) -> None:
        await self.render_process.close()
        await self.backend.close()

    @property
    def task(self) -> str:
        return "generate"

    @property
    def images(self) -> bool:
        return False

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def parent(self) -> None:
        return None

    @property
    def served_by(self) -> str:
        return self.name

    @property
    def engine(self) -> str:
        """What a profile calls the server."""
        return "triton"

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return self.manifest.limits.max_seq_len

    def encode(self, text: str, param: str, *, raw: bool = False) -> array[int]:
        """The prompt's tokens; PromptTooLong, naming `param`, without reading megabytes first.

        `raw`: no chat template wrote the text, nor the special tokens that a prompt begins with.
        """
        limit = CHARS_PER_TOKEN_LIMIT * self.context
        if len(text) > limit:
            beginning = len(self.tokenizer.encode(text[:limit]))
            if beginning - CUT_TOKENS > self.context:
                raise PromptTooLong(beginning, self.context, param, counted_all=False)
        if raw:
            return array("i", self.tokenizer.encode(text, add_special_tokens=True))
        return self.tokenizer.encode_chat(text)
