"""How much a relevance is decided by roundings, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UNSTEADY", "Sensitivity"]

UNSTEADY = 0.05
"""Part of its largest value by which relevance may change: beyond, roundings decide the map."""


@dataclass(frozen=True)
class Sensitivity:
    """By how much relevance changes with the last binary digits of something."""

    change: float
    """As a part of its largest value, in the sample where it is most."""
    of: str
    """What was changed: input or weights."""

    @property
    def unsteady(self) -> bool:
        """Whether it is too much for the map to mean anything."""
        return self.change > UNSTEADY

    def __str__(self) -> str:
        its = "the input" if self.of == "input" else "the weights"
        return (
            f"decides {self.change:.1g} of the largest relevance (tried with other last digits in "
            f"{its})"
        )
