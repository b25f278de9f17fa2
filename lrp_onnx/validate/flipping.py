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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array
from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.units import Units

__all__ = ["Curve", "Ends", "Flipped", "Flipping", "Scores", "grid"]

Float = NDArray[np.float64]
Scores = Callable[[int, Mapping[str, Array]], Float]
"""The scores of one sample, by its number, when inputs are changed: each [rows, *its shape]."""


@dataclass(frozen=True)
class Curve:
    """Scores by the share of units that are replaced."""

    share: Float
    """From 0 to 1."""
    score: Float

    @property
    def area(self) -> float:
        """The mean score over the share."""
        return float(np.diff(self.share) @ (self.score[1:] + self.score[:-1]) / 2)

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
    _known: dict[tuple[int, bytes], Curve] = field(default_factory=dict, repr=False)
    """Curves by sample and order of units, which is all that they depend on."""

    def curves(
        self,
        scores: Scores,
        maps: Sequence[Mapping[str, Array]],
        tell: Callable[[], None] = lambda: None,
    ) -> list[Flipped]:
        """The curves of one map of every sample, by input.

        Of units of equal relevance the first in order comes first both ways, so that a map that
        says nothing gets an SRG of 0. tell: called after each curve.
        """
        flipped = []
        for k, own in enumerate(maps):
            relevance = self.units[k].relevance(own)
            curves = []
            for sign in (-1, 1):
                order = np.argsort(sign * relevance, kind="stable")
                known = (k, order.tobytes())
                if known not in self._known:
                    self._known[known] = self._curve(scores, k, order)
                curves.append(self._known[known])
                tell()
            flipped.append(Flipped(*curves))
        return flipped

    def _curve(self, scores: Scores, number: int, order: NDArray[np.int64]) -> Curve:
        """The curve of one sample, units replaced in that order."""
        units, end = self.units[number], self.ends[number]
        counts = grid(units.count, self.points)
        rank = np.empty(units.count, np.int64)
        rank[order] = np.arange(units.count)
        chosen = rank < counts[1:-1, None]
        changed = units.replaced(self.samples[number], self.others[number], chosen)
        inner = scores(number, changed)
        return Curve(counts / max(1, units.count), np.array([end.whole, *inner, end.replaced]))
