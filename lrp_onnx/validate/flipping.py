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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.session import Array
from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.units import Units

__all__ = ["Curve", "Ends", "Flipped", "Flipping", "Scores", "grid"]

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


def grid(count: int, points: int) -> NDArray[np.int64]:
    """How many of `count` units are replaced in each of at most `points` steps, with both ends."""
    return np.rint(np.linspace(0, count, min(points, count) + 1)).astype(np.int64)


@dataclass(frozen=True)
class Flipping:
    """Samples whose units are replaced in the order of one map after the other."""

    samples: Sequence[Feeds]
    others: Sequence[Feeds]
    """What replaces each sample's explained inputs."""
    units: Sequence[Units]
    ends: Sequence[Ends]
    points: int
    """In so many steps all units are replaced, in fewer where there are fewer units."""

    @property
    def passes(self) -> int:
        """How many changed samples are scored for one map."""
        return sum(2 * max(0, len(grid(own.count, self.points)) - 2) for own in self.units)

    def curves(self, score: Scores, maps: Sequence[Mapping[str, Array]]) -> list[Flipped]:
        """The curves of one map of every sample, by input.

        Of units of equal relevance the first in order comes first both ways, so that a map that
        says nothing gets an SRG of 0.
        """
        scores = score(self._changed(maps))
        flipped = []
        for own, end in zip(self.units, self.ends, strict=True):
            points = grid(own.count, self.points)
            inner = [[next(scores) for _ in points[1:-1]] for _ in ("morf", "lerf")]
            share = points / max(1, own.count)
            morf, lerf = (Curve(share, np.array([end.whole, *y, end.replaced])) for y in inner)
            flipped.append(Flipped(morf, lerf))
        return flipped

    def _changed(self, maps: Sequence[Mapping[str, Array]]) -> Iterator[tuple[int, Feeds]]:
        for k, (own, of_sample) in enumerate(zip(self.units, maps, strict=True)):
            relevance = own.relevance(of_sample)
            for order in (
                np.argsort(-relevance, kind="stable"),
                np.argsort(relevance, kind="stable"),
            ):
                for count in grid(own.count, self.points)[1:-1]:
                    yield k, own.replaced(self.samples[k], self.others[k], order[:count])
