"""Pixel flipping: how fast the score falls when units are replaced, the most or the least relevant
first.

MoRF replaces the most relevant units first, LeRF the least relevant; for each the curve is the
score when a share of the units is replaced, from 0 to 1.  Read backwards the LeRF curve is
*insertion*: into a sample without any unit the most relevant come first.  The area under a curve is
its mean over the share, by trapezoids, and the symmetric relevance gain is

    SRG = area(LeRF) − area(MoRF),

0 for a random order, 1 at best where scores are probabilities; unlike each area alone it hardly
depends on what the units are replaced by.

Sources: Bach et al. 2015 and Samek et al. 2017 (MoRF), Petsiuk et al. 2018 (insertion), Blücher et
al. 2024, Decoupling pixel flipping and occlusion strategy for consistent XAI benchmarks (SRG).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.units import Units

__all__ = ["Curve", "Ends", "Flipped", "flip", "grid"]

Float = NDArray[np.float64]
Scores = Callable[[Iterable[tuple[int, Feeds]]], Iterator[float]]
"""The score of each changed sample, which comes with the number of the sample that it was."""


@dataclass(frozen=True)
class Curve:
    """Scores by the share of units that are replaced."""

    share: Float
    """From 0 to 1."""
    score: Float

    @property
    def area(self) -> float:
        """The mean score over the share."""
        from scipy.integrate import trapezoid  # slow to import, and not needed to explain

        return float(trapezoid(self.score, self.share))

    def at(self, share: Float) -> Float:
        """The scores at other shares, between those of the curve on straight lines."""
        return np.interp(share, self.share, self.score)


@dataclass(frozen=True)
class Flipped:
    """Both curves of one map of one sample."""

    morf: Curve
    lerf: Curve

    @property
    def srg(self) -> float:
        """The symmetric relevance gain."""
        return self.lerf.area - self.morf.area


@dataclass(frozen=True)
class Ends:
    """The score of a sample as it is, and with all units replaced: those of every curve."""

    whole: float
    replaced: float


def grid(count: int, steps: int) -> NDArray[np.int64]:
    """How many of `count` units are replaced at each point of a curve of at most `steps` steps."""
    return np.rint(np.linspace(0, count, min(steps, count) + 1)).astype(np.int64)


def flip(
    score: Scores,
    samples: Sequence[Feeds],
    others: Sequence[Feeds],
    units: Sequence[Units],
    relevance: Sequence[Float],
    ends: Sequence[Ends],
    steps: int,
) -> list[Flipped]:
    """The curves of one map of every sample.

    others: what replaces each sample. relevance: that of its units. Of equal ones the first in
    order comes first both ways, so that a map that says nothing gets 0.
    """
    orders = [(np.argsort(-r, kind="stable"), np.argsort(r, kind="stable")) for r in relevance]

    def changed() -> Iterator[tuple[int, Feeds]]:
        for k, (feeds, other, own) in enumerate(zip(samples, others, units, strict=True)):
            for order in orders[k]:
                for n in grid(own.count, steps)[1:-1]:
                    yield k, own.replaced(feeds, other, order[:n])

    scores = score(changed())
    results = []
    for own, end in zip(units, ends, strict=True):
        points = grid(own.count, steps)
        inner = [[next(scores) for _ in points[1:-1]] for _ in ("morf", "lerf")]
        share = points / max(1, own.count)
        morf, lerf = (Curve(share, np.array([end.whole, *y, end.replaced])) for y in inner)
        results.append(Flipped(morf, lerf))
    return results
