"""What another server's refusals become."""

from __future__ import annotations

from enginix.backends.openai.server import refusal
from enginix.errors import GenerationFailed


def test_a_models_malformed_output_is_not_blamed_on_the_request() -> None:
    message = b"The model produced output that does not match the expected peg-native format"
    body = b'{"error": {"code": 500, "type": "server_error", "message": "%b"}}' % message
    error = refusal("llama-server", 500, body)
    assert isinstance(error, GenerationFailed)
    assert "could not parse what its model generated" in str(error)
    assert "send it again" in str(error)
