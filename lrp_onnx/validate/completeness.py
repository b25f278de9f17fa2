"""Integrated gradients sum to f(x) - f(x₀) to within INCOMPLETE, and what the steps alone give, the
better the more there are, to within ROUGH.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lrp_onnx.graph.annotations import COMPLETENESS
from lrp_onnx.graph.arrays import Array

__all__ = [
    "ROUGH",
    "Completeness",
    "completeness_of",
    "incomplete",
    "nothing_to_explain",
    "too_few_steps",
]

INCOMPLETE = 1e-3
"""Part of f(x) - f(x₀) that integrated gradients may be off by."""
ROUGH = 0.05
"""Part of it that the gradients at the steps may be off by before they are made complete."""
COARSE = 0.1
"""Part of its largest value that half the steps may change relevance by: on seven networks, on
which it was chosen too, the true error was 0.2 to 3.2 times the change.
"""
ROUNDED = 32
"""So many times the last digit of f its value may be off."""


@dataclass(frozen=True)
class Completeness:
    """Integrated gradients against what they decompose, summed over the batch."""

    total: float
    """The sum of relevance over all explained inputs."""
    explained: float
    """f(x) - f(x₀)."""
    of_steps: float
    """What the gradients at the steps sum to before they are made complete."""
    steps: int
    change: float = 0.0
    """By what part of its largest value half the steps change the relevance."""
    rounding: float = 0.0
    """How far f(x) - f(x₀) may be off since both are rounded."""

    @property
    def is_rounding(self) -> bool:
        """Whether f(x) - f(x₀) is no more than that, so that there is nothing to decompose."""
        return self.rounding > 0 and abs(self.explained) <= self.rounding

    @property
    def error(self) -> float:
        """The relative error."""
        return self._off(self.total)

    @property
    def error_of_steps(self) -> float:
        """That of the steps alone."""
        return self._off(self.of_steps)

    def _off(self, total: float) -> float:
        difference = abs(total - self.explained)
        if difference <= self.rounding:
            return 0.0
        return difference / abs(self.explained) if self.explained else math.inf


def completeness_of(
    outputs: Mapping[str, Array], output: str, relevance: Mapping[str, float], steps: int
) -> Completeness | None:
    """The account of an output's integrated gradients; None where the model has no such output."""
    if f"{COMPLETENESS}{output}" not in outputs:
        return None
    account = np.asarray(outputs[f"{COMPLETENESS}{output}"])
    here, there, reached, change = map(float, account)
    rounding = ROUNDED * float(np.finfo(account.dtype).eps) * max(abs(here), abs(there))
    return Completeness(sum(relevance.values()), here - there, reached, steps, change, rounding)


def too_few_steps(account: Completeness | None) -> str:
    """A sentence where the steps of integrated gradients decide the map."""
    if account is None or account.is_rounding or not account.change > COARSE:
        return ""
    return (
        f"half of the {account.steps} steps change the relevance by {account.change:.0%} of its "
        "largest value, so that the steps decide the map. Give more --steps, and where they do not "
        "help, as where the gradient at the baseline has no bound, another --baseline."
    )


def incomplete(account: Completeness | None) -> list[str]:
    """What of the account does not hold."""
    if account is None:
        return []
    problems, explained = [], f"f(x) - f(baseline) is {account.explained:.6g}"
    if account.error > INCOMPLETE:
        problems.append(
            f"completeness: relevance sums to {account.total:.6g}, {explained}, off by "
            f"{account.error:.2%}"
        )
    if account.error_of_steps > ROUGH:
        problems.append(
            f"completeness: the gradients at {account.steps} steps give {account.of_steps:.6g}, "
            f"{explained}, off by {account.error_of_steps:.2%}: give more than "
            f"{account.steps} --steps"
        )
    return problems


def nothing_to_explain(account: Completeness | None) -> str:
    """A sentence where integrated gradients decompose a rounding."""
    if account is None or not account.is_rounding:
        return ""
    return (
        f"f(x) - f(baseline) is {account.explained:.3g}, no more than f is rounded by: the output "
        "does not change on the way from the baseline, and the integrated gradients are rounding. "
        "Give another --baseline, or another method."
    )
