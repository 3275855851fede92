"""Microseconds per token from token ids to events, compared with the library's own stream.

Run: python benchmarks/detokenize.py [--checkpoint DIR] [--tokens N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers.decoders import DecodeStream

import enginix
from enginix.chat.reply import markers, reply_parser
from enginix.chat.stop import StopStrings
from enginix.chat.stream import ReplyStream
from enginix.chat.tokens import Tokenizer

DEMO = Path(enginix.__file__).parent / "catalog" / "checkpoints" / "demo"
FORMATS = ("think-tags", "hermes-json")
ANSWER = "The quick engine reads a block of four bits at a time, and begins again. "
CHINESE = "你好 👋 快速的引擎一次读取四个比特。"
CALL = '<tool_call>\n{"name": "write", "arguments": {"text": "%s"}}\n</tool_call>'

# Reads one token; takes a list because that is how tokens arrive.
Read = Callable[[list[int]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=DEMO)
    parser.add_argument("--tokens", type=int, default=50_000)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.load(arguments.checkpoint)
    library = LibraryTokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    count = arguments.tokens

    answer = repeated(tokenizer.encode(ANSWER), count)
    chinese = repeated(tokenizer.encode(CHINESE), count)
    reasoning = [*tokenizer.encode("<think>"), *answer]
    call = tokenizer.encode(CALL % (ANSWER * (count // 18)))[:count]

    decode = DecodeStream(skip_special_tokens=True)
    report("library's DecodeStream, English", lambda ids: decode.step(library, ids[0]), answer)
    report("tokens only, English", tokenizer.stream().feed, answer)
    report("tokens only, characters split over tokens", tokenizer.stream().feed, chinese)
    for stop in ((), ("\n\n", "User:", "###", "<|end|>", "Observation:")):
        text = f"{len(stop)} stop strings"
        report(f"tokens, {text}, answer", reply_stream(tokenizer, stop).feed, answer)
        report(f"tokens, {text}, reasoning", reply_stream(tokenizer, stop).feed, reasoning)
        report(f"tokens, {text}, tool call", reply_stream(tokenizer, stop).feed, call)
    for length in (100, 8_000):
        report(f"answers of {length} tokens", Restarting(tokenizer, length).feed, answer)


class Restarting:
    """A new reply after every `length` tokens."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self._tokenizer = tokenizer
        self._length = length
        self._left = 0

    def feed(self, ids: list[int]) -> None:
        if not self._left:
            self._left = self._length
            self._reply = reply_stream(self._tokenizer, ())
        self._left -= 1
        self._reply.feed(ids)


def reply_stream(tokenizer: Tokenizer, stop: Sequence[str]) -> ReplyStream:
    parser = reply_parser(*FORMATS, tools_wanted=True)
    return ReplyStream(tokenizer.stream(keep=markers(*FORMATS)), StopStrings(stop), parser)


def repeated(ids: list[int], count: int) -> list[int]:
    return (ids * (count // len(ids) + 1))[:count]


def report(what: str, read: Read, ids: list[int]) -> None:
    chunks = [[token] for token in ids]
    begin = perf_counter()
    for chunk in chunks:
        read(chunk)
    seconds = perf_counter() - begin
    print(f"{seconds / len(ids) * 1e6:8.2f} us/token  {what}")


if __name__ == "__main__":
    main()
