"""What is said of one sample: prediction, explained class, how much of the relevance arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Sample", "note_on"]

LITTLE = 0.1
"""Part of the starting relevance below which its amount says nothing."""


@dataclass(frozen=True)
class Sample:
    """One sample's prediction and the sum of its relevance."""

    prediction: str
    explained: str
    """What was explained, where that is not the prediction; else empty."""
    start: float | None
    """The sum of the starting relevance; None for gradients, which share out nothing."""
    total: float
    """The sum of relevance over all explained inputs."""
    conserving: bool = True
    """Whether all relevance but what is absorbed should arrive there."""
    through: str = ""
    """The channels that relevance had to pass; empty where it was free."""

    @property
    def title(self) -> str:
        """For a picture."""
        explained = f"; explained: {self.explained}" if self.explained else ""
        through = f"; through {self.through}" if self.through else ""
        return f"predicted: {self.prediction}{explained}{through}"

    @property
    def conservation(self) -> str:
        """How much of the starting relevance arrived."""
        if not self.start:
            return f"{self.total:.5g}"
        return f"{self.total:.5g} of {self.start:.5g} ({self.total / self.start:.1%})"

    @property
    def absorbed(self) -> float | None:
        """Percent of the starting relevance, where hardly any arrived or its sign changed."""
        if not self.conserving or not self.start or self.total / self.start >= LITTLE:
            return None
        return 100 * (1 - self.total / self.start)

    @property
    def note(self) -> str:
        """What to think of such relevance; else empty."""
        return note_on([self])


def note_on(told: Sequence[Sample]) -> str:
    """What to think of relevance that hardly arrived or changed its sign, of all samples at once;
    empty where there is none.
    """
    found = [sample.absorbed for sample in told if sample.absorbed is not None]
    if not found:
        return ""
    ends = dict.fromkeys(f"{end:.1f}".removesuffix(".0") for end in (min(found), max(found)))
    some = f" ({len(found)} of {len(told)} times)" if len(found) < len(told) else ""
    return (
        f"the biases and stabilizers absorbed {' to '.join(ends)} % of the relevance{some}: read "
        "the pattern, not the amount (lrp-onnx verify shows where)"
    )
