"""A quantized checkpoint and its source as targets of an evaluation, in ModelOpt's environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from enginix.accuracy.compare import Comparison, Limits, compare
from enginix.accuracy.evaluation import Evaluation
from enginix.accuracy.measure import Options, evaluate
from enginix.accuracy.text import Text
from enginix.accuracy.windows import Window, window_size, windows
from enginix.chat.tokens import Tokenizer
from enginix.checkpoint.load import read_config
from enginix.cli.engine_text import load_text
from enginix.quantize.quantize import Measuring
from enginix.quantize.session import Session

# In 16 bits, a CPU computes more slowly and with rounding errors of its own.
TYPES = {"cpu": "float32", "cuda": "bfloat16"}


class CheckpointTarget:
    """The model that the session has loaded. `how` says what computes, beside the versions."""

    def __init__(
        self,
        session: Session,
        directory: Path,
        tokenizer: Tokenizer,
        longest: int | None,
        how: str,
    ) -> None:
        self.name, self.model = str(directory), directory.absolute().name
        self.longest = longest
        self._session, self._tokenizer, self._how = session, tokenizer, how

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def logprob(
        self, windows: Sequence[Window], done: Callable[[int], None]
    ) -> tuple[float, Mapping[str, str]]:
        found = self._session.ask(
            "score",
            lambda share: done(round(share * len(windows))),
            windows=[{"ids": list(window.ids), "first": window.first} for window in windows],
        )
        versions = self._session.machine["versions"]
        computed = {"transformers": f"{versions['transformers']} ({self._how})"}
        logprob = found["logprob"]
        return float("nan") if logprob is None else logprob, computed

    def answers(
        self, prompts: Sequence[list[int]], max_tokens: int, done: Callable[[int], None]
    ) -> list[str]:
        found = self._session.ask("answer", prompts=list(prompts), max_tokens=max_tokens)
        stops = self._tokenizer.stop_token_ids
        return [self._text(ids, stops) for ids in found["answers"]]

    def _text(self, ids: Sequence[int], stops: Sequence[int]) -> str:
        answer = list(takewhile(lambda token: token not in stops, ids))
        return self._tokenizer.stream(keep=(), continues=True).feed(answer)


@dataclass
class Comparing:
    """Compares the checkpoint that becomes `out` with `source`, and keeps what it found."""

    source: Path
    out: Path
    text: Text
    limits: Limits
    found: Evaluation | None = None
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        # Report a broken tokenizer or a short text before the long work.
        load_text(self.source, self.source)
        self._tokenizer = Tokenizer.load(self.source)
        context = read_config(self.source).get("max_position_embeddings")
        self._longest = context if isinstance(context, int) else None
        size = window_size(None, None, self._longest)
        windows(self._tokenizer.encode(self.text.content), [], size)

    def __call__(self, at: Measuring) -> None:
        dtype = TYPES[at.device]
        at.session.ask("load", source=str(self.source.resolve()), device=at.device, dtype=dtype)
        baseline = self._evaluate(at, self.source, f"unquantized, in {dtype}", 0)
        at.session.ask("replace", weights=str(at.directory))
        self.found = self._evaluate(
            at, self.out, f"dequantized weights in {dtype}; activations and cache unquantized", 1
        )
        self.comparison = compare(self.found, baseline)
        self.limits.require(self.found, self.comparison)
        ratio = self.comparison.perplexity_ratio or 0.0
        at.stage.summary = f"perplexity {ratio:.3f} times the source's"

    def _evaluate(self, at: Measuring, directory: Path, how: str, half: int) -> Evaluation:
        target = CheckpointTarget(at.session, directory, self._tokenizer, self._longest, how)

        def progress(_: str, done: int, total: int) -> None:
            at.stage.progress((half + done / total) / 2)

        return evaluate(target, self.text, Options(), progress)
