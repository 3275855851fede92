"""A client cannot make another server fetch a URL, unless the operator allows it."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.chat_server import chat_server, completion, texts
from gateway.harness import server

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import RequestError
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.prompt.media import check_media
from enginix.gateway.settings import RequestLimits, Settings

INLINE = "data:image/png;base64,iVBORw0KGgo="
FETCHED = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:8000/v2/repository/index",
    "https://10.0.0.7/a.png",
    "HTTP://[fe80::1]/",
    " https://example.com/redirects-to-metadata.png",
)
NEVER = (
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "ftp://example.com/a.png",
    "gopher://x",
    "//169.254.169.254/",
    "/etc/passwd",
    "",
    "\thttp//x",
)


def chat(url: Any, kind: str = "image_url") -> dict[str, Any]:
    part = {"type": kind, kind: {"url": url}}
    return {"model": "ours", "messages": [{"role": "user", "content": [part]}]}


def everywhere(url: str) -> list[tuple[str, dict[str, Any]]]:
    """A path and a body of every dialect, with the URL in its field."""
    picture = {"type": "input_image", "image_url": url}
    source = {"type": "image", "source": {"type": "url", "url": url}}
    shown = [{"role": "user", "content": [picture]}]
    result = {"type": "tool_result", "tool_use_id": "t", "content": [source]}
    return [
        ("/v1/chat/completions", chat(url)),
        ("/v1/chat/completions", chat(url, "video_url")),
        ("/v1/chat/completions", chat(url, "audio_url")),
        ("/v1/responses", {"model": "ours", "input": shown}),
        ("/v1/responses", {"model": "ours", "input": [{"content": [{"file_url": url}]}]}),
        ("/v1/responses", {"model": "ours", "input": [{"output": [picture]}]}),
        (
            "/v1/messages",
            {
                "model": "ours",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": [source]}],
            },
        ),
        (
            "/v1/messages/count_tokens",
            {"model": "ours", "messages": [{"role": "user", "content": [result]}]},
        ),
    ]


@pytest.mark.parametrize("url", [*FETCHED, *NEVER])
def test_a_url_is_refused_wherever_a_dialect_has_one(url: str) -> None:
    for _, body in everywhere(url):
        with pytest.raises(RequestError, match="send it inline"):
            check_media(body, fetched=False)


@pytest.mark.parametrize("url", NEVER)
def test_files_and_unknown_schemes_are_refused_though_addresses_are_allowed(url: str) -> None:
    for _, body in everywhere(url):
        with pytest.raises(RequestError, match="never fetched"):
            check_media(body, fetched=True)


@pytest.mark.parametrize("url", [INLINE, *FETCHED])
def test_inline_images_pass_and_addresses_where_they_are_allowed(url: str) -> None:
    for _, body in everywhere(url):
        check_media(body, fetched=True)


def test_text_is_not_a_url() -> None:
    words = {"content": "http://a file:///b", "name": "file:///x"}
    check_media({"messages": [words], "input": "file:///x", "prompt": "http://x"}, fetched=False)
    check_media({"messages": [{"tool_calls": [{"image_url": "http://x"}]}]}, fetched=False)


@pytest.mark.parametrize("odd", [3, [], {}, [[]], {"url": None}, {"url": ["file:///x"]}])
def test_a_url_that_is_not_a_string_is_refused(odd: Any) -> None:
    for body in (chat(odd), {"messages": [{"content": [{"image_url": odd}]}]}):
        with pytest.raises(RequestError, match="never fetched"):
            check_media(body, fetched=True)
    check_media({"input": odd, "messages": odd}, fetched=False)


@pytest.mark.parametrize(
    "formats", [{}, {"reasoning": "think-tags"}], ids=["passed on", "written here"]
)
async def test_a_refused_url_never_reaches_a_server(formats: dict[str, Any]) -> None:
    async with chat_server(completion(*texts("Hello"))) as (stand_in, url):
        model = PassthroughModel("ours", OpenAIBackend("theirs", url, "theirs"), "vllm", **formats)
        async with server(model) as client:
            for path, body in everywhere(FETCHED[0]):
                refused = await client.post(path, json=body)
                assert refused.status_code == 400, path
                assert "--allow-image-urls" in refused.text
        assert not stand_in.asked_at("/v1/chat/completions")
        allowed = Settings(request=RequestLimits(image_urls=True))
        async with server(model, settings=allowed) as client:
            await client.post("/v1/chat/completions", json=chat(FETCHED[0]))
            await client.post("/v1/chat/completions", json=chat(NEVER[0]))
        (asked,) = stand_in.asked_at("/v1/chat/completions")
    assert asked["messages"] == chat(FETCHED[0])["messages"]
