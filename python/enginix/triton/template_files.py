"""Where Triton's own files are: the model repository's templates and the Python models in it."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).parent / "templates"
_IN_CHECKOUT = Path(__file__).parents[3] / "triton-repo"

TEMPLATES = _INSTALLED if _INSTALLED.is_dir() else _IN_CHECKOUT
"""One folder for each engine kind that Triton serves."""
