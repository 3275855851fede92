"""Every route is in one table with what it needs, and that is what it asks for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server
from gateway.test_named_keys import Place, place_with
from starlette.routing import Route

from enginix.gateway.app import ROUTERS, STREAMING, create_app
from enginix.gateway.http.access import ROUTES, Need, need_of
from enginix.gateway.http.openapi import documented
from enginix.gateway.settings import Settings

DOCS = Path(__file__).parents[3] / "docs" / "keys.md"


def routes() -> list[tuple[str, str]]:
    """In the router's order; newer releases of FastAPI keep the routers that an app includes."""
    every = [
        *(route for module in ROUTERS for route in module.router.routes),
        *(route for route in create_app(list).routes if not hasattr(route, "original_router")),
    ]
    found: dict[tuple[str, str], None] = {}
    for route in every:
        assert isinstance(route, Route), "a mount needs a place in the table, too"
        methods = (route.methods or set()) - {"HEAD"}
        found |= dict.fromkeys((method, route.path) for method in methods)
    return list(found)


def test_the_table_has_exactly_the_routes_of_the_application() -> None:
    assert sorted(routes()) == sorted(ROUTES)
    assert all(("POST", path) in ROUTES for path in STREAMING)


def test_the_table_has_the_routers_order() -> None:
    """Where two fit, both take the first."""
    order = [route for route in routes() if "{" in route[1]]
    assert [route for route in ROUTES if "{" in route[1]] == order


def test_the_page_has_the_table() -> None:
    rows = re.findall(r"^\| `(\w+) (/\S*)` \| (\w+) \|$", DOCS.read_text(encoding="utf-8"), re.M)
    table = [(method, documented(path), need.value) for (method, path), need in ROUTES.items()]
    assert rows == table


@pytest.mark.parametrize("keys", [frozenset(), frozenset({"sk-one"})])
def test_the_documentation_says_what_a_route_needs(keys: frozenset[str]) -> None:
    document = create_app(list, Settings(api_keys=keys)).openapi()
    found = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert len(found) > 20
    needs = {(method, documented(path)): need for (method, path), need in ROUTES.items()}
    for route, operation in found.items():
        assert operation["x-needs"] == needs[route]
        assert ("security" in operation) == (bool(keys) and needs[route] != Need.OPEN), route
    assert ("securitySchemes" in document["components"]) == bool(keys)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_with(tmp_path, user="", root="admin = true", plain="sk-plain") as made:
        yield made


async def test_every_route_asks_for_what_the_table_says(place: Place) -> None:
    allowed = {
        Need.OPEN: {"", "user", "root", "plain"},
        Need.KEY: {"user", "root", "plain"},
        Need.ADMIN: {"root", "plain"},
    }
    for (method, path), need in ROUTES.items():
        concrete = re.sub(r"\{.*?\}", "x", path)
        for spelling in (concrete, f"{concrete}/") if concrete != "/" else ("/",):
            status = {}
            for name in ("", "user", "root", "plain"):
                answer = await place.client.request(
                    method,
                    spelling,
                    json={} if method == "POST" else None,
                    headers=place.as_(name) if name else {},
                )
                status[name] = answer.status_code
            let_in = {name for name, found in status.items() if found not in (401, 403)}
            assert let_in == allowed[need], (method, spelling, status)
            refused = {name: found for name, found in status.items() if name not in let_in}
            assert refused == {
                name: 403 if need == Need.ADMIN and name else 401 for name in refused
            }


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/v1/nothing", Need.KEY),
        ("PUT", "/v1/models/load", Need.KEY),
        ("POST", "/v1/chat/completions/more", Need.KEY),
        ("GET", "/v1/models/a/b/log", Need.ADMIN),
        ("GET", "/v1/models/log", Need.KEY),
        ("POST", "/v1/requests/a/b/cancel", Need.ADMIN),
        ("POST", "/v1//models/load", Need.KEY),
        ("GET", "/favicon.ico", Need.OPEN),
        ("GET", "/v1", Need.OPEN),
    ],
)
def test_what_is_not_in_the_table_still_needs_a_key_below_v1(
    method: str, path: str, need: Need
) -> None:
    assert need_of(method, path) == need


async def test_a_path_in_another_spelling_opens_nothing() -> None:
    settings = Settings(api_keys=frozenset({"sk-one"}))
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend), settings=settings) as client:
        for path in ("/v1//models", "/V1/models", "//v1/models", "/v1/%6dodels", "/%761/models"):
            answer = await client.get(path)
            assert answer.status_code in (401, 404), path
            assert "demo" not in answer.text
