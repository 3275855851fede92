"""Converts Anthropic's messages of blocks to the messages that chat templates know.

A block of a known type is validated; one of any other type is skipped, because a client cannot
remove it from its session: docs/dialects.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.http.body import parse_part
from enginix.gateway.prompt.billing import without_billing
from enginix.gateway.prompt.images import add_part, joined, note, unreadable
from enginix.gateway.prompt.parameters import missing
from enginix.gateway.schema.messages import (
    Block,
    CompactionBlock,
    DocumentBlock,
    ImageBlock,
    Message,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)

Plain = dict[str, Any]
Part = dict[str, Any]
Blocks = str | Sequence[Block] | None


def plain_conversation(system: Blocks, messages: Sequence[Message], *, sees: bool) -> list[Plain]:
    """`sees`: whether the model's server may read images."""
    plain: list[Plain] = []
    if text := system_text(system, "system"):
        plain.append({"role": "system", "content": text})
    turns = [place for place, message in enumerate(messages) if message.role != "system"]
    last = turns[-1] if turns and messages[turns[-1]].role == "user" else None
    for place, message in enumerate(messages):
        reader = Reader(f"messages[{place}].content", sees=sees, answered=place == last)
        plain += reader.messages(message)
    if not plain:
        raise RequestError(
            "messages: none of them holds anything that this server reads; send text",
            param="messages",
        )
    return plain


def system_text(content: Blocks, where: str) -> str:
    if content is None or isinstance(content, str):
        return without_billing(content or "")
    texts = [
        without_billing(_text(block, f"{where}[{place}]"))
        for place, block in enumerate(content)
        if block.type == "text"
    ]
    return "\n".join(text for text in texts if text)


class Reader:
    """Reads the blocks of one message; `answered`: it is the one that the model answers."""

    def __init__(self, where: str, *, sees: bool, answered: bool) -> None:
        self._where = where
        self._sees = sees
        self._answered = answered

    def messages(self, message: Message) -> list[Plain]:
        if message.role == "system":
            text = system_text(message.content, self._where)
            return [{"role": "system", "content": text}] if text else []
        if message.content is None:
            raise missing(self._where)
        if isinstance(message.content, str):
            return [{"role": message.role, "content": message.content}]
        if message.role == "assistant":
            return self._assistant(message.content)
        return self._user(message.content)

    def _assistant(self, blocks: Sequence[Block]) -> list[Plain]:
        message: Plain = {"role": "assistant", "content": ""}
        thoughts: list[str] = []
        for place, block in enumerate(blocks):
            where = f"{self._where}[{place}]"
            match block.type:
                case "text":
                    message["content"] += _text(block, where)
                case "compaction":
                    message["content"] += parse_part(block, CompactionBlock, where).content or ""
                case "thinking":
                    thoughts.append(parse_part(block, ThinkingBlock, where).thinking or "")
                case "tool_use":
                    message.setdefault("tool_calls", []).append(_call(block, where))
        if thoughts := [thought for thought in thoughts if thought]:
            message["reasoning_content"] = "\n".join(thoughts)
        empty = blocks and not message["content"] and len(message) == 2
        return [] if empty else [message]

    def _user(self, blocks: Sequence[Block]) -> list[Plain]:
        messages: list[Plain] = []
        unread = ""
        for place, block in enumerate(blocks):
            where = f"{self._where}[{place}]"
            if block.type == "tool_result":
                messages.append(self._result(block, where))
                continue
            parts = self._parts(block, where, in_result=False)
            unread = unread if parts else unread or block.type
            if parts and (not messages or messages[-1]["role"] != "user"):
                messages.append({"role": "user", "content": []})
            for part in parts:
                add_part(messages[-1]["content"], part)
        if unread and not messages and self._answered:
            raise unreadable(unread, f"{self._where}[0].type")
        return [{**message, "content": joined(message["content"])} for message in messages]

    def _result(self, block: Block, where: str) -> Plain:
        result = parse_part(block, ToolResultBlock, where)
        content: Any = result.content or ""
        if not isinstance(content, str):
            parts: list[Part] = []
            for place, inner in enumerate(content):
                for part in self._parts(inner, f"{where}.content[{place}]", in_result=True):
                    add_part(parts, part)
            content = parts
        return {"role": "tool", "tool_call_id": result.tool_use_id, "content": content}

    def _parts(self, block: Block, where: str, *, in_result: bool) -> list[Part]:
        """What is read of a block: texts and images; nothing of one that is passed over."""
        match block.type:
            case "text":
                return [_part(_text(block, where))]
            case "image":
                return [self._image(block, where, in_result=in_result)]
            case "document":
                return self._document(block, where, in_result=in_result)
            case "search_result":
                found = parse_part(block, SearchResultBlock, where)
                return self._titled(
                    [found.title, found.source], found.content, where, in_result=in_result
                )
            case "tool_reference":
                return [_part(parse_part(block, ToolReferenceBlock, where).tool_name)]
        return []

    def _image(self, block: Block, where: str, *, in_result: bool) -> Part:
        if self._sees:
            url = image_url(parse_part(block, ImageBlock, where).source)
            if url is not None:
                return {"type": "image_url", "image_url": {"url": url}}
            if self._answered and not in_result:
                raise RequestError(
                    f"{where}.source: expected base64 with media_type and data, or url with url",
                    param=f"{where}.source",
                )
        return self._unseen("image", where, in_result=in_result)

    def _document(self, block: Block, where: str, *, in_result: bool) -> list[Part]:
        document = parse_part(block, DocumentBlock, where)
        source, titles = document.source, [document.title, document.context]
        if source.type == "text":
            return [_part("\n".join(text for text in [*titles, source.data] if text))]
        if source.type == "content":
            if isinstance(source.content, str):
                return [_part("\n".join(text for text in [*titles, source.content] if text))]
            return self._titled(titles, source.content or [], where, in_result=in_result)
        return [self._unseen("document", where, in_result=in_result)]

    def _titled(
        self, titles: Sequence[str | None], blocks: Sequence[Block], where: str, *, in_result: bool
    ) -> list[Part]:
        parts = [_part(title) for title in titles if title]
        for place, block in enumerate(blocks):
            # Not into itself: documents and results hold texts and images.
            if block.type in ("text", "image"):
                parts += self._parts(block, f"{where}.content[{place}]", in_result=in_result)
        return parts

    def _unseen(self, kind: str, where: str, *, in_result: bool) -> Part:
        if self._answered and not in_result:
            raise unreadable(kind, f"{where}.type")
        return _part(note(kind))


def image_url(source: Mapping[str, Any]) -> str | None:
    """None for an image that is stored elsewhere, under an id that is unknown here."""
    match source.get("type"), source.get("media_type"), source.get("data"), source.get("url"):
        case "base64", str(kind), str(data), _:
            return f"data:{kind};base64,{data}"
        case "url", _, _, str(url):
            return url
    return None


def _call(block: Block, where: str) -> Plain:
    use = parse_part(block, ToolUseBlock, where)
    arguments = use.input if isinstance(use.input, dict) else {}
    if use.input is not None and arguments is not use.input:
        arguments = {"input": use.input}
    function = {"name": use.name, "arguments": arguments}
    return {"id": use.id, "type": "function", "function": function}


def _text(block: Block, where: str) -> str:
    return parse_part(block, TextBlock, where).text


def _part(text: str) -> Part:
    return {"type": "text", "text": text}
