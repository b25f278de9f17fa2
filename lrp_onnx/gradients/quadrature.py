"""Where on the path of integrated gradients the gradient is taken, and what it counts.

The midpoints of steps that are short near the baseline, where a network leaves its flat region and
the gradient is far larger than at x.  With steps of one width 128 of them leave EfficientNet-Lite0
off by 8 to 15 % on four photos and opennsfw by 56 %, with these by 0.1 to 3.4 % and 3.6 %.  Gauss
and Legendre's points are no better: the gradient of a network of ReLUs jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Quadrature", "quadrature"]

FINER = 3
"""The power that makes the steps short near the baseline."""


@dataclass(frozen=True)
class Quadrature:
    """Parts of the way from x₀ (0) to x (1) and their weights, 1 in all."""

    fractions: NDArray[np.float64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.fractions)

    def in_groups(self, most: int) -> Quadrature:
        """Both as [groups, size], size at most `most`; the last is filled up with x, which weighs
        nothing.
        """
        groups = math.ceil(len(self) / most)
        size = math.ceil(len(self) / groups)
        lacking = (0, groups * size - len(self))
        return Quadrature(
            np.pad(self.fractions, lacking, constant_values=1).reshape(groups, size),
            np.pad(self.weights, lacking).reshape(groups, size),
        )


def quadrature(steps: int) -> Quadrature:
    """The midpoints of steps with the edges (k/steps)³, and their widths."""
    edges = np.linspace(0, 1, steps + 1) ** FINER
    return Quadrature((edges[1:] + edges[:-1]) / 2, np.diff(edges))
