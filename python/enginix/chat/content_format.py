"""Detects whether a chat template reads message contents as strings or as lists of parts.

A template that loops over parts prints nothing for a string. The syntax tree shows which it does:
vLLM decides the same way, but passes parts to every template that has such a loop. Templates that
accept both test the type, and not for every role: where they do not test, a list would be printed
as Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from jinja2 import nodes

CONTENT = "content"
PART_FIELDS = ("type", "text")
# Tests by which a template distinguishes a string from a list.
TEXT_TESTS = ("string", "iterable", "sequence", "mapping")


class ContentFormat(Enum):
    TEXT = "text"
    PARTS = "parts"


def content_format(template: nodes.Template) -> ContentFormat:
    names = _names_of_content(template)
    if not _reads_parts(template, names):
        return ContentFormat.TEXT
    tests_type = any(
        test.name in TEXT_TESTS and _is_content(test.node, names)
        for test in template.find_all(nodes.Test)
    )
    return ContentFormat.TEXT if tests_type else ContentFormat.PARTS


def _names_of_content(template: nodes.Template) -> frozenset[str]:
    """Variables that hold a content: assigned from one, or a macro's parameter."""
    names = {CONTENT}
    # Variables can be assigned from variables; two levels cover all known templates.
    for _ in range(2):
        for target, value in _assignments(template):
            if _is_content(value, frozenset(names)):
                names.add(target)
    return frozenset(names)


def _assignments(template: nodes.Template) -> Iterator[tuple[str, nodes.Node]]:
    for assign in template.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name):
            yield assign.target.name, assign.node
    macros = {macro.name: macro for macro in template.find_all(nodes.Macro)}
    for call in template.find_all(nodes.Call):
        macro = macros.get(call.node.name) if isinstance(call.node, nodes.Name) else None
        if macro:
            yield from zip((each.name for each in macro.args), call.args, strict=False)
            yield from ((each.key, each.value) for each in call.kwargs)


def _reads_parts(template: nodes.Template, names: frozenset[str]) -> bool:
    if any(_is_content(loop.iter, names) for loop in template.find_all(nodes.For)):
        return True
    # Without a loop, as in `message.content[0].text`.
    fields = (*template.find_all(nodes.Getattr), *template.find_all(nodes.Getitem))
    return any(
        _field(node) in PART_FIELDS
        and isinstance(node, nodes.Getattr | nodes.Getitem)
        and _is_item_of_content(node.node, names)
        for node in fields
    )


def _is_content(node: nodes.Node, names: frozenset[str]) -> bool:
    """Also through filters and slices: `message.content[1:] | selectattr(...)`."""
    if isinstance(node, nodes.Filter) and node.node is not None:
        return _is_content(node.node, names)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _is_content(node.node, names)
    if isinstance(node, nodes.Name):
        return node.name in names
    return _field(node) == CONTENT


def _is_item_of_content(node: nodes.Node, names: frozenset[str]) -> bool:
    return (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and type(node.arg.value) is int
        and _is_content(node.node, names)
    )


def _field(node: nodes.Node) -> object:
    """The name in `x.name` and `x['name']`."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value
    return None
