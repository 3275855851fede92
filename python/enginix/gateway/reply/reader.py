"""Makes the readers of one reply: of its tokens' text, and of its formats."""

from __future__ import annotations

from enginix.chat.events import Event
from enginix.chat.reply import ReplyParser, markers, reply_parser
from enginix.chat.tokens import TextStream
from enginix.gateway.models.engine_model import EngineModel
from enginix.generation.reply import ReplyFormat


def reply_reader(
    model: EngineModel, format: ReplyFormat
) -> tuple[TextStream, ReplyParser, list[Event]]:
    """The text decoder, the parser, and the events of the reply's prefill."""
    tools = format.tools if format.definitions else None
    text = model.tokenizer.stream(
        keep=markers(format.reasoning, tools), continues=format.continues or bool(format.prefill)
    )
    parser = reply_parser(
        format.reasoning,
        tools,
        starts_inside=format.starts_inside,
        tools_wanted=tools is not None,
        definitions=format.definitions,
    )
    return text, parser, parser.feed(format.prefill) if format.prefill else []
