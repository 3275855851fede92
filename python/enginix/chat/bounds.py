"""Limits what a chat template may compute: time, iterations, and the size of every value.

Templates are untrusted. The sandbox isolates them from the machine, but lets them loop for hours
or double a string thirty times. Here every loop, macro and assignment is counted, operations that
can enlarge a value are checked first, and output is joined under a limit. An ordinary template
pays a few microseconds, and needs no process of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any

from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from enginix.chat.growth import (
    MAX_CHARACTERS,
    MAX_COMPUTED,
    MAX_OPERANDS,
    PART_WEIGHT,
    BoundExceeded,
    check_growth,
    measured,
    measuring,
    operands,
    size_of,
)

STEPS = 1_000_000
"""Iterations, macro calls and assignments in one rendering."""
GROWING = frozenset(
    ("center", "expandtabs", "format", "format_map", "join", "ljust", "replace", "rjust", "zfill")
)
GROWING_FILTERS = (
    *("batch", "center", "format", "indent", "join", "replace", "slice", "wordwrap"),
    *("pprint", "string", "sum", "urlize", "xmlattr"),
)
# These yield items instead of a list; another filter collects them.
LAZY_FILTERS = ("map", "reject", "rejectattr", "select", "selectattr")
CHUNKS = 16
OF_DICT = frozenset(dir(dict))


class TimeExceeded(BoundExceeded):
    """The time limit is exceeded; a caller with more time may retry."""


class Budget(threading.local):
    """What the rendering in this thread may still use."""

    steps = STEPS
    seconds = 0.0
    spent = 0.0
    """The thread's CPU time at the start: the work of other threads does not count."""
    until = float("inf")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which nothing runs for ever or exhausts the memory."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, finalize=measured)
        self.budget = Budget()
        # It generates as many words as it is asked for.
        self.globals.pop("lipsum", None)
        self.filters["bounded_"] = measured
        self.filters["joined_"] = self.joined
        for name in GROWING_FILTERS:
            self.filters[name] = measuring(self.filters[name])
        for name in LAZY_FILTERS:
            self.filters[name] = self._counting(self.filters[name])

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Renderings in this block and thread raise TimeExceeded after `seconds`."""
        budget = self.budget
        budget.steps, budget.seconds, budget.spent = STEPS, seconds, time.thread_time()
        budget.until = time.monotonic() + seconds
        try:
            yield
        finally:
            budget.until = float("inf")

    @property
    def tick(self) -> None:
        """Count a step; compiled into every loop, macro and assignment."""
        budget = self.budget
        budget.steps -= 1
        if budget.steps < 0:
            raise BoundExceeded(f"it takes more than {STEPS} steps")
        if time.monotonic() > budget.until:
            left = budget.seconds - (time.thread_time() - budget.spent)
            if left <= 0:
                raise TimeExceeded(f"it computes for more than {budget.seconds:g} s")
            budget.until = time.monotonic() + left

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        if any(operands(add) > MAX_OPERANDS for add in source.find_all(nodes.Add)):
            raise BoundExceeded(f"it has a sum of more than {MAX_OPERANDS} operands")
        return super()._generate(_Counting().visit(source), *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        # What the sandbox finds, sooner, in a message and in a template's own variables.
        kind = obj.__class__
        if kind is dict and attribute in obj and attribute not in OF_DICT:
            return obj[attribute]
        if kind is Namespace and attribute[:1] != "_":
            value = getattr(obj, attribute, None)
            if value.__class__ is str:
                return value
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            check_growth("format", left, (right,))
        elif operator != "%" and size_of(left, operator, right) > MAX_COMPUTED:
            raise BoundExceeded(f"{operator} of these two is too large")
        return super().call_binop(context, operator, left, right)

    def call(
        __self,
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # The sandbox wraps the methods that format.
        method = getattr(__obj, "__wrapped__", __obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes) and __obj.__name__ in GROWING:
            if __obj.__name__ == "join" and args and not isinstance(args[0], Sized):
                args = (list(args[0]), *args[1:])
            check_growth(__obj.__name__, owner, (*args, *kwargs.values()))
        return measured(super().call(__context, __obj, *args, **kwargs))

    def concat(self, chunks: Iterable[Any]) -> str:
        """Join the output of a template, a macro or a block."""
        kept: list[str] = []
        size, rest = 0, iter(chunks)
        while some := list(islice(rest, CHUNKS)):
            size += sum(map(len, some))
            if size > MAX_CHARACTERS:
                raise BoundExceeded(f"it writes more than {MAX_CHARACTERS} characters")
            kept += some
        return "".join(kept)

    def joined(self, chunks: Iterable[Any]) -> str:
        """The result of the ~ operator."""
        return self.concat([str(measured(piece)) for piece in chunks])

    def _counting(self, filter: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a lazy jinja2 filter: each item counts as a step, and the total size is limited."""

        @wraps(filter)
        def counting(*args: Any, **kwargs: Any) -> Iterator[Any]:
            weight = 0
            for item in filter(*args, **kwargs):
                _ = self.tick
                weight += PART_WEIGHT + (len(item) if isinstance(item, str) else 0)
                if weight > MAX_CHARACTERS:
                    raise BoundExceeded(
                        f"{filter.__name__} yields more than {MAX_CHARACTERS} characters"
                    )
                yield item

        return counting


class _Counting(NodeTransformer):
    """Adds a tick to whatever repeats or assigns, and a size check around whatever may grow."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.test is not None:
            ticked = nodes.Not(nodes.EnvironmentAttribute("tick", lineno=node.lineno))
            node.test = nodes.And(ticked, node.test, lineno=node.lineno)
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._counted(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._counted(node)

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node | list[nodes.Node]:
        self.generic_visit(node)
        # What a call returns is measured there.
        if not isinstance(node.node, nodes.Call):
            node.node = nodes.Filter(node.node, "bounded_", [], [], None, None, lineno=node.lineno)
        return [_tick(node.lineno), node]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        together = nodes.Tuple(node.nodes, "load", lineno=node.lineno)
        return nodes.Filter(together, "joined_", [], [], None, None, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._measured(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._measured(node)

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick(node.lineno))
        return node  # type: ignore[no-any-return]

    def _measured(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        if not any(True for _ in node.find_all((nodes.Name, nodes.Call, nodes.Getattr))):
            return node  # type: ignore[no-any-return]
        return nodes.Filter(node, "bounded_", [], [], None, None, lineno=node.lineno)


def _tick(line: int) -> nodes.Node:
    return nodes.ExprStmt(nodes.EnvironmentAttribute("tick", lineno=line), lineno=line)
