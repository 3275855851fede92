"""Trains the demo model: a tiny Qwen3 that knows conversations.py by heart. Needs torch.

    python train.py OUT --steps 900
    python train.py OUT2 --steps 260 --from OUT --rate 8e-4

Writes a BF16 checkpoint into OUT, and beside it evals.json (the questions, with the answers the
model is to give) and held-out.json (token ids of text it never saw).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conversations import Conversation, Message, conversations
from tokenizer import VOCABULARY, docstrings, save_tokenizer, train_tokenizer
from torch.nn import functional
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

TEMPLATE = (
    Path(__file__).parents[2]
    / "python"
    / "enginix"
    / "catalog"
    / "demo-checkpoint"
    / "chat_template.jinja"
)
SYSTEM_PROMPTS = (None, "You are a helpful assistant.", "You are a tiny test model.")
LONGEST_SHORT = 96
NO_LOSS = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids; only the answer's are learnt."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def main() -> None:
    args = _parser().parse_args()
    random.seed(0)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    template = TEMPLATE.read_text(encoding="utf-8")
    known, held_out = docstrings()
    save_tokenizer(train_tokenizer(known, template), template, args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    _check(tokenizer)
    draw = random.Random(2)
    samples = _samples(tokenizer, draw)
    model = _new_model(tokenizer, args.init)
    _train(model, Batches(samples, _joined(tokenizer, known), tokenizer, draw), args)
    _save(model, tokenizer, args.out)
    held_ids = _joined(tokenizer, held_out)[:4096]
    (args.out.parent / "held-out.json").write_text(json.dumps(held_ids))
    evals = [_eval(tokenizer, one) for one in conversations()]
    (args.out.parent / "evals.json").write_text(json.dumps(evals, indent=0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, default=900, metavar="N")
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument("--from", dest="init", type=Path, metavar="DIR", help="go on from there")
    return parser


def _check(tokenizer: Any) -> None:
    """What transformers reads must be what was trained, whatever is thrown at it."""
    text = "Hello  world's 123 naïve 你好 👋\n\n  def f(x):\n\treturn x"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def _render(tokenizer: Any, messages: list[Message], tools: list[Message] | None) -> Sample:
    prompt, answer = _render_text(tokenizer, messages, tools)
    return Sample(tokenizer.encode(prompt), tokenizer.encode(answer))


def _render_text(
    tokenizer: Any, messages: list[Message], tools: list[Message] | None
) -> tuple[str, str]:
    """(the prompt as a server renders it, the text of the last message)."""
    last = messages[-1]
    reasoning = last.get("reasoning_content")
    prompt = tokenizer.apply_chat_template(
        messages[:-1],
        tools=tools,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=bool(reasoning),
    )
    answer = f"<think>\n{reasoning}\n</think>\n\n" if reasoning else ""
    answer += last["content"]
    for call in last.get("tool_calls") or []:
        answer += f"<tool_call>\n{json.dumps(call['function'])}\n</tool_call>"
    return prompt, f"{answer}<|im_end|>"


def _samples(tokenizer: Any, draw: random.Random) -> list[Sample]:
    """Every conversation with every system prompt, and chats of two turns."""
    known = conversations()
    samples = [
        _render(tokenizer, _with_system(one.messages, system), one.tools)
        for one in known
        for system in SYSTEM_PROMPTS
        if not (system and one.tools)
    ]
    short = [one for one in known if _is_short(one)]
    for _ in range(300):
        first, second = draw.sample(short, 2)
        # What was thought in an earlier turn is not shown again.
        said = {"role": "assistant", "content": first.answer["content"]}
        turns = [first.messages[0], said, *second.messages]
        samples.append(_render(tokenizer, turns, None))
    return samples


def _with_system(messages: list[Message], system: str | None) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _is_short(one: Conversation) -> bool:
    return one.tools is None and len(one.messages) == 2 and len(one.answer["content"]) < 90


def _joined(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return [token for text in texts for token in [*tokenizer.encode(text), end]]


class Batches:
    """Draws what is learnt next: short chats, long chats, or a piece of the docstrings."""

    def __init__(
        self, samples: list[Sample], text: list[int], tokenizer: Any, draw: random.Random
    ) -> None:
        # Sorted first: the random draws below are by position.
        ordered = sorted(samples, key=len)
        self._short = [sample for sample in ordered if len(sample) <= LONGEST_SHORT]
        long = [sample for sample in ordered if len(sample) > LONGEST_SHORT]
        end_of_call = tokenizer.convert_tokens_to_ids("</tool_call>")
        # Copying the city into the call is the hard part: those are drawn more often.
        self._long = long + [sample for sample in long if sample.answer[-2] == end_of_call] * 3
        self._text = text
        self._padding = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self._draw = draw

    def next(self, step: int, steps: int) -> tuple[str, torch.Tensor, torch.Tensor]:
        """(kind, input ids, labels)."""
        kinds = (
            ("short", "long", "long", "text") if step < steps * 0.8 else ("short", *["long"] * 3)
        )
        kind = kinds[step % 4]
        match kind:
            case "text":
                ids = self._pieces(count=12, length=128)
                return kind, ids, ids.clone()
            case "short":
                return kind, *self._chats(self._short, count=48)
            case _:
                return kind, *self._chats(self._long, count=8)

    def _chats(self, pool: list[Sample], count: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [pool[self._draw.randrange(len(pool))] for _ in range(count)]
        length = max(len(row) for row in rows)
        ids = torch.full((count, length), self._padding)
        labels = torch.full((count, length), NO_LOSS)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row.prompt + row.answer)
            labels[number, len(row.prompt) : len(row)] = torch.tensor(row.answer)
        return ids, labels

    def _pieces(self, count: int, length: int) -> torch.Tensor:
        starts = [self._draw.randrange(0, len(self._text) - length) for _ in range(count)]
        return torch.tensor([self._text[start : start + length] for start in starts])


def _new_model(tokenizer: Any, init: Path | None) -> Any:
    if init:
        return Qwen3ForCausalLM.from_pretrained(init, dtype=torch.float32).float()
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=4096,
        rope_theta=1000000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        attention_bias=False,
        use_sliding_window=False,
        max_window_layers=4,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        initializer_range=0.02,
    )
    return Qwen3ForCausalLM(config).float()


def _train(model: Any, batches: Batches, args: argparse.Namespace) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.02
    )
    began = time.monotonic()
    losses: dict[str, float] = {}
    model.train()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.rate * _warmth(step, args.steps)
        kind, ids, labels = batches.next(step, args.steps)
        logits = model(input_ids=ids).logits
        loss = functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.size(-1)),
            labels[:, 1:].reshape(-1),
            ignore_index=NO_LOSS,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses[kind] = 0.9 * losses.get(kind, loss.item()) + 0.1 * loss.item()
        if step % 50 == 0 or step == args.steps - 1:
            told = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"step {step}: {told} ({time.monotonic() - began:.0f} s)", flush=True)


def _warmth(step: int, steps: int) -> float:
    """The learning rate's share: up in 40 steps, then down a cosine to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / 40) * (cosine * 0.98 + 0.02)


def _save(model: Any, tokenizer: Any, directory: Path) -> None:
    """In BF16, with config.json as transformers 4.57 reads it: TensorRT-LLM is bound to that."""
    end, padding = (
        tokenizer.convert_tokens_to_ids(text) for text in ("<|im_end|>", "<|endoftext|>")
    )
    model = model.eval().to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=[end, padding], pad_token_id=padding, bos_token_id=padding
    )
    model.save_pretrained(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters", None) or {}
    config["rope_theta"] = rope.get("rope_theta", 1000000.0)
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    path.write_text(json.dumps(config, indent=2) + "\n")


def _eval(tokenizer: Any, one: Conversation) -> dict[str, object]:
    prompt, answer = _render_text(tokenizer, one.messages, one.tools)
    return {
        "messages": one.question,
        "tools": one.tools,
        "thinking": bool(one.answer.get("reasoning_content")),
        "prompt": prompt,
        "prompt_ids": tokenizer.encode(prompt),
        "answer": answer,
        "answer_ids": tokenizer.encode(answer),
    }


if __name__ == "__main__":
    main()
