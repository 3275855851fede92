"""A demo model's conversations as token ids, by the checkpoint's own tokenizer and template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conversations import Conversation, Message
from families import Family


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids; only the answer's are learnt."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


class Speech:
    """`tokenizer` is what transformers made of the checkpoint."""

    def __init__(self, tokenizer: Any, family: Family) -> None:
        self._tokenizer = tokenizer
        self._family = family
        # What every call's text begins with.
        self._called = family.call.partition("%")[0]
        # What transformers reads must be what was trained, whatever is thrown at it.
        text = "Hello  world's 123 naïve 你好 👋\n\n  def f(x):\n\treturn x"
        assert tokenizer.decode(self.encode(text)) == text

    def encode(self, text: str) -> list[int]:
        # The template writes what stands before a text.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def id(self, token: str) -> int:
        return int(self._tokenizer.convert_tokens_to_ids(token))

    @property
    def begin(self) -> int:
        """What config.json names as such; Qwen's is what ends a text."""
        return self.id(self._family.begin or self._family.end_of_text)

    @property
    def ends(self) -> list[int]:
        return [self.id(token) for token in self._family.ends]

    def is_call(self, sample: Sample) -> bool:
        return self._called in self._tokenizer.decode(sample.answer)

    @property
    def padding(self) -> int:
        return self.id(self._family.padding)

    def render(self, messages: list[Message], tools: list[Message] | None) -> Sample:
        prompt, answer = self._texts(messages, tools)
        return Sample(self.encode(prompt), self.encode(answer))

    def joined(self, texts: Sequence[str]) -> list[int]:
        end = self.id(self._family.end_of_text)
        return [token for text in texts for token in [*self.encode(text), end]]

    def eval(self, one: Conversation) -> dict[str, object]:
        prompt, answer = self._texts(one.messages, one.tools)
        return {
            "messages": one.question,
            "tools": one.tools,
            "thinking": bool(one.answer.get("reasoning_content")),
            "prompt": prompt,
            "prompt_ids": self.encode(prompt),
            "answer": answer,
            "answer_ids": self.encode(answer),
        }

    def _texts(self, messages: list[Message], tools: list[Message] | None) -> tuple[str, str]:
        """(the prompt as a server renders it, the text of the last message)."""
        last = messages[-1]
        prompt = self._tokenizer.apply_chat_template(
            messages[:-1],
            tools=tools,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=bool(last.get("reasoning_content")),
        )
        return prompt, self._family.answer(last)
