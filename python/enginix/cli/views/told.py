"""What a command tells while it prepares and serves: a subject, and something about it."""

from __future__ import annotations

from enginix.cli.views.console import Console

console = Console(highlight=False, soft_wrap=True)


def tell(subject: str, text: str) -> None:
    console.print(f"[bold]{subject:<8}[/] ", end="")
    console.print(text, markup=False)
