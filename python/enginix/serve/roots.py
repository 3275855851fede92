"""Checks the paths of models that clients load: they must be in allowed directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginix.errors import RequestError


def allowed_path(requested: str, roots: Sequence[Path], param: str = "model_path") -> Path:
    """The directory or .gguf file, with every link in it followed; RequestError when it is outside
    the roots.

    Links inside a directory must point under the roots, too. The refusal of a path outside does
    not reveal whether it exists. `param`: the field of the request, for errors.
    """
    path = Path(requested) if "\0" not in requested else Path()
    resolved = _resolved(path)
    known = [_resolved(root) for root in roots]
    if not path.is_absolute() or resolved is None or not _is_under(resolved, known):
        raise _refused(param, requested, "it is not under this server's model roots", roots)
    if resolved.suffix == ".gguf" and resolved.is_file():
        return resolved
    if not resolved.is_dir():
        raise RequestError(
            f"{param}: there is no directory {requested}; name an engine's or a checkpoint's, "
            "or a .gguf file",
            param=param,
            code="path_not_found",
        )
    for file in sorted(resolved.iterdir()):
        if not _is_under(_resolved(file), known):
            why = f"its {file.name} leads out of this server's model roots"
            raise _refused(param, requested, why, roots)
    return resolved


def _resolved(path: Path) -> Path | None:
    """None for a loop of links: Python 3.13 leaves it in place, older versions raise."""
    try:
        resolved = path.resolve()
        is_loop = any(part.is_symlink() for part in (resolved, *resolved.parents))
    except (OSError, RuntimeError):
        return None
    return None if is_loop else resolved


def _is_under(path: Path | None, roots: Sequence[Path | None]) -> bool:
    return path is not None and any(root and path.is_relative_to(root) for root in roots)


def _refused(param: str, requested: str, why: str, roots: Sequence[Path]) -> RequestError:
    return RequestError(
        f"{param}: {requested!r} cannot be loaded, {why} ({', '.join(map(str, roots))}); put it "
        "there, or start `enginix up` with --model-root DIR",
        param=param,
        code="path_not_allowed",
    )
