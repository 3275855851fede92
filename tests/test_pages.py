"""The pages for people lead to what exists, and their commands are understood."""

from __future__ import annotations

import argparse
import re
import shlex
import string
from contextlib import suppress
from pathlib import Path

import pytest

from enginix.cli.main import COMMANDS, build_parser
from enginix.errors import EnginixError

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tools/*/README.md")]
COMMAND = re.compile(
    r"^ {4}(?:\$ |\S+=\S+ |\S+ \| )?(?:\S*/)?(enginix [^#|>\[]+?)(?: +#.*)?$", re.M
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have in links, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    dropped = str.maketrans("", "", string.punctuation.replace("-", "").replace("_", ""))
    return {each.lower().translate(dropped).replace(" ", "-") for each in headings}


def understood(command: str) -> bool:
    """Whether the command line is one; what its words name need not exist."""
    words = shlex.split(command)[1:]
    joined = " ".join(words[:2])
    words = [joined, *words[2:]] if joined in COMMANDS else words
    try:
        with suppress(EnginixError, argparse.ArgumentTypeError):
            build_parser(words[:1]).parse_args(words)
    except SystemExit as error:
        return not error.code
    return True


@each_page
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@each_page
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`(tests/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@each_page
def test_every_command_line_is_understood(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    assert [found for found in COMMAND.findall(text) if not understood(found)] == []


def test_the_pages_have_links_and_commands() -> None:
    texts = [page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES]
    assert sum(len(COMMAND.findall(text)) for text in texts) > 100
