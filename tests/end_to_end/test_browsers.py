"""A web page of another site against the gateway with its default options."""

from __future__ import annotations

from pathlib import Path

import httpx
from end_to_end.gateway_process import running_gateway


def test_a_web_page_cannot_use_the_gateway_by_dns_rebinding(demo_engine: Path) -> None:
    # There is no Triton: no request here gets that far.
    with running_gateway(demo_engine, "127.0.0.1:9", "--allowed-host=ai.lan") as gateway:
        here = httpx.get(f"{gateway.url}/v1/models")
        named = httpx.get(f"{gateway.url}/v1/models", headers={"Host": "ai.lan:80"})
        rebound = httpx.get(f"{gateway.url}/v1/models", headers={"Host": "evil.example"})
        posted = httpx.post(
            f"{gateway.url}/v1/models/unload",
            content=b'{"model": "demo"}',
            headers={"Origin": "http://evil.example", "Content-Type": "text/plain"},
        )
        plain = httpx.post(f"{gateway.url}/v1/models/unload", content=b'{"model": "demo"}')
    assert [here.status_code, named.status_code] == [200, 200]
    assert [rebound.status_code, posted.status_code, plain.status_code] == [403, 403, 415]
