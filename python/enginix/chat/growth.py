"""Bounds the size of a template's values, where possible before they are computed."""

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

MAX_CHARACTERS = 16 << 20
"""Maximum length of a string, the prompt included: no context is longer, nor any body."""
PART_WEIGHT = 16
"""The weight of one list item, in characters."""
MAX_COMPUTED = 1 << 20
"""Maximum repetitions, widths and bits: real templates compute no more than an index or indent."""
MAX_OPERANDS = 64
"""Operands of + in one expression; longer sums are checked one by one."""
WIDTH = re.compile(r"\d{6}")
CONTAINERS = frozenset((list, tuple, dict, Namespace))


class BoundExceeded(SecurityError):
    """A bound is exceeded; the message names it."""


def measured(value: Any) -> Any:
    """Return the value if its size is within the bounds."""
    kind = type(value)
    if kind is str or kind is Markup:
        if len(value) > MAX_CHARACTERS:
            raise BoundExceeded(f"it creates a string of more than {MAX_CHARACTERS} characters")
    elif kind in CONTAINERS:
        _weigh(value)
    return value


def _weigh(value: Any) -> None:
    """Check the approximate size of its string form; a part counts each time it occurs."""
    todo, weight = [value], 0
    while todo:
        part = todo.pop()
        weight += PART_WEIGHT
        kind = part.__class__
        if kind is str:
            weight += len(part)
        elif kind is int or kind is bool or part is None:
            continue
        elif kind is Namespace:
            todo.append(_attributes(part))
        elif isinstance(part, str | bytes):
            weight += len(part)
        elif isinstance(part, dict):
            todo += part.values()
            weight += sum(len(key) for key in part if isinstance(key, str))
        elif isinstance(part, list | tuple):
            if weight + PART_WEIGHT * len(part) <= MAX_CHARACTERS:
                todo += part
            else:
                weight += PART_WEIGHT * len(part)
        if weight > MAX_CHARACTERS:
            raise BoundExceeded(f"it creates a value of more than {MAX_CHARACTERS} parts")


def _attributes(namespace: Namespace) -> Mapping[str, Any]:
    # Namespace hides its attributes from templates in a private attribute.
    attributes: Mapping[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return attributes


def measuring(filter: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter whose result may be larger than its input."""
    name = filter.__name__.removeprefix("sync_").removeprefix("do_")
    # Some filters receive the environment or a context first.
    place = int(hasattr(filter, "jinja_pass_arg"))

    @wraps(filter)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value = args[place] if len(args) > place else None
        check_growth(name, value, (*args[place + 1 :], *kwargs.values()))
        return measured(filter(*args, **kwargs))

    return bounded


def check_growth(name: str, value: Any, others: tuple[Any, ...]) -> None:
    """Raise before an operation creates too large a value."""
    for other in others:
        if isinstance(other, int) and other > MAX_COMPUTED:
            raise BoundExceeded(f"{name}: {other} is more than {MAX_COMPUTED}")
    measured(value)
    if name in ("format", "format_map", "xmlattr"):
        measured(list(others))
        numbers = [*others, *(n for each in others if isinstance(each, tuple) for n in each)]
        wide = any(isinstance(each, int) and each > MAX_COMPUTED for each in numbers)
        if wide or (isinstance(value, str) and ("*" in value or WIDTH.search(value))):
            raise BoundExceeded("its format width is too large")
    texts = [other for other in others if isinstance(other, str)]
    if name == "replace" and len(texts) == 2 and isinstance(value, str):
        old, new = texts
        if (value.count(old) if old else len(value) + 1) * len(new) > MAX_CHARACTERS:
            raise BoundExceeded(f"replace would create more than {MAX_CHARACTERS} characters")
    elif name == "join":
        _check_join(value, others)
    elif name in ("indent", "to_json"):
        lines = value.count("\n") + 1 if isinstance(value, str) else MAX_COMPUTED
        widths = [len(each) if isinstance(each, str) else each for each in others]
        if any(isinstance(width, int) and width * lines > MAX_CHARACTERS for width in widths):
            raise BoundExceeded("its indent width is too large")


def _check_join(value: Any, others: tuple[Any, ...]) -> None:
    # For the method the separator is the string itself, for the filter it is the first argument.
    items, between = (others[0], value) if isinstance(value, str) and others else (value, "")
    separators = [each for each in (between, *others) if isinstance(each, str)]
    longest = max(map(len, separators), default=0)
    if isinstance(items, Sized) and longest * len(items) > MAX_CHARACTERS:
        raise BoundExceeded(f"join would create more than {MAX_CHARACTERS} characters")


def operands(node: nodes.Expr) -> int:
    """The number of operands in a chain of +, counted without recursion."""
    count, todo = 0, [node]
    while todo and count <= MAX_OPERANDS:
        each = todo.pop()
        if isinstance(each, nodes.Add):
            todo += [each.left, each.right]
        else:
            count += 1
    return count


def size_of(left: Any, operator: str, right: Any) -> int:
    """An upper bound of the result's size: items of a string or list, bits of a number."""
    if operator == "**":
        whole = isinstance(left, int) and isinstance(right, int)
        return left.bit_length() * abs(right) if whole else 0
    for one, times in ((left, right), (right, left)):
        if isinstance(one, Sized) and isinstance(times, int) and not isinstance(one, Undefined):
            return len(one) * times
    both = isinstance(left, int) and isinstance(right, int)
    return left.bit_length() + right.bit_length() if both else 0
