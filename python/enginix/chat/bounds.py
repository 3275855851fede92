"""Bounds on what a chat template may compute: time, iterations, and the size of every value.

Templates come from strangers. Their sandbox keeps them from the machine, but not from looping for
hours or from doubling a text thirty times. Every loop, macro and assignment is counted, whatever
can make a value grow is measured first, and texts are joined here. It costs an ordinary template
some microseconds, and needs no process of its own.
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
from jinja2.visitor import NodeTransformer

from enginix.chat.growth import (
    LARGEST,
    LONGEST_SUM,
    MOST_COMPUTED,
    PART,
    TooMuch,
    check_growth,
    measured,
    measuring,
    operands,
    size_of,
)

STEPS = 1_000_000
"""Iterations, macro calls and assignments of one rendering."""
GROWING = frozenset(
    ("center", "expandtabs", "format", "format_map", "join", "ljust", "replace", "rjust", "zfill")
)
GROWING_FILTERS = (
    *("batch", "center", "format", "indent", "join", "replace", "slice", "wordwrap"),
    *("pprint", "string", "sum", "urlize", "xmlattr"),
)
# They make no list but yield its items, for another filter to collect.
LAZY_FILTERS = ("map", "reject", "rejectattr", "select", "selectattr")
PIECES = 16


class OutOfTime(TooMuch):
    """Beyond its time: somewhere else it may get more."""


class Budget(threading.local):
    """What the rendering of this thread has left."""

    steps = STEPS
    seconds = 0.0
    spent = 0.0
    """The thread's processor time when it began: what others compute is not held against it."""
    until = float("inf")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which nothing takes for ever or fills the memory."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, finalize=measured)
        self.budget = Budget()
        # It writes as many words as it is asked for.
        self.globals.pop("lipsum", None)
        self.filters["bounded_"] = measured
        self.filters["joined_"] = self.joined
        for name in GROWING_FILTERS:
            self.filters[name] = measuring(self.filters[name])
        for name in LAZY_FILTERS:
            self.filters[name] = self._counting(self.filters[name])

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Renderings in this block, and this thread, end with OutOfTime after `seconds`."""
        budget = self.budget
        budget.steps, budget.seconds, budget.spent = STEPS, seconds, time.thread_time()
        budget.until = time.monotonic() + seconds
        try:
            yield
        finally:
            budget.until = float("inf")

    @property
    def tick(self) -> None:
        """Compiled into every loop, macro and assignment: a step is taken."""
        budget = self.budget
        budget.steps -= 1
        if budget.steps < 0:
            raise TooMuch(f"it takes more than {STEPS} steps")
        if time.monotonic() > budget.until:
            left = budget.seconds - (time.thread_time() - budget.spent)
            if left <= 0:
                raise OutOfTime(f"it computes for more than {budget.seconds:g} s")
            budget.until = time.monotonic() + left

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        if any(operands(add) > LONGEST_SUM for add in source.find_all(nodes.Add)):
            raise TooMuch(f"it has a sum of more than {LONGEST_SUM} operands")
        return super()._generate(_Counting().visit(source), *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            check_growth("format", left, (right,))
        elif operator != "%" and size_of(left, operator, right) > MOST_COMPUTED:
            raise TooMuch(f"{operator} of these two is too large")
        return super().call_binop(context, operator, left, right)

    def call(
        __self,
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # Those that format are wrapped by the sandbox.
        method = getattr(__obj, "__wrapped__", __obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes) and __obj.__name__ in GROWING:
            if __obj.__name__ == "join" and args and not isinstance(args[0], Sized):
                args = (list(args[0]), *args[1:])
            check_growth(__obj.__name__, owner, (*args, *kwargs.values()))
        return measured(super().call(__context, __obj, *args, **kwargs))

    def concat(self, pieces: Iterable[Any]) -> str:
        """Joins what a template, a macro or a block has written."""
        kept: list[str] = []
        size, rest = 0, iter(pieces)
        while some := list(islice(rest, PIECES)):
            size += sum(map(len, some))
            if size > LARGEST:
                raise TooMuch(f"it writes more than {LARGEST} characters")
            kept += some
        return "".join(kept)

    def joined(self, pieces: Iterable[Any]) -> str:
        """What ~ makes of its operands."""
        return self.concat([str(measured(piece)) for piece in pieces])

    def _counting(self, filter: Callable[..., Any]) -> Callable[..., Any]:
        """A lazy filter of jinja2, each of whose items is a step, and which yields no more than
        would fit into a list."""

        @wraps(filter)
        def counting(*args: Any, **kwargs: Any) -> Iterator[Any]:
            weight = 0
            for item in filter(*args, **kwargs):
                _ = self.tick
                weight += PART + (len(item) if isinstance(item, str) else 0)
                if weight > LARGEST:
                    raise TooMuch(f"{filter.__name__} yields more than {LARGEST} characters")
                yield item

        return counting


class _Counting(NodeTransformer):
    """Puts a tick into whatever is repeated or assigned, and a measure around what may grow."""

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
