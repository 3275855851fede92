"""Trains a demo model: it then knows its conversations by heart. Needs torch.

    python train.py demo OUT --steps 900
    python train.py demo OUT2 --steps 260 --from OUT --rate 8e-4

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
from pathlib import Path
from typing import Any

import torch
from conversations import Conversation, Message, conversations
from recipes import RECIPES, Recipe
from speech import Sample, Speech
from tokenizer import docstrings, save_tokenizer, train_tokenizer
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

SYSTEM_PROMPTS = (None, "You are a helpful assistant.", "You are a tiny test model.")
LONGEST_SHORT = 96
NO_LOSS = -100


def main() -> None:
    args = _parser().parse_args()
    recipe = RECIPES[args.model]
    random.seed(0)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    known = conversations(recipe.knowledge)
    texts, held_out = docstrings()
    trained = train_tokenizer(recipe.family, texts, known, recipe.template)
    save_tokenizer(trained, recipe.family, recipe.template, args.out)
    speech = Speech(AutoTokenizer.from_pretrained(args.out), recipe.family)
    draw = random.Random(2)
    samples = _samples(speech, known, draw)
    model = _new_model(speech, recipe, args.init)
    _train(model, Batches(samples, speech.joined(texts), speech, draw), args)
    _save(model, speech, args.out)
    (args.out.parent / "held-out.json").write_text(json.dumps(speech.joined(held_out)[:4096]))
    evals = [speech.eval(one) for one in known]
    (args.out.parent / "evals.json").write_text(json.dumps(evals, indent=0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=RECIPES, metavar="MODEL", help=" or ".join(RECIPES))
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, default=900, metavar="N")
    parser.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
    parser.add_argument("--from", dest="init", type=Path, metavar="DIR", help="go on from there")
    return parser


def _samples(speech: Speech, known: Sequence[Conversation], draw: random.Random) -> list[Sample]:
    """Every conversation with every system prompt, and chats of two turns."""
    samples = [
        speech.render(_with_system(one.messages, system), one.tools)
        for one in known
        for system in SYSTEM_PROMPTS
        if not (system and one.tools)
    ]
    short = [one for one in known if _is_short(one)]
    for _ in range(300):
        first, second = draw.sample(short, 2)
        # What was thought in an earlier turn is not shown again.
        said = {"role": "assistant", "content": first.answer["content"]}
        samples.append(speech.render([first.messages[0], said, *second.messages], None))
    return samples


def _with_system(messages: list[Message], system: str | None) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _is_short(one: Conversation) -> bool:
    return one.tools is None and len(one.messages) == 2 and len(one.answer["content"]) < 90


class Batches:
    """Draws what is learnt next: short chats, long chats, or a piece of the docstrings."""

    def __init__(
        self, samples: list[Sample], text: list[int], speech: Speech, draw: random.Random
    ) -> None:
        # Sorted first: the random draws below are by position.
        ordered = sorted(samples, key=len)
        self._short = [sample for sample in ordered if len(sample) <= LONGEST_SHORT]
        long = [sample for sample in ordered if len(sample) > LONGEST_SHORT]
        # Copying the city into the call is the hard part: those are drawn more often.
        self._long = long + [sample for sample in long if speech.is_call(sample)] * 3
        self._text = text
        self._padding = speech.padding
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


def _new_model(speech: Speech, recipe: Recipe, init: Path | None) -> Any:
    if init:
        return AutoModelForCausalLM.from_pretrained(init, dtype=torch.float32).float()
    config = AutoConfig.for_model(
        recipe.model_type,
        **recipe.config,
        vocab_size=recipe.family.vocabulary,
        tie_word_embeddings=False,
        attention_bias=False,
        bos_token_id=speech.begin,
        eos_token_id=speech.ends[0],
        initializer_range=0.02,
    )
    return AutoModelForCausalLM.from_config(config).float()


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


def _save(model: Any, speech: Speech, directory: Path) -> None:
    """In BF16, with config.json as transformers 4.57 reads it: TensorRT-LLM is bound to that."""
    theta = model.config.rope_parameters["rope_theta"]
    model = model.eval().to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=speech.ends,
        pad_token_id=speech.padding,
        bos_token_id=speech.begin,
    )
    model.save_pretrained(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters", None)
    config["rope_theta"] = theta
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
