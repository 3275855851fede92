"""The tables of docs/dialects.md name every type that the clients' packages declare."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from gateway.type_tables import are_installed, rows, type_names

pytest.importorskip("anthropic", reason="not packaged everywhere")
pytest.importorskip("openai", reason="not packaged everywhere")

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
# Section -> the unions whose variants it names, each with its module.
UNIONS = {
    f"{CHAT}: parts of a message": ["openai.types.chat:ChatCompletionContentPartParam"],
    f"{CHAT}: tools": ["openai.types.chat:ChatCompletionToolUnionParam"],
    f"{RESPONSES}: items": [
        "openai.types.responses.response_input_item_param:ResponseInputItemParam"
    ],
    f"{RESPONSES}: parts of a message or of an output": [
        "openai.types.responses.response_input_content_param:ResponseInputContentParam"
    ],
    f"{RESPONSES}: tools": ["openai.types.responses.tool_param:ToolParam"],
    f"{MESSAGES}: blocks": [
        "anthropic.types:ContentBlockParam",
        "anthropic.types.tool_result_block_param:Content",
        "anthropic.types.beta:BetaContentBlockParam",
        "anthropic.types.beta.beta_tool_result_block_param:Content",
        "anthropic.types.beta.beta_system_message_param:ContentBlock",
    ],
    f"{MESSAGES}: tools": [
        "anthropic.types:ToolUnionParam",
        "anthropic.types.beta:BetaToolUnionParam",
    ],
}


def declared(place: str) -> set[str]:
    module, name = place.split(":")
    union: Any = getattr(import_module(module), name)
    return type_names(union)


@pytest.mark.parametrize("section", UNIONS)
def test_the_tables_have_every_type_of_the_clients_packages(section: str) -> None:
    named = {row.type for row in rows() if row.section == section}
    try:
        known = {name for place in UNIONS[section] for name in declared(place)}
    except (ImportError, AttributeError) as error:
        if are_installed():
            raise
        pytest.skip(f"other releases of the clients' packages than the tables are of: {error}")
    unknown = known - named
    if unknown and not are_installed():
        # Whoever installed a newer release has done nothing wrong.
        pytest.skip(
            f"new types, which docs/dialects.md does not name: {', '.join(sorted(unknown))}"
        )
    assert known
    assert not unknown
