"""Sensitivity to the class: the map of another class has to be another.

A map that is alike whatever class is explained shows what the network reads, not what speaks for
the class.  The second class is the third largest, since the two largest are often alike and rightly
have similar maps.  Source: Sixt et al. 2020, When explanations lie; Quantus' random logit test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array

__all__ = ["other_classes"]

Classes = NDArray[np.int64]


def other_classes(
    outputs: Sequence[Array], explained: Classes | None
) -> tuple[Classes | None, str]:
    """For each sample the third largest class, of two the other one, and that in words.

    outputs: [1, classes] of each sample. explained: the class that is, which is never chosen; None
    where no class is explained.
    """
    if explained is None:
        return None, ""
    count = outputs[0].shape[1]
    classes = []
    for y, own in zip(outputs, explained, strict=True):
        order = np.argsort(-y[0], kind="stable")
        classes.append(order[order != own][min(1, count - 2)])
    return np.array(classes), "the other class" if count == 2 else "the third largest class"
