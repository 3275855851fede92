"""A report as blocks, and the blocks as markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from enginix.bench.report.tables import Table


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    """Of the file beside the markdown."""
    alternative: str
    png: bytes


Block = Heading | Text | Bullets | Table | Picture

# The page loads nothing: it can be sent as one file and be read without a network.
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; text-align: right; border-bottom: 1px solid #8884; }
td { white-space: nowrap; }
th { vertical-align: bottom; }
td:nth-child(2), th:nth-child(2) { text-align: left; }
img { max-width: 100%; height: auto; background: white; }
.warning { border-left: 4px solid #d80; padding: 0.5rem 1rem; background: #d801; }
"""


def to_markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Text(text, warning):
            return f"**{_plain(text)}**" if warning else _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Picture(name, alternative):
            return f"![{_plain(alternative)}]({name})"
        case Table(titles, rows):
            lines = [titles, ["---:" for _ in titles], *rows]
            return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Names of models and messages of servers are text, whatever they contain."""
    return re.sub(r"([\\`*_<\[\]])", r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")


def to_html(blocks: Sequence[Block]) -> str:
    [title, *_] = [block.text for block in blocks if isinstance(block, Heading)]
    body = "\n".join(map(_html, blocks))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<body>
{body}
</body>
</html>
"""


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Text(text, warning):
            kind = ' class="warning"' if warning else ""
            return f"<p{kind}>{html.escape(text)}</p>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>"
        case Picture(_, alternative, png):
            data = base64.b64encode(png).decode()
            alt = html.escape(alternative)
            return f'<p><img alt="{alt}" src="data:image/png;base64,{data}"></p>'
        case Table(titles, rows):
            lines = [_row("th", titles), *(_row("td", row) for row in rows)]
            return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[str]) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"
