"""The two families of chat models the demo models belong to: how they split, mark and call.

What is added to a vocabulary, and how, is what distinguishes their tokenizers; both are byte-level
BPE below that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class Family:
    vocabulary: int
    """Rows of the embedding."""
    unused_rows: int
    """Real Qwen checkpoints have rows that no token uses."""
    split: str
    composes: bool
    """Whether text is put into Unicode's composed form (NFC) first."""
    takes_whole_words: bool
    """Whether a word that is a token is taken as it is, without its merges."""
    special: Sequence[str]
    plain: Sequence[str]
    """Added too, one token each, and yet part of the text."""
    begin: str | None
    """What stands before every text."""
    end_of_turn: str
    end_of_text: str
    padding: str
    settings: Mapping[str, Any]
    """What tokenizer_config.json says beside the tokens."""
    call: str
    """A tool call's text, with holes for `name` and `arguments`."""

    @property
    def ends(self) -> list[str]:
        """What ends an answer, the usual one first."""
        return [self.end_of_turn, self.end_of_text]

    def answer(self, message: Mapping[str, Any]) -> str:
        """An assistant's message as the model writes it."""
        reasoning = message.get("reasoning_content")
        text = f"<think>\n{reasoning}\n</think>\n\n" if reasoning else ""
        text += str(message["content"])
        for call in message.get("tool_calls") or []:
            function = call["function"]
            text += self.call % (function["name"], json.dumps(function["arguments"]))
        return text + self.end_of_turn


_QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

QWEN = Family(
    vocabulary=2048,
    unused_rows=10,
    split=_WORDS + r"\p{N}" + _REST,
    composes=True,
    takes_whole_words=False,
    special=_QWEN_SPECIAL,
    plain=(
        "<tool_call>",
        "</tool_call>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
        "<tool_response>",
        "</tool_response>",
        "<think>",
        "</think>",
    ),
    begin=None,
    end_of_turn="<|im_end|>",
    end_of_text="<|endoftext|>",
    padding="<|endoftext|>",
    settings={
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": _QWEN_SPECIAL[1:],
        "errors": "replace",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
    },
    call='<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>',
)

LLAMA = Family(
    vocabulary=1024,
    unused_rows=0,
    split=_WORDS + r"\p{N}{1,3}" + _REST,
    composes=False,
    takes_whole_words=True,
    special=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|reserved_special_token_2|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
        "<|reserved_special_token_3|>",
    ),
    plain=(),
    begin="<|begin_of_text|>",
    end_of_turn="<|eot_id|>",
    end_of_text="<|end_of_text|>",
    padding="<|finetune_right_pad_id|>",
    settings={
        "model_input_names": ["input_ids", "attention_mask"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    call='{"name": "%s", "parameters": %s}',
)
