"""Prototypes of a class: groups of inputs that a layer decides about in the same way.

Prototypical concept-based explanation (Dreyer et al. 2024, Understanding the (extra-)ordinary, sec.
3): each input is the vector of its relevance by channel, and a class is as many centers of these
vectors as there are ways to be recognized as it.  The paper fits a mixture of Gaussians; here it is
k-means, the mixture of equal round ones, since there are often fewer inputs than channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError

__all__ = ["Prototype", "find_prototypes"]

STARTS = 20
"""Of k-means, of which the closest fit is taken: one may end in a poor one."""
STRONGEST = 4
"""Channels that are told of each prototype."""
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Prototype:
    """A group of inputs whose relevance goes through the same channels."""

    share: float
    """Its part of all inputs."""
    inputs: Sequence[tuple[Path, float]]
    """The nearest to its center first, with their distance from it, from 0 (the center) to 2."""
    channels: Sequence[tuple[int, float]]
    """The strongest, with their mean part of the relevance of an input."""

    @property
    def described(self) -> str:
        """`62 % of the inputs: channels 3 (41 %), 17 (-12 %)`."""
        told = ", ".join(f"{channel} ({part:.0%})" for channel, part in self.channels)
        return f"{self.share:.0%} of the inputs: channels {told}"


def find_prototypes(
    sums: Float, files: Sequence[Path], count: int, examples: int, name: str = "that class"
) -> list[Prototype]:
    """That many prototypes, the commonest first.

    sums: relevance by channel, [files, C]. examples: how many inputs of each are kept. name: of
    the class.
    Raises InputError where there are fewer different inputs than prototypes.
    """
    sizes = np.abs(sums).sum(axis=1, keepdims=True)
    parts = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)
    different = len(np.unique(parts.round(9), axis=0))
    if different < count:
        raise InputError(
            f"prototypes: {count} are asked for, and {len(files)} of the inputs are predicted as "
            f"{name}, {different} of them different. Give more inputs, or fewer --prototypes."
        )
    centers, groups = _clustered(parts, count)
    prototypes = []
    for k in np.argsort(-np.bincount(groups, minlength=count), kind="stable"):
        own = np.flatnonzero(groups == k)
        distances = np.linalg.norm(parts[own] - centers[k], axis=1)
        nearest = np.argsort(distances, kind="stable")[:examples]
        strongest = np.argsort(-np.abs(centers[k]), kind="stable")[:STRONGEST]
        inputs = [(files[own[i]], float(distances[i])) for i in nearest]
        channels = [(int(c), float(centers[k][c])) for c in strongest if centers[k][c]]
        prototypes.append(Prototype(len(own) / len(files), inputs, channels))
    return prototypes


def _clustered(points: Float, count: int) -> tuple[Float, NDArray[np.int64]]:
    """Centers and the group of each point, of the best of several starts; none is empty."""
    from scipy.cluster.vq import ClusterError, kmeans2

    best, least = None, np.inf
    for seed in range(STARTS):
        try:
            centers, groups = kmeans2(points, count, minit="++", missing="raise", seed=seed)
        except ClusterError:
            continue  # a start that left a group empty
        error = float(np.square(points - centers[groups]).sum())
        if error < least:
            best, least = (centers, groups), error
    if best is None:
        raise InputError(
            f"prototypes: the inputs do not fall into {count} groups. Give fewer --prototypes."
        )
    return best
