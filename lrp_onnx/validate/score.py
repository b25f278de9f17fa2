"""What pixel flipping watches: the explained quantity as the original model computes it.

For a class of an output [N, classes] it is the class's probability, as in Quantus: the output
itself behind a softmax or sigmoid, else its softmax over the classes.  Everything else is scored by
its own value, in its own unit: a number, an entry of a dense output, an entry of an embedding,
which is told by its length of 1.  Several entries count by their mean.  With target `similarity` it
is the cosine of the embedding with that of the sample as it is: how much of it is kept.

Which entries are explained is what relevance starts with: m of R₀ = m·y.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array, cosines

__all__ = ["Score", "are_embeddings", "class_of", "score_of"]

CLASS_TARGET = re.compile(r"argmax|max|input|\d+(-\d+)?")
UNIT_LENGTH = 1e-3


@dataclass(frozen=True)
class Score:
    """How a number is made of the explained output."""

    words: str
    softmax: bool = False
    """Whether probabilities are made of the output first, over axis 1."""
    of_classes: bool = False
    """Whether the entries of the output are classes, which can be compared with each other."""
    cosine: bool = False
    """Whether it is the cosine with the mask, which is another embedding then."""

    def __call__(self, y: Array, mask: Array) -> NDArray[np.float64]:
        """The scores of several outputs, one behind the other along axis 0; mask: m of each."""
        if self.cosine:
            return cosines(y, mask[None] if mask.ndim < y.ndim else mask)
        values = y.astype(np.float64)
        if self.softmax:
            powers = np.exp(values - values.max(1, keepdims=True))
            values = powers / powers.sum(1, keepdims=True)
        explained = (mask * values).reshape(len(y), -1).sum(1)
        scores: NDArray[np.float64] = explained / max(1.0, float(mask.clip(0).sum()))
        return scores


def score_of(metadata: Mapping[str, str], outputs: Sequence[Array]) -> Score:
    """How a model's explanation is scored.

    metadata: of the compiled model, without prefix. outputs: the explained output of each sample.
    """
    name, target = metadata["output"], metadata["target"]
    if target == "similarity":
        return Score(f"cosine of {name!r} with that of the sample as it is", cosine=True)
    if metadata["starts_at"] == "logits":
        return Score(f"probability: {target} of {name!r} as the model gives it", of_classes=True)
    if _counts_classes(metadata, outputs) and CLASS_TARGET.fullmatch(target):
        return Score(f"probability: softmax of {name!r}, {target}", softmax=True, of_classes=True)
    return Score(f"value: {target} of {name!r}, in its own unit")


def _counts_classes(metadata: Mapping[str, str], outputs: Sequence[Array]) -> bool:
    y = outputs[0]
    if metadata.get("head"):  # boxes, coordinates, a dense map
        return False
    if metadata["class_axis"] != "1" or y.ndim != 2 or y.shape[1] < 2:
        return False
    return not are_embeddings(outputs)


def are_embeddings(outputs: Sequence[Array]) -> bool:
    """Whether each of them has the length of 1."""
    lengths = [float(np.linalg.norm(y.astype(np.float64))) for y in outputs]
    return np.allclose(lengths, 1, atol=UNIT_LENGTH)


def class_of(mask: Array) -> NDArray[np.int64] | None:
    """The explained class of one sample, [1], where it is one of several; else None."""
    one = mask.ndim == 2 and len(mask) == 1 and mask.shape[1] > 1 and np.count_nonzero(mask) == 1
    return mask.argmax(1) if one and mask.max() == 1 else None
