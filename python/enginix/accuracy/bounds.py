"""What an engine's accuracy must be: 'ppl<=12'."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginix.errors import AccuracyLost, UsageError
from enginix.manifest import Accuracy

FORM = re.compile(r"\s*ppl\s*<=\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Bound:
    """The highest perplexity that is accepted."""

    perplexity: float

    def require(self, accuracy: Accuracy, what: str) -> None:
        """Raise AccuracyLost if `what` has a higher perplexity."""
        if accuracy.perplexity > self.perplexity:
            raise AccuracyLost(what, accuracy.perplexity, self.perplexity, accuracy.text)


def read_bound(text: str) -> Bound:
    found = FORM.fullmatch(text)
    if found is None or float(found[1]) < 1:
        raise UsageError(
            f"--require-accuracy {text!r}: expected a perplexity of at least 1, as in 'ppl<=12' "
            "(with the quotes)"
        )
    return Bound(float(found[1]))
