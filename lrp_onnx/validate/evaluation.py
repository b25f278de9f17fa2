"""What an evaluation found: numbers of each explanation, and what they amount to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.validate.flipping import Flipped

__all__ = ["Clock", "Evaluation", "Float", "Judged", "conclusion", "mean_and_error"]

Float = NDArray[np.float64]
ALIKE = 0.005
"""A mean difference of SRG that is no difference, however sure it is."""


@dataclass
class Clock:
    """What an evaluation spent its time on: how often, and for how many seconds."""

    forward: int = 0
    """Samples that the original model was run on."""
    forward_seconds: float = 0.0
    explained: int = 0
    explained_seconds: float = 0.0
    compiled: int = 0
    compiled_seconds: float = 0.0
    seconds: float = 0.0
    """All in all."""


@dataclass(frozen=True)
class Judged:
    """What was found of one explanation, or of a reference."""

    name: str
    kind: str
    """`lrp`, `method` or `reference`."""
    flipped: Sequence[Flipped] = field(repr=False)
    """Of each sample."""
    complexity: Float
    other_class: Float | None = None
    """Of each sample the rank correlation with the map of another class."""
    redrawn: Mapping[int, Float] = field(default_factory=dict)
    """By the number of layers that are re-drawn the rank correlation with the map before."""
    is_default: bool = False

    @property
    def srg(self) -> Float:
        """The symmetric relevance gain of each sample."""
        return np.array([f.srg for f in self.flipped])

    @property
    def morf(self) -> Float:
        """The area under the curve of each sample, the most relevant replaced first."""
        return np.array([f.morf.area for f in self.flipped])

    @property
    def lerf(self) -> Float:
        """The same, the least relevant first; that of insertion, too."""
        return np.array([f.lerf.area for f in self.flipped])


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    judged: tuple[Judged, ...]
    """The explanations in the order they were given, then the references."""
    samples: int
    score: str
    """What is watched, in words."""
    units: str
    replacement: str
    whole: Float
    """The score of each sample as it is."""
    replaced: Float
    """Its score with all units replaced."""
    other_class: str
    """Which class the second map is of; empty where there is none."""
    clock: Clock
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Judged:
        """What was found of the explanation or reference of that name."""
        return next(j for j in self.judged if j.name == name)

    @property
    def ranked(self) -> list[Judged]:
        """The explanations, that of the largest mean SRG first, then the references."""
        return sorted(self.judged, key=lambda j: (j.kind == "reference", -_gain(j)))

    @property
    def conclusion(self) -> str:
        """Which explanation to take, in one sentence."""
        return conclusion(self.judged, self.samples)


def mean_and_error(values: Float) -> tuple[float, float]:
    """The mean and its standard error, NaN for one value; values that are NaN do not count."""
    own = values[np.isfinite(values)]
    if not len(own):
        return math.nan, math.nan
    error = float(own.std(ddof=1) / math.sqrt(len(own))) if len(own) > 1 else math.nan
    return float(own.mean()), error


def conclusion(judged: Sequence[Judged], samples: int) -> str:
    """Which explanation to take, in one sentence: two are told apart where their mean difference,
    sample by sample, is more than its standard error.
    """
    explanations = sorted((j for j in judged if j.kind != "reference"), key=_gain)
    references = sorted((j for j in judged if j.kind == "reference"), key=_gain)
    best, reference = explanations[-1], references[-1]
    if samples == 1:
        return (
            f"One sample tells little: on it {best.name} comes out first (SRG "
            f"{best.srg.mean():.3f}). Give ten or more to choose by."
        )
    if not _is_ahead(best, reference):
        what = f"{reference.name}, which knows nothing of the model"
        numbers = f"(SRG {_worded(best.srg)} and {_worded(reference.srg)} on {samples} samples)"
        if _gain(best) > _gain(reference):
            return (
                f"{best.name} comes out first, and not surely ahead of {what} {numbers}: give more "
                "samples before you trust it."
            )
        return f"{best.name} comes out first, and does no better than {what} {numbers}: trust none."
    close = [j for j in explanations[-2::-1] if not _is_ahead(best, j)]
    take = next((j for j in (best, *close) if j.is_default), best)
    others = [j.name for j in (best, *close) if j is not take]
    first = f"Take {take.name}: SRG {_worded(take.srg)} on {samples} samples"
    if others:
        return f"{first}; {_listed(others)} within one standard error of it."
    if len(explanations) == 1:
        return f"{first}, and {_worded(best.srg - reference.srg)} above {reference.name}."
    return f"{first}, {_worded(best.srg - explanations[-2].srg)} above {explanations[-2].name}."


def _gain(judged: Judged) -> float:
    return float(judged.srg.mean())


def _is_ahead(best: Judged, other: Judged) -> bool:
    mean, error = mean_and_error(best.srg - other.srg)
    return mean > max(error, ALIKE)


def _worded(values: Float) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.3f} ± {error:.3f}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last} are" if first else f"{last} is"
