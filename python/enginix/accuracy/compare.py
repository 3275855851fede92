"""Compares an evaluation with a baseline: how much worse, and how many answers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginix.accuracy.evaluation import Evaluation
from enginix.accuracy.text import Text
from enginix.errors import UsageError, WorseThanBaseline


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one answer: how many tokens are equal until the first difference, and of how many."""

    prompt: str
    equal: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Comparison:
    baseline: str
    """Its target."""
    perplexity_ratio: float | None
    """To the baseline's; None if one of the two was not measured."""
    agreement: float
    """The share of all answers' tokens that are equal until each answer's first difference."""
    answers: list[Agreement]


@dataclass(frozen=True, slots=True)
class Limits:
    """In percent; None accepts anything."""

    max_drop: float | None = None
    """By how much the perplexity may be above the baseline's."""
    min_agreement: float | None = None

    def require(self, found: Evaluation, comparison: Comparison) -> None:
        """Raise WorseThanBaseline for a result that is not within them."""
        ratio, worse = comparison.perplexity_ratio, []
        if self.max_drop is not None:
            if ratio is None:
                worse.append("the perplexity was not measured on both sides")
            elif ratio > 1 + self.max_drop / 100:
                worse.append(
                    f"its perplexity is {100 * ratio - 100:.1f} % higher, allowed are "
                    f"{self.max_drop:g} %"
                )
        if self.min_agreement is not None and 100 * comparison.agreement < self.min_agreement:
            worse.append(
                f"{100 * comparison.agreement:.1f} % of its answers are the same, expected at "
                f"least {self.min_agreement:g} %"
            )
        if worse:
            raise WorseThanBaseline(found.target, comparison.baseline, " and ".join(worse))


def compare(found: Evaluation, baseline: Evaluation) -> Comparison:
    """UsageError if the two, of one text, were not measured in the same way."""
    _require_same(found, baseline)
    answers = [
        Agreement(one.prompt, _equal(one.ids, other.ids), max(len(one.ids), len(other.ids)))
        for one, other in zip(found.answers, baseline.answers, strict=True)
    ]
    tokens = sum(one.tokens for one in answers)
    ratio = None
    if found.accuracy and baseline.accuracy:
        ratio = round(found.accuracy.perplexity / baseline.accuracy.perplexity, 4)
    return Comparison(
        baseline=baseline.target,
        perplexity_ratio=ratio,
        agreement=round(sum(one.equal for one in answers) / tokens, 4) if tokens else 1.0,
        answers=answers,
    )


def _equal(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def require_text(baseline: Evaluation, text: Text) -> None:
    """UsageError if the baseline was measured on another text."""
    if baseline.text_sha256 != text.sha256:
        raise _not_comparable(
            f"it read {baseline.text} with sha256 {baseline.text_sha256[:12]}..., expected "
            f"{text.name} with {text.sha256[:12]}...",
            "name the same --text",
        )


def _require_same(found: Evaluation, baseline: Evaluation) -> None:
    if found.tokens_sha256 != baseline.tokens_sha256:
        raise _not_comparable(
            f"the tokenizer of its {baseline.model} gives other tokens for {found.text} "
            f"than that of {found.model}",
            "name a baseline with the same tokenizer, such as the unquantized model",
        )
    ours, theirs = (found.context, found.stride), (baseline.context, baseline.stride)
    if ours != theirs:
        raise _not_comparable(
            f"it read windows of {theirs[0]} tokens, {theirs[1]} apart, expected "
            f"{ours[0]} and {ours[1]}",
            f"add --context {theirs[0]} --stride {theirs[1]}",
        )
    if [one.prompt for one in found.answers] != [one.prompt for one in baseline.answers]:
        raise _not_comparable("it answered other prompts", "measure it again with this enginix")


def _not_comparable(reason: str, remedy: str) -> UsageError:
    return UsageError(f"the --baseline cannot be compared: {reason}; {remedy}")
