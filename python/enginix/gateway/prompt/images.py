"""What becomes of pictures, files and sounds in a conversation that a model cannot see or hear.

One in the message that is to be answered is refused: the answer would be to another question. One
in what was said before, or in a tool's result, cannot be taken back by anybody, and a refusal would
end the session; the model is told what it does not see, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.errors import RequestError
from enginix.gateway.schema.chat import TEXTS

Message = dict[str, Any]
Part = dict[str, Any]

# Types of parts of chat completions that are no text -> what they are.
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
# What stands in front of images that a tool's result had.
SHOWN = {"type": "text", "text": "What the tool showed:"}


def note(kind: str) -> str:
    """What a model is told instead, once for each message."""
    return f"[{kind}: this model reads text only]"


NOTES = frozenset(note(kind) for kind in (*UNSEEN.values(), "document"))


def unreadable(kind: str, param: str) -> RequestError:
    return RequestError(
        f"{param.rpartition('.')[0] or param}: this model reads text, got a part of type {kind!r}",
        param=param,
        code="unsupported_content",
    )


def last_of_users(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the user's message that is to be answered, if that is what comes last.

    What the system says behind it is not its answer.
    """
    place = len(messages) - 1
    while place >= 0 and messages[place].get("role") in ("system", "developer"):
        place -= 1
    return place if place >= 0 and messages[place].get("role") == "user" else None


def add_part(parts: list[Part], part: Part) -> None:
    """Put a part behind the others; what a model does not see is said once."""
    if not (part in parts and part.get("text") in NOTES):
        parts.append(part)


def joined(content: Any) -> Any:
    """Parts as one text where they are nothing else."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    return content


def readable(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages of a chat for a model that reads text.

    What is there to be answered stays as it is, for the reader to refuse; parts of types that are
    in nobody's specification are passed over.
    """
    last = last_of_users(messages)
    return [_readable(message, answered=place == last) for place, message in enumerate(messages)]


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
    # An empty prompt is no answer to what was there.
    return {**message, "content": content if answered and not parts else parts}


def seen_by_user(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The same messages with the images of tool results in the user's message behind them.

    Chat completions have images in users' messages only.
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
                said = content if isinstance(content, list) else []
                if isinstance(content, str) and content:
                    said = [{"type": "text", "text": content}]
                moved.append({**message, "content": [*shown, *said]})
                continue
            moved.append({"role": "user", "content": shown})
        moved.append(dict(message))
    return [*moved, {"role": "user", "content": [SHOWN, *images]}] if images else moved
