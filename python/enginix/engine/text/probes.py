"""Compares a converted tokenizer with its original: the same ids, the same text."""

# ruff: noqa: RUF001, some texts are look-alikes on purpose

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]

PROBES = (
    "",
    "a",
    "Hello world",
    "Hello, World! How's it going? I'LL say we'd, they've, don't.",
    "The quick brown fox jumps over the lazy dog. " * 8,
    "internationalization antidisestablishmentarianism",
    "CamelCaseWords snake_case_words kebab-case-words SHOUTING",
    "def f(x):\n    return [i ** 2 for i in range(x)]\n\n\nclass A:\n\tpass\n",
    'int main(void) {\n\tprintf("%d\\n", 0x1F);\r\n\treturn 0; // done\r\n}\n',
    '{"a": [1, 2.5e-3, null, true], "b": {"c": "d\\u00e9"}}',
    "<div class='x'>&amp; &lt;b&gt;</div> https://example.org/a?b=c&d=e#f",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 ½ ² ٣ 五",
    "one  two   three    four     five                end",
    "tail   ",
    "\n",
    "\n\n\n \n\t\n",
    "tab\ttab\t\ttab",
    "line\nline\r\nline\rline\u2028line\x0bline\x0cline",
    "naïve café Ångström façade Straße İstanbul ß ſ ﬁ Ⅷ ™",
    "e\u0301 a\u0308 n\u0303 \u1112\u1161\u11ab",
    "Привет, мир! Ελληνικά. עברית العربية हिन्दी ไทย ქართული",
    "你好，世界！今天天气怎么样？ こんにちは世界。 안녕하세요 세계",
    "👋 👋🏽 👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪 ❤️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
    "\x00\x01\x1b[0m\x7f\x85\xa0\xad\ufeff\ufffd\u200b\u202e",
    "\ue000\U000f0000\U0010ffff",
    "".join(map(chr, range(0x21, 0x180))),
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...---===###***///\\\\\\|||~~~```'''\"\"\"",
    "Ġ Ċ ċ ## @@ </w> [UNK]",
)
# The name of a byte: unigrams match its spelling, in transformers too.
LITERALS = ("<0x41> <0x0A>",)
# Texts with a leading space, which a tokenizer that marks only the first word cannot represent.
LEADING = (" ", "   ", " one", "  two", " \n x")
# SentencePiece's mark, which counts as a space if spaces are collapsed.
MARKS = ("\u2581", "\u2581x", "a\u2581b")


class Fast(Protocol):
    """What the comparison needs of a converted tokenizer."""

    def encode(self, text: str) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Disagreement:
    text: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"{self.text!r:.60} gives {self.got!r:.80}, expected {self.expected!r:.80}"


def first_disagreement(
    texts: Sequence[str], fast: Fast, encode: Encode, decode: Decode, unknown: int | None = None
) -> Disagreement | None:
    """The first difference: in the ids of a text, or in the text of its ids."""
    for text in texts:
        ids, got = list(encode(text)), list(fast.encode(text))
        if got != ids:
            return Disagreement(text, ids, got)
        if unknown in ids:
            # The original shows its own sign there.
            continue
        spelled, shown = decode(ids), fast.decode(ids)
        if shown != spelled:
            return Disagreement(text, spelled, shown)
    return None
