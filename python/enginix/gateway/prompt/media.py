"""Decides which media URLs may be passed to a server that fetches them.

That server is inside the network: a URL from a client may address another machine, the cloud's
metadata service, or a file. Only the server that follows a redirect knows where it leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from enginix.errors import RequestError

# Keys of a part that hold its URL, in the dialects and in vLLM's and llama-server's extensions.
URL_KEYS = ("image_url", "video_url", "audio_url", "file_url")
PART_KEYS = frozenset((*URL_KEYS, "source"))
INLINE = "data:"
FETCHED = ("http:", "https:")
# Keys that hold parts, or parts of parts.
HOLDERS = ("content", "output", "messages", "input")


def check_media(request: Mapping[str, Any], *, fetched: bool) -> None:
    """Refuse a request of any dialect that would make its server fetch something.

    `fetched`: http and https URLs are allowed.
    """
    for param, url in urls(request):
        scheme = url.strip().lower()
        if scheme.startswith(INLINE) or (fetched and scheme.startswith(FETCHED)):
            continue
        if scheme.startswith(FETCHED):
            expected = "this server fetches no URLs (--allow-image-urls changes that)"
        else:
            expected = "such a URL is never fetched"
        raise RequestError(
            f"{param} is {url[:60]!r}; {expected}: send it inline, as data:MEDIA-TYPE;base64,...",
            param=param,
            code="unsupported_content",
        )


def urls(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every URL with its path in the request. Bodies that are too deep have been refused before."""
    todo: list[tuple[str, Any]] = [(key, request.get(key)) for key in HOLDERS]
    while todo:
        where, value = todo.pop()
        if isinstance(value, list):
            todo += [(f"{where}[{place}]", part) for place, part in enumerate(value)]
        elif isinstance(value, dict):
            todo += [(f"{where}.{key}", value[key]) for key in HOLDERS if key in value]
            if not PART_KEYS.isdisjoint(value):
                yield from _of_part(where, value)


def _of_part(where: str, part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in URL_KEYS:
        found = part.get(key)
        if isinstance(found, dict):
            yield f"{where}.{key}.url", _text(found.get("url"))
        elif found is not None:
            yield f"{where}.{key}", _text(found)
    source = part.get("source")
    if isinstance(source, dict) and (source.get("type") == "url" or "url" in source):
        yield f"{where}.source.url", _text(source.get("url"))


def _text(url: Any) -> str:
    # Anything but a string is no URL that could pass.
    return url if isinstance(url, str) else repr(url)
