"""Generates token ids with llama.cpp for many requests at once, without knowing text.

One thread owns llama.cpp. It decodes all running requests in one batch, step by step (continuous
batching): requests join and leave between any two steps. A long prompt is read in chunks, so that
it does not hold up the others, and what a sequence still remembers of a prompt is not read again.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from engine_request import CANCELLED, Deliver, Generation, Output, Request, Slot
from llama_cpp import LlamaError
from llama_model import NO_ROOM, LlamaModel
from prompt_scores import SCORED_STEP
from prompt_share import LEAST_PROMPT_SHARE, SMALL_PROMPT_SHARE, PromptShare


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests run, and how many wait for a sequence."""

    active: int
    waiting: int


class TokenEngine:
    """Thread-safe; owns the model, and answers as many requests at a time as it has sequences."""

    def __init__(self, model: LlamaModel) -> None:
        self.model = model
        self._by_number = [Slot(number) for number in range(model.parallel)]
        # In order of last use.
        self._slots = list(self._by_number)
        least = SMALL_PROMPT_SHARE if model.is_small else LEAST_PROMPT_SHARE
        self._prompt_share = PromptShare(model.prompt_tokens, least)
        self._waiting: deque[Generation] = deque()
        # Everything that changes the engine happens on its thread; others post it here.
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._outbox: list[tuple[Deliver, Output]] = []
        self._is_open = True
        self._broken: str | None = None
        self._thread = threading.Thread(target=self._run, name="token-engine", daemon=True)
        self._thread.start()

    def generation(self, request: Request, deliver: Deliver) -> Generation:
        """Raises LlamaError for a request that cannot be answered."""
        if self._broken:
            raise LlamaError(self._broken)
        left = self.model.check_request(request.prompt_ids, request.max_tokens)
        stop_words = [word for word in request.stop_words if word]
        if request.sampling.guide is not None:
            # A completed guide allows only an end token, whichever the request named.
            stop_words += [[token] for token in self.model.ends]
        ends = [word[0] for word in stop_words if len(word) == 1]
        sampler = self.model.sampler(request.sampling, request.prompt_ids, ends)
        return Generation(request, deliver, sampler, stop_words, left)

    def start(self, generation: Generation) -> None:
        self._inbox.put(lambda: self._waiting.append(generation))

    def cancel(self, generation: Generation) -> None:
        """End it before the next step, with an empty final output; a no-op if it has ended."""
        self._inbox.put(lambda: self._cancel(generation))

    def load(self) -> Load:
        return Load(sum(slot.generation is not None for slot in self._slots), len(self._waiting))

    def close(self) -> None:
        """Cancel what is running, and free the model."""
        self._inbox.put(self._close)
        self._thread.join()
        self.model.close()

    def _run(self) -> None:
        try:
            while self._is_open:
                self._read_inbox()
                self._admit()
                self._step()
        except Exception as error:
            traceback.print_exc()
            self._broken = f"the engine has failed and cannot go on: {error!r}"
            # Without an answer requests would wait for ever, on a server that looks healthy.
            while self._is_open:
                for generation in self._drop_all():
                    generation.deliver(Output((), final=True, error=self._broken))
                self._inbox.get()()

    def _read_inbox(self) -> None:
        # Amid answers the outbox is never empty: no need to look any further.
        idle = not (self._outbox or self._waiting or any(slot.generation for slot in self._slots))
        while idle or not self._inbox.empty():
            self._inbox.get()()
            idle = False

    def _admit(self) -> None:
        while self._waiting and (free := [slot for slot in self._slots if not slot.generation]):
            self._deliver()
            generation = self._waiting.popleft()
            prompt = generation.request.prompt_ids
            # Of those that know nothing of it, the one whose own prompt is longest ago.
            slot = max(free, key=lambda slot: slot.shared_with(prompt))
            # The last token is always read again: its logits are where the answer begins. Scores
            # need the logits of all.
            known = 0 if generation.scores else min(slot.shared_with(prompt), len(prompt) - 1)
            known = known if self.model.forget(slot.number, known) else 0
            slot.seen, slot.unread = list(prompt[:known]), list(prompt[known:])
            slot.generation = generation
            scores = generation.scores
            slot.unscored = scores if scores and scores.missing else None
            generation.reused = known

    def _step(self) -> None:
        """Read a batch of unread tokens; sample for each sequence that has read all its tokens."""
        # Answers come before prompts: they need one token each, and clients are reading them.
        reading = [slot for slot in self._by_number if slot.unread]
        parts = [(slot, 1) for slot in reading if len(slot.unread) == 1]
        answers = len(parts)
        if answers < len(reading):
            parts += self._share_out(self._prompt_share.tokens(answers))
            parts.sort(key=lambda part: part[0].number)
        self.model.batch.clear()
        for slot, count in parts:
            whole = count == len(slot.unread)
            self.model.batch.add(
                slot.number,
                len(slot.seen),
                slot.unread[:count],
                sample=whole,
                all_rows=slot.unscored is not None,
            )
        self._deliver()
        if not parts:
            self._prompt_share.pause()
            return
        started = time.perf_counter()
        code = self.model.decode()
        if code == NO_ROOM and self._make_room():
            return
        read = self.model.batch.size - answers
        self._prompt_share.learn(read, answers, time.perf_counter() - started)
        for slot, count in parts:
            if code:
                self._fail(slot, f"llama.cpp could not decode the request (code {code})")
                continue
            if (scores := slot.unscored) is not None:
                scores.read(len(slot.seen), self.model.rows_of(slot.number))
                slot.unscored = scores if scores.missing else None
            slot.seen += slot.unread[:count]
            del slot.unread[:count]
            if not slot.unread:
                self._continue(slot)

    def _make_room(self) -> bool:
        """Make room for the longest sequence; running requests are read again."""
        running = [slot for slot in self._slots if slot.generation]
        if not self.model.grow(max(len(slot.seen) + len(slot.unread) for slot in running)):
            return False
        for slot in running:
            if slot.generation and len(slot.seen) < len(slot.generation.request.prompt_ids):
                slot.generation.reused = 0
            slot.unread[:0] = slot.seen
        for slot in self._slots:
            slot.seen.clear()
        return True

    def _share_out(self, space: int) -> list[tuple[Slot, int]]:
        """The prompts to read, the shortest first, and how many tokens of each."""
        shares = []
        scored_space = SCORED_STEP
        for slot in sorted(self._slots, key=lambda slot: len(slot.unread)):
            scored = slot.unscored is not None
            most = min(space, scored_space) if scored else space
            if len(slot.unread) > 1 and (count := min(len(slot.unread), most)):
                shares.append((slot, count))
                space -= count
                scored_space -= count if scored else 0
        return shares

    def _continue(self, slot: Slot) -> None:
        generation = slot.generation
        assert generation is not None, "a slot with unread tokens has a generation"
        try:
            sampled = self.model.sample(generation.sampler, slot.number)
        except Exception as error:
            # One request's options must not end other requests.
            reason = str(error) if isinstance(error, LlamaError) else repr(error)
            self._end(slot, Output((), final=True, error=reason))
            return
        generation.left -= 1
        tokens = generation.stop_words.feed(sampled)
        if generation.stop_words.matched:
            self._end(slot, Output(tokens, final=True))
        elif not generation.left:
            self._end(slot, Output([*tokens, *generation.stop_words.finish()], final=True))
        else:
            slot.unread.append(sampled.token)
            if tokens:
                self._outbox.append((generation.deliver, Output(tokens)))

    def _end(self, slot: Slot, output: Output) -> None:
        generation = slot.generation
        assert generation is not None, "only a slot in use ends"
        slot.generation = slot.unscored = None
        slot.unread.clear()
        self._slots.remove(slot)
        self._slots.append(slot)
        generation.sampler.close()
        self._outbox.append((generation.deliver, output))

    def _deliver(self) -> None:
        """Called when a step is ready, or a prompt is compared: who sends wants Python's lock."""
        for deliver, output in self._outbox:
            deliver(output)
        self._outbox.clear()

    def _fail(self, slot: Slot, error: str) -> None:
        # What llama.cpp kept of this step is unknown.
        self.model.forget(slot.number, 0)
        slot.seen.clear()
        self._end(slot, Output((), final=True, error=error))

    def _drop_all(self) -> list[Generation]:
        self._deliver()
        running = [slot.generation for slot in self._slots if slot.generation]
        for slot in self._slots:
            slot.generation = None
        waiting, self._waiting = self._waiting, deque()
        return [*running, *waiting]

    def _cancel(self, generation: Generation) -> None:
        for slot in self._slots:
            if slot.generation is generation:
                self._end(slot, CANCELLED)
                return
        if generation in self._waiting:
            self._waiting.remove(generation)
            generation.sampler.close()
            generation.deliver(CANCELLED)

    def _close(self) -> None:
        self._is_open = False
        for generation in self._drop_all():
            generation.sampler.close()
            generation.deliver(CANCELLED)
