"""Handles images, files and audio in conversations for models that read only text.

A part in the message to be answered is refused: the answer would be to another question. A part in
an earlier message or a tool's result cannot be withdrawn, and a refusal would end the session; the
model gets a note instead, and the conversation continues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.schema.chat import TEXTS

Message = dict[str, Any]
Part = dict[str, Any]

# Types of chat completions parts that are not text -> what they are.
UNSEEN = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
}
# Precedes images from a tool's result.
SHOWN = {"type": "text", "text": "What the tool showed:"}


def note(kind: str) -> str:
    """What the model reads instead, once per message."""
    return f"[{kind}: this model reads text only]"


NOTES = frozenset(note(kind) for kind in (*UNSEEN.values(), "document"))


def unreadable(kind: str, param: str) -> RequestError:
    return RequestError(
        f"{param.rpartition('.')[0] or param}: this model reads text, got a part of type {kind!r}",
        param=param,
        code="unsupported_content",
    )


def last_of_users(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The index of the user message to be answered, if it comes last.

    A system message after it does not count.
    """
    index = len(messages) - 1
    while index >= 0 and messages[index].get("role") in ("system", "developer"):
        index -= 1
    return index if index >= 0 and messages[index].get("role") == "user" else None


def add_part(parts: list[Part], part: Part) -> None:
    """Append a part; repeat no note."""
    if not (part in parts and part.get("text") in NOTES):
        parts.append(part)


def joined(content: Any) -> Any:
    """Join parts to one text if all are text."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    return content


def readable(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """A chat's messages for a model that reads only text.

    The message to be answered stays unchanged, for the parser to refuse; parts of types that no
    specification has are skipped.
    """
    last = last_of_users(messages)
    return [_readable(message, answered=index == last) for index, message in enumerate(messages)]


def _readable(message: Mapping[str, Any], *, answered: bool) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts: list[Part] = []
    for part in content:
        kind = UNSEEN.get(part["type"])
        if kind and not answered:
            add_part(parts, {"type": "text", "text": note(kind)})
        elif kind or part["type"] in TEXTS:
            parts.append(part)
    # An empty prompt would not represent what was there.
    return {**message, "content": content if answered and not parts else parts}


def seen_by_user(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages with images of tool results moved to the next user message.

    Chat completions allow images in user messages only.
    """
    moved: list[Message] = []
    images: list[Part] = []
    for message in messages:
        content = message.get("content")
        if message.get("role") == "tool" and isinstance(content, list):
            shown = [part for part in content if part.get("type") == "image_url"]
            images += shown
            texts = [part for part in content if part.get("type") == "text"]
            if shown and not texts:
                texts = [{"type": "text", "text": "[image: in the next message]"}]
            moved.append({**message, "content": joined(texts)})
            continue
        if images and message.get("role") != "tool":
            shown, images = [SHOWN, *images], []
            if message.get("role") == "user":
                texts_before = content if isinstance(content, list) else []
                if isinstance(content, str) and content:
                    texts_before = [{"type": "text", "text": content}]
                moved.append({**message, "content": [*shown, *texts_before]})
                continue
            moved.append({"role": "user", "content": shown})
        moved.append(dict(message))
    return [*moved, {"role": "user", "content": [SHOWN, *images]}] if images else moved
