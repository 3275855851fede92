"""An engine as a target of `enginix evaluate`: its model runs here, in its runtime."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from enginix.accuracy.windows import Window
from enginix.chat.tokens import Tokenizer
from enginix.cli import engine_gguf
from enginix.engine.gguf.answers import Question, ask
from enginix.engine.gguf.score import score
from enginix.engine.gguf.verify import MODEL_FILE
from enginix.errors import EngineError
from enginix.manifest import FILE_NAME, Accuracy, Manifest, record_accuracy


class EngineTarget:
    """`engine_hash`: the manifest's, before the measurement; only `record` needs it."""

    def __init__(self, directory: Path, manifest: Manifest, *, engine_hash: str = "") -> None:
        if manifest.kind != engine_gguf.KIND:
            raise EngineError(
                f"{directory} is an engine of the kind {manifest.kind}, which cannot be run by "
                f"itself; expected {engine_gguf.KIND}, or the URL of a server that serves it "
                "(docs/accuracy.md says what each server can)"
            )
        self.name = str(directory)
        self.model = manifest.name
        self.longest = manifest.limits.max_seq_len
        self._directory = directory
        self._hash = engine_hash
        self._tokenizer = Tokenizer.load(directory)
        self._generator = engine_gguf.generator()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def logprob(
        self, windows: Sequence[Window], done: Callable[[int], None]
    ) -> tuple[float, Mapping[str, str]]:
        program = self._generator.program.with_name("score.py")
        generator = replace(self._generator, program=program)
        found = score(generator, self._directory / MODEL_FILE, windows, done)
        return found.logprob, {"llama.cpp": found.llama_cpp}

    def answers(
        self, prompts: Sequence[list[int]], max_tokens: int, done: Callable[[int], None]
    ) -> list[str]:
        questions = [Question(prompt, max_tokens) for prompt in prompts]
        found = ask(self._generator, self._directory / MODEL_FILE, questions, done)
        stops = self._tokenizer.stop_token_ids
        return [self._text(answer, stops) for answer in found]

    def record(self, accuracy: Accuracy) -> str:
        """Write it into the engine's manifest; what happened, in one line."""
        try:
            record_accuracy(self._directory, accuracy, self._hash)
        except OSError as error:
            return (
                f"not recorded in the manifest: {self._directory} is read-only "
                f"({error.strerror}); keep the result with --json"
            )
        return f"recorded in {self._directory / FILE_NAME}"

    def _text(self, ids: Sequence[int], stops: Collection[int]) -> str:
        """As /v1/completions gives it."""
        answer = list(takewhile(lambda token: token not in stops, ids))
        return self._tokenizer.stream(keep=(), continues=True).feed(answer)
