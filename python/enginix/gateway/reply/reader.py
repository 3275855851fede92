"""What reads one reply: its tokens' text, and the parser of its formats."""

from __future__ import annotations

from enginix.chat.events import Event
from enginix.chat.reply import ReplyParser, markers, reply_parser
from enginix.chat.tokens import TextStream
from enginix.gateway.models.engine_model import EngineModel
from enginix.generation.reply import ReplyFormat


def reply_reader(
    model: EngineModel, format: ReplyFormat
) -> tuple[TextStream, ReplyParser, list[Event]]:
    """The two of them, and what the words that begin the reply say already."""
    tools = format.tools if format.definitions else None
    text = model.tokenizer.stream(
        keep=markers(format.reasoning, tools), continues=format.continues or bool(format.begun)
    )
    parser = reply_parser(
        format.reasoning,
        tools,
        starts_inside=format.starts_inside,
        tools_wanted=tools is not None,
        definitions=format.definitions,
    )
    return text, parser, parser.feed(format.begun) if format.begun else []
