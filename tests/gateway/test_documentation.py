"""docs/gateway.md lists every route and metric."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import served, server

from enginix.gateway.app import create_app

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


@pytest.mark.parametrize("path", create_app(list).openapi()["paths"])
def test_the_page_names_every_path(path: str) -> None:
    assert f"{path}`" in PAGE.read_text(encoding="utf-8")


async def test_the_page_names_every_metric() -> None:
    async with server(served(FakeBackend([]))) as client:
        text = (await client.get("/metrics")).text
    found = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP enginix_")]
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in found if name.removesuffix("_created") == name and name not in page]
    assert len(found) > 5
    assert not missing
