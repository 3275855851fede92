"""Renders a conversation with the checkpoint's own chat template, as `transformers` does.

The only module that imports jinja2's environment. Templates come from the hub and run in its
sandbox; a template raises to reject a conversation, so any error in one becomes TemplateRefused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from enginix.chat.bounds import BoundedEnvironment, TimeExceeded
from enginix.chat.content_format import ContentFormat, content_format
from enginix.chat.growth import measuring
from enginix.chat.messages import plain_messages
from enginix.chat.reasoning import think_brackets, think_tags
from enginix.chat.repair import repaired
from enginix.errors import (
    EngineDamaged,
    RequestError,
    TemplateMissing,
    TemplateRefused,
    TemplateTooSlow,
)
from enginix.hub_files import engine_files

# The time limit of one rendering; an ordinary one takes less than a millisecond.
RENDER_SECONDS = 2.0
# How long a template that exceeded its limit counts as slow.
SLOW_SECONDS = 60.0
RESERVED = frozenset(("messages", "tools", "documents", "self"))


def starts_inside(prompt: str) -> bool:
    """Whether the prompt ends inside open reasoning, so that the model never writes the tag."""
    # Only the very end counts: users may write the tag too.
    return prompt[-64:].rstrip().endswith((think_tags.OPEN, think_brackets.OPEN))


class ChatTemplate:
    """A checkpoint's templates, compiled once; `source` is the one for chats without tools."""

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str] | None = None,
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        environment = self._environment = template_environment(now)
        self.sources = dict(sources)
        self._slow_until = 0.0
        self.special_tokens = dict(special_tokens or {})
        compiled = {
            name: _compile(environment, name, source) for name, source in self.sources.items()
        }
        self._compiled = {name: template for name, (template, _) in compiled.items()}
        self._contents = {name: contents for name, (_, contents) in compiled.items()}

    @classmethod
    def load(cls, directory: Path) -> ChatTemplate:
        """Read chat_template.jinja, or the template in tokenizer_config.json."""
        files = engine_files(directory)
        return cls(files.chat_templates, files.special_tokens)

    @property
    def slow(self) -> bool:
        """Whether a rendering has exceeded its time limit lately."""
        return time.monotonic() < self._slow_until

    @property
    def source(self) -> str:
        """The text of the default template, empty if there is none."""
        return self.sources.get("default", "")

    @property
    def contents(self) -> ContentFormat:
        """How the default template reads message contents."""
        return self._contents.get("default", ContentFormat.TEXT)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        seconds: float = RENDER_SECONDS,
        **variables: Any,
    ) -> str:
        """The prompt for `messages`; raises TemplateTooSlow after `seconds`.

        `chat_template_kwargs` are the client's own variables, `variables` ours, such as
        `enable_thinking` or `add_generation_prompt`.
        """
        variables = {**(chat_template_kwargs or {}), **variables}
        if clash := sorted(RESERVED & variables.keys()):
            raise RequestError(
                f"chat_template_kwargs must not set {', '.join(clash)}; "
                "these are the request's own fields",
                param="chat_template_kwargs",
                code="invalid_chat_template_kwargs",
            )
        name = "tool_use" if tools and "tool_use" in self._compiled else "default"
        if name not in self._compiled:
            raise TemplateMissing
        plain = plain_messages(messages, self.sources[name], self._contents[name])
        with self._environment.within(seconds):
            return self._render(self._compiled[name], plain, tools or None, variables)

    def _render(
        self,
        template: jinja2.Template,
        messages: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        refusal: TemplateRefused | None = None
        # The original first: only a template that rejects it gets an adapted conversation.
        for attempt in chain((messages,), repaired(messages)):
            try:
                return template.render(
                    {
                        **self.special_tokens,
                        "add_generation_prompt": True,
                        "documents": None,
                        **variables,
                        "messages": attempt,
                        "tools": tools,
                    }
                )
            except TimeExceeded:
                # Not for ever: it may have been one client's conversation.
                self._slow_until = time.monotonic() + SLOW_SECONDS
                raise TemplateTooSlow(self._environment.budget.seconds) from None
            except Exception as error:  # a template can raise anything Python can
                refusal = refusal or TemplateRefused(_describe(error))
        assert refusal is not None
        raise refusal


def _describe(error: Exception) -> str:
    text = str(error).strip() or "it gave no reason"
    # The template's own message is a sentence; Python's errors need their type.
    return text if type(error) is jinja2.TemplateError else f"{type(error).__name__}: {text}"


def _compile(
    environment: jinja2.Environment, name: str, source: str
) -> tuple[jinja2.Template, ContentFormat]:
    try:
        tree = environment.parse(source)
        contents = content_format(tree)
        template = environment.from_string(tree)
        # Every rendering copies them, and jinja2 keeps them in two layers.
        template.globals = dict(template.globals)
        return template, contents
    except jinja2.TemplateSyntaxError as error:
        found = f"is broken in line {error.lineno}: {error.message}"
    except (jinja2.TemplateError, SyntaxError, ArithmeticError, ValueError) as error:
        # Compiling evaluates constants and nests blocks.
        found = f"cannot be compiled: {error}"
    except (RecursionError, MemoryError):
        found = "is nested too deeply"
    raise EngineDamaged(
        f"the chat template {name!r} {found}; correct chat_template.jinja in the checkpoint and "
        "build the engine again"
    )


def template_environment(now: Callable[[], datetime]) -> BoundedEnvironment:
    """The environment that templates expect: that of transformers' chat_template_utils."""
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )

    def strftime_now(format: str) -> str:
        return now().strftime(format)

    environment.filters["tojson"] = measuring(to_json)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


class _Generation(Extension):
    """`{% generation %}` marks assistant text for training; here it only renders its body."""

    tags = {"generation"}  # noqa: RUF012, jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> str:
    raise jinja2.TemplateError(message)
