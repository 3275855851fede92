"""Which addresses of images, films and sounds are passed on to a server that fetches them.

That server stands inside: an address that a stranger names may be another machine's, the cloud's
metadata service, or a file. What a redirect leads to is only known to whoever follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from enginix.errors import RequestError

# Where the dialects, and vLLM and llama-server beyond them, have the address of a part.
ADDRESSES = ("image_url", "video_url", "audio_url", "file_url")
INLINE = "data:"
FETCHED = ("http:", "https:")
# Where parts, and parts of parts, lie.
HOLDERS = ("content", "output", "messages", "input")


def check_media(asked: Mapping[str, Any], *, fetched: bool) -> None:
    """Refuse a request of any dialect for what it would make its server read.

    `fetched`: http and https addresses are passed on.
    """
    for param, url in addresses(asked):
        scheme = url.strip().lower()
        if scheme.startswith(INLINE) or (fetched and scheme.startswith(FETCHED)):
            continue
        if scheme.startswith(FETCHED):
            expected = "this server fetches nothing (--allow-image-urls changes that)"
        else:
            expected = "such an address is never read"
        raise RequestError(
            f"{param} is {url[:60]!r}; {expected}: send it inline, as data:MEDIA-TYPE;base64,...",
            param=param,
            code="unsupported_content",
        )


def addresses(asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every address with its place. Bodies that are too deep have been refused before."""
    todo: list[tuple[str, Any]] = [(key, asked.get(key)) for key in HOLDERS]
    while todo:
        where, value = todo.pop()
        if isinstance(value, list):
            todo += [(f"{where}[{place}]", part) for place, part in enumerate(value)]
        elif isinstance(value, Mapping):
            todo += [(f"{where}.{key}", value[key]) for key in HOLDERS if key in value]
            yield from _of_part(where, value)


def _of_part(where: str, part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ADDRESSES:
        found = part.get(key)
        if isinstance(found, Mapping):
            yield f"{where}.{key}.url", _text(found.get("url"))
        elif found is not None:
            yield f"{where}.{key}", _text(found)
    source = part.get("source")
    if isinstance(source, Mapping) and (source.get("type") == "url" or "url" in source):
        yield f"{where}.source.url", _text(source.get("url"))


def _text(url: Any) -> str:
    # What is no text is no address that could be let through.
    return url if isinstance(url, str) else repr(url)
