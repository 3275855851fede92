"""Converts the items of a response's input to messages and tools that chat templates know.

An item of a known type is validated; one of any other type is skipped, because a client cannot
remove it from its session: docs/dialects.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.api.responses_calls import CALLS, call_message, patch_output, shell_output
from enginix.gateway.api.responses_tools import Toolbox
from enginix.gateway.http.body import parse_part
from enginix.gateway.prompt.images import UNSEEN, add_part, joined, note
from enginix.gateway.prompt.parameters import missing
from enginix.gateway.schema.responses import (
    TEXTS,
    Content,
    Item,
    MessageItem,
    OutputItem,
    Part,
    ReasoningItem,
    ReferenceItem,
    Tool,
    ToolsItem,
)

Message = dict[str, Any]
Items = str | Sequence[Item]

RESULTS = frozenset({"function_call_output", "custom_tool_call_output", "local_shell_call_output"})
SEARCHES = frozenset({"tool_search_call", "tool_search_output"})
TOOLS = frozenset({"additional_tools", "tool_search_output"})


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the items of an input.

    `sees`: whoever reads the messages reads their images, too. `stored`: finds an item of an answer
    that is remembered here.
    """

    toolbox: Toolbox = field(default_factory=Toolbox)
    sees: bool = False
    stored: Callable[[str], Mapping[str, Any] | None] = lambda _: None

    def messages(self, items: Items) -> list[Message]:
        """The conversation so far."""
        if isinstance(items, str):
            return [{"role": "user", "content": items}] if items else []
        messages: list[Message] = []
        last = _last_of_user(items)
        for place, item in enumerate(items):
            self._read(item, messages, f"input[{place}]", answered=place == last)
        return messages

    def _read(self, item: Item, messages: list[Message], where: str, *, answered: bool) -> None:
        kind = type_of(item)
        if kind in SEARCHES and (item.model_extra or {}).get("execution") == "server":
            return
        if kind == "message":
            self._add_message(item, messages, where, answered=answered)
        elif kind == "reasoning":
            _add_thought(parse_part(item, ReasoningItem, where), messages)
        elif kind in CALLS:
            call = call_message(item, self.toolbox, where)
            _assistants_turn(messages).setdefault("tool_calls", []).append(call)
        elif kind in RESULTS:
            messages.append(self._result(item, where))
        elif kind == "shell_call_output":
            messages.append(shell_output(item, where))
        elif kind == "apply_patch_call_output":
            messages.append(patch_output(item, where))
        elif kind == "tool_search_output":
            messages.append(_found_tools(item, where))
        elif kind == "item_reference":
            self._read(self._referred(item, where), messages, where, answered=answered)

    def _add_message(
        self, item: Item, messages: list[Message], where: str, *, answered: bool
    ) -> None:
        message = parse_part(item, MessageItem, where)
        content = self._content(message.content, f"{where}.content", answered=answered)
        if message.role != "assistant":
            messages.append({"role": message.role, "content": content})
            return
        turn = _assistants_turn(messages)
        if turn["content"] or turn.get("tool_calls"):
            turn = {"role": "assistant", "content": ""}
            messages.append(turn)
        turn["content"] = content

    def _result(self, item: Item, where: str) -> Message:
        result = parse_part(item, OutputItem, where)
        content = self._content(result.output, f"{where}.output", answered=False)
        # A local shell's output names its call by its own id.
        return {"role": "tool", "tool_call_id": result.call_id or result.id, "content": content}

    def _referred(self, item: Item, where: str) -> Item:
        identity = parse_part(item, ReferenceItem, where).id
        found = self.stored(identity)
        if found is None:
            raise RequestError(
                f"{where}: no item {identity[:80]!r} is stored here; send the item itself",
                param=where,
                code="item_not_found",
            )
        return Item.model_validate(found)

    def _content(self, content: Content, where: str, *, answered: bool) -> Any:
        """Text, or parts as chat completions has them if there is more than text."""
        if content is None or isinstance(content, str):
            return content or ""
        parts: list[dict[str, Any]] = []
        unread = ""
        for place, part in enumerate(content):
            found = self._part(part, f"{where}[{place}]", answered=answered)
            if found is None:
                unread = part.type
            else:
                add_part(parts, found)
        if unread and not parts and answered:
            raise _unreadable(unread, where, f"{where}[0].type")
        return joined(parts)

    def _part(self, part: Part, where: str, *, answered: bool) -> dict[str, Any] | None:
        """None for a part of a type that is skipped."""
        if part.type in TEXTS:
            return {"type": "text", "text": part.text or part.refusal or ""}
        kind = UNSEEN.get(part.type)
        if kind is None:
            return None
        if kind == "image" and self.sees:
            url = _url(part)
            if url is not None:
                return {"type": "image_url", "image_url": {"url": url}}
            if answered:
                raise missing(f"{where}.image_url")
        if answered:
            # Codex removes the images and continues when a parameter of this name is refused.
            param = f"{where}.image_url" if kind == "image" else f"{where}.type"
            raise _unreadable(part.type, where, param)
        return {"type": "text", "text": note(kind)}


def type_of(item: Item) -> str:
    """An item without a type is a message, or a reference if it has only an id."""
    if item.type is not None:
        return item.type
    fields = item.model_extra or {}
    return "item_reference" if "id" in fields and "role" not in fields else "message"


def tools_in(items: Items) -> Iterator[tuple[str, Tool]]:
    """The tools that items declare, each with its path in the request."""
    for place, item in enumerate(items if not isinstance(items, str) else ()):
        if item.type in TOOLS:
            where = f"input[{place}]"
            for number, tool in enumerate(parse_part(item, ToolsItem, where).tools or ()):
                yield f"{where}.tools[{number}]", tool


def _last_of_user(items: Sequence[Item]) -> int | None:
    """The index of the message to answer, if it is the user's."""
    spoken = [place for place, item in enumerate(items) if _speaks(item)]
    if not spoken:
        return None
    role = (items[spoken[-1]].model_extra or {}).get("role")
    return spoken[-1] if role == "user" else None


def _speaks(item: Item) -> bool:
    kind = type_of(item)
    system = (item.model_extra or {}).get("role") in ("system", "developer")
    return kind in CALLS or kind in RESULTS or (kind == "message" and not system)


def _add_thought(item: ReasoningItem, messages: list[Message]) -> None:
    parts = item.content or item.summary or ()
    thought = "\n".join(part.text for part in parts if part.text)
    if thought:
        turn = _assistants_turn(messages)
        earlier = turn.get("reasoning_content")
        turn["reasoning_content"] = f"{earlier}\n{thought}" if earlier else thought


def _assistants_turn(messages: list[Message]) -> Message:
    """The assistant's message at the end, where its reasoning, words and calls belong together."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _found_tools(item: Item, where: str) -> Message:
    """What a search found, by name: the tools themselves are among the request's by now."""
    found = parse_part(item, ToolsItem, where)
    names = [str((tool.model_extra or {}).get("name", tool.type)) for tool in found.tools or ()]
    text = ", ".join(names) if names else "no tools found"
    return {"role": "tool", "tool_call_id": found.call_id, "content": text}


def _url(part: Part) -> str | None:
    """None for an image that is stored elsewhere, under an id that is unknown here."""
    url = part.image_url
    if isinstance(url, Mapping):
        url = url.get("url")
    return url if isinstance(url, str) else None


def _unreadable(kind: str, where: str, param: str) -> RequestError:
    return RequestError(
        f"{where}: this model reads text, got a part of type {kind!r}",
        param=param,
        code="invalid_value",
    )
