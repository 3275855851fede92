"""How large a value of a template may become, found out before it is made where that is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.utils import Namespace
from markupsafe import Markup

LARGEST = 16 << 20
"""Characters of a text, the prompt too: more than any context has, and as much as a body."""
PART = 16
"""What an item of a list weighs, in characters."""
MOST_COMPUTED = 1 << 20
"""Repetitions, widths and bits: no template in use computes more than an index or an indent."""
LONGEST_SUM = 64
"""Operands of + in one expression; in longer ones each sum is measured."""
WIDTH = re.compile(r"\d{6}")
CONTAINERS = frozenset((list, tuple, dict, Namespace))


class TooMuch(SecurityError):
    """Beyond a bound, whose name it gives."""


def measured(value: Any) -> Any:
    """The value itself, once it is known to be no larger than it may be."""
    kind = type(value)
    if kind is str or kind is Markup:
        if len(value) > LARGEST:
            raise TooMuch(f"it makes a text of more than {LARGEST} characters")
    elif kind in CONTAINERS:
        _weigh(value)
    return value


def _weigh(value: Any) -> None:
    """What it would be as a text, roughly: parts count as often as they are in it."""
    todo, weight = [value], 0
    while todo:
        part = todo.pop()
        weight += PART
        if isinstance(part, str | bytes):
            weight += len(part)
        elif type(part) is Namespace:
            todo.append(_attributes(part))
        elif isinstance(part, dict):
            todo += part.values()
            weight += sum(len(key) for key in part if isinstance(key, str))
        elif isinstance(part, list | tuple):
            if weight + PART * len(part) <= LARGEST:
                todo += part
            else:
                weight += PART * len(part)
        if weight > LARGEST:
            raise TooMuch(f"it makes a value of more than {LARGEST} parts")


def _attributes(namespace: Namespace) -> Mapping[str, Any]:
    # It hides them from templates, under the name of a private attribute.
    attributes: Mapping[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return attributes


def measuring(filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result may be larger than what it is given."""
    name = filter.__name__.removeprefix("sync_").removeprefix("do_")
    # Some of them are first given the environment or a context.
    place = int(hasattr(filter, "jinja_pass_arg"))

    @wraps(filter)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value = args[place] if len(args) > place else None
        check_growth(name, value, (*args[place + 1 :], *kwargs.values()))
        return measured(filter(*args, **kwargs))

    return bounded


def check_growth(name: str, value: Any, others: tuple[Any, ...]) -> None:
    """Refuse what would be too large before it is made."""
    for other in others:
        if isinstance(other, int) and other > MOST_COMPUTED:
            raise TooMuch(f"{name}: {other} is more than {MOST_COMPUTED}")
    measured(value)
    if name in ("format", "format_map", "xmlattr"):
        measured(list(others))
        numbers = [*others, *(n for each in others if isinstance(each, tuple) for n in each)]
        wide = any(isinstance(each, int) and each > MOST_COMPUTED for each in numbers)
        if wide or (isinstance(value, str) and ("*" in value or WIDTH.search(value))):
            raise TooMuch("it formats with such a width")
    texts = [other for other in others if isinstance(other, str)]
    if name == "replace" and len(texts) == 2 and isinstance(value, str):
        old, new = texts
        if (value.count(old) if old else len(value) + 1) * len(new) > LARGEST:
            raise TooMuch(f"replace would make more than {LARGEST} characters")
    elif name == "join":
        _check_join(value, others)
    elif name in ("indent", "to_json"):
        lines = value.count("\n") + 1 if isinstance(value, str) else MOST_COMPUTED
        widths = [len(each) if isinstance(each, str) else each for each in others]
        if any(isinstance(width, int) and width * lines > LARGEST for width in widths):
            raise TooMuch("it indents by such a width")


def _check_join(value: Any, others: tuple[Any, ...]) -> None:
    # As a method the separator is the text itself, as a filter it is the first argument.
    items, between = (others[0], value) if isinstance(value, str) and others else (value, "")
    separators = [each for each in (between, *others) if isinstance(each, str)]
    longest = max(map(len, separators), default=0)
    if isinstance(items, Sized) and longest * len(items) > LARGEST:
        raise TooMuch(f"join would make more than {LARGEST} characters")


def operands(node: nodes.Expr) -> int:
    """Of a chain of +, without walking a long one recursively."""
    count, todo = 0, [node]
    while todo and count <= LONGEST_SUM:
        each = todo.pop()
        if isinstance(each, nodes.Add):
            todo += [each.left, each.right]
        else:
            count += 1
    return count


def size_of(left: Any, operator: str, right: Any) -> int:
    """Of what comes out, at most: items of a text or list, bits of a number."""
    if operator == "**":
        whole = isinstance(left, int) and isinstance(right, int)
        return left.bit_length() * abs(right) if whole else 0
    for one, times in ((left, right), (right, left)):
        if isinstance(one, Sized) and isinstance(times, int) and not isinstance(one, Undefined):
            return len(one) * times
    both = isinstance(left, int) and isinstance(right, int)
    return left.bit_length() + right.bit_length() if both else 0
