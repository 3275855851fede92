"""Reads a grammar in GBNF, llama.cpp's notation, and writes it in llguidance's.

llama.cpp's own sampler for such grammars has no bounds: `("a"?){1000}` never comes back from its
first token, on the thread that every other answer needs too. llguidance has bounds for each step.
Rules that do not hold themselves become terminals, one regular expression each: those are exact,
where a parser's rules would take the longest word they can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from llama_cpp import LlamaError

MAX_DEPTH = 100
MAX_REPEATED = 10_000
MAX_SYMBOLS = 100_000

TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<assign>::=)
      | (?P<name>[A-Za-z0-9_-]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<set>\[(?:[^\]\\]|\\.)*\])
      | (?P<repeat>\{\s*\d*\s*(?:,\s*\d*\s*)?\}|[*+?])
      | (?P<other>[|().])""",
    re.VERBOSE | re.DOTALL,
)
CHARACTER = re.compile(
    r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\(.)|(.)", re.DOTALL
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class GrammarError(LlamaError):
    """The text is not a grammar, or exceeds the limits."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Text in llguidance's notation; `atomic` if a repetition may follow without parentheses."""

    text: str
    references: frozenset[str] = frozenset()
    atomic: bool = True


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int


def lark_of(grammar: str) -> str:
    """The same grammar for llguidance, whose first rule is called `start`."""
    rules = Reader(grammar).rules()
    if "root" not in rules:
        raise GrammarError("it has no rule `root`")
    for rule in rules.values():
        for name in rule.references - rules.keys():
            raise GrammarError(f"it uses the rule {name!r}, which it does not have")
    names = _names(rules)
    lines = [f"start: {names['root']}"]
    lines += [
        f"{names[name]}: {REFERENCE.sub(lambda found: names[found[1]], rule.text)}"
        for name, rule in rules.items()
    ]
    return "\n".join(lines) + "\n"


# Stands for a reference until every rule has its new name; no text can look like it.
REFERENCE = re.compile("\0([^\0]+)\0")


def _names(rules: dict[str, Expression]) -> dict[str, str]:
    """The rules' new names: terminals in upper case, recursive rules in lower case."""
    waiting = {name: len(rule.references) for name, rule in rules.items()}
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for reference in rule.references:
            users[reference].append(name)
    ready = [name for name, count in waiting.items() if not count]
    terminals = set()
    while ready:
        name = ready.pop()
        terminals.add(name)
        for user in users[name]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    return {name: f"{'R' if name in terminals else 'r'}{place}" for place, name in enumerate(rules)}


class Reader:
    """Recursive descent, to a bounded depth."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text.replace("\0", "\N{REPLACEMENT CHARACTER}")))
        if len(self._tokens) > MAX_SYMBOLS:
            raise GrammarError(f"it has {len(self._tokens)} symbols, {MAX_SYMBOLS} are possible")
        self._at = 0
        self._depth = 0

    def rules(self) -> dict[str, Expression]:
        rules: dict[str, Expression] = {}
        while self._at < len(self._tokens):
            name = self._tokens[self._at]
            if not self._begins_rule():
                raise _unexpected(name, "a rule, `name ::= ...`")
            self._at += 2
            rules[name.text] = self._choice()
        return rules

    def _begins_rule(self) -> bool:
        following = self._tokens[self._at : self._at + 2]
        return [token.kind for token in following] == ["name", "assign"]

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _choice(self) -> Expression:
        choices = [self._sequence()]
        while (token := self._peek()) and token.text == "|" and token.kind == "other":
            self._at += 1
            choices.append(self._sequence())
        if len(choices) == 1:
            return choices[0]
        return _joined(" | ", choices)

    def _sequence(self) -> Expression:
        parts: list[Expression] = []
        while (token := self._peek()) and not self._begins_rule():
            if token.kind == "other" and token.text in "|)":
                break
            self._at += 1
            part = self._part(token)
            while (bounds := self._peek()) and bounds.kind == "repeat":
                self._at += 1
                part = _repeated(part, bounds)
            parts.append(part)
        if not parts:
            return Expression('""')
        return parts[0] if len(parts) == 1 else _joined(" ", parts)

    def _part(self, token: Token) -> Expression:
        match token.kind, token.text:
            case "name", name:
                return Expression(f"\0{name}\0", frozenset((name,)))
            case "string", text:
                return Expression(json.dumps("".join(_characters(text[1:-1])), ensure_ascii=True))
            case "set", text:
                return Expression(f"/{_set(text)}/")
            case _, ".":
                return Expression("/(?s:.)/")
            case _, "(":
                return self._group(token)
        raise _unexpected(token, "something to repeat, or another part of a rule")

    def _group(self, opening: Token) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GrammarError(f"its parentheses are nested deeper than {MAX_DEPTH}")
        inner = self._choice()
        closing = self._peek()
        if closing is None or closing.text != ")":
            raise _unexpected(opening, "a closing parenthesis for it")
        self._at += 1
        self._depth -= 1
        return Expression(f"({inner.text})", inner.references)


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise GrammarError(
                f"it cannot be read from {text[at : at + 20]!r} on; expected llama.cpp's form, "
                'as in: root ::= "yes" | "no"'
            )
        if found.lastgroup != "space":
            yield Token(found.lastgroup or "", found.group(), at)
        at = found.end()


def _joined(separator: str, parts: list[Expression]) -> Expression:
    text = separator.join(
        part.text if part.atomic or separator == " | " else f"({part.text})" for part in parts
    )
    return Expression(text, frozenset().union(*(part.references for part in parts)), atomic=False)


def _repeated(part: Expression, bounds: Token) -> Expression:
    if bounds.text in BOUNDS:
        least, most = BOUNDS[bounds.text]
    else:
        first, comma, last = bounds.text[1:-1].replace(" ", "").partition(",")
        least = _number(first or "0")
        most = _number(last) if last else None if comma else least
    if most is not None and most < least:
        raise GrammarError(f"{bounds.text} asks for at least {least} and at most {most}")
    inner = part.text if part.atomic else f"({part.text})"
    written = (
        bounds.text if bounds.text in BOUNDS else f"{{{least},{'' if most is None else most}}}"
    )
    # Another repetition may follow this one.
    return Expression(f"({inner}{written})", part.references)


def _number(digits: str) -> int:
    digits = digits.strip().lstrip("0") or "0"
    if len(digits) > len(str(MAX_REPEATED)) or int(digits) > MAX_REPEATED:
        raise GrammarError(f"it repeats something {digits[:30]} times, {MAX_REPEATED} are possible")
    return int(digits)


def _characters(text: str) -> Iterator[str]:
    for byte, short, long, escaped, plain in CHARACTER.findall(text):
        code = byte or short or long
        if code and (int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) <= 0xDFFF):
            raise GrammarError(f"U+{code} is no character")
        yield chr(int(code, 16)) if code else ESCAPES.get(escaped, escaped) or plain


def _set(text: str) -> str:
    """A character set in the syntax of Rust's regular expressions."""
    negated, body = text[1:2] == "^", text[2:-1] if text[1:2] == "^" else text[1:-1]
    # An escaped dash is a character; a plain one between two characters is a range.
    plain = [match.group() == "-" for match in CHARACTER.finditer(body)]
    characters = list(_characters(body))
    if not characters:
        raise GrammarError("it has an empty set of characters")
    ranges, at = [], 0
    while at < len(characters):
        last = at + 2 if at + 2 < len(characters) and plain[at + 1] else at
        if characters[last] < characters[at]:
            raise GrammarError(f"{text} has a range that ends before it begins")
        ranges.append("-".join(f"\\u{{{ord(characters[end]):x}}}" for end in sorted({at, last})))
        at = last + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def _unexpected(token: Token, wanted: str) -> GrammarError:
    return GrammarError(f"{token.text[:20]!r} at character {token.at} is not {wanted}")
