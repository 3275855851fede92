"""Any request to any route gets an answer, and never an internal error."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served

from enginix.gateway.app import create_app

schemathesis = pytest.importorskip("schemathesis", reason="not packaged everywhere")

APP = create_app(lambda: [served(FakeBackend(ids("<think>\nHm.\n</think>\n\nHello 你好")))])
# Every route, those that load and unload too: without a supervisor they say so.
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
def test_no_request_is_answered_with_a_500(case: Any) -> None:
    case.call_and_validate(checks=[schemathesis.checks.not_a_server_error])
