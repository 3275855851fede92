"""The result of one check: green, yellow or red, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` says what to do; empty if nothing is needed."""

    level: Level
    subject: str
    found: str
    fix: str = ""


def green(subject: str, found: str) -> Finding:
    return Finding(Level.GREEN, subject, found)


def yellow(subject: str, found: str, fix: str = "") -> Finding:
    return Finding(Level.YELLOW, subject, found, fix)


def red(subject: str, found: str, fix: str) -> Finding:
    return Finding(Level.RED, subject, found, fix)
