"""The range of an input at the first layer, from which parameters of rules follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.data.implied import affine_behind
from lrp_onnx.graph.arrays import Array
from lrp_onnx.lrp.composite import Override

__all__ = ["Ranges", "input_ends"]

Ranges = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""The smallest and largest value of an input, by its name: one for each channel."""


def input_ends(canonical: ir.Model, ranges: Ranges) -> dict[str, Override]:
    """The least and largest value of the first input with a range, as the first layer sees it.

    What stands between, such as a model's own normalization, is applied to it.
    """
    for value in canonical.graph.inputs:
        if (ends := ranges.get(str(value.name))) is not None:
            (factor, shift), _ = affine_behind(value)
            low, high = (np.asarray(end) * factor + shift for end in ends)
            return {
                "input minimum": _parameter(np.minimum(low, high)),
                "input maximum": _parameter(np.maximum(low, high)),
            }
    return {}


def _parameter(values: Array) -> Override:
    numbers: list[float] = values.tolist()
    return numbers if len(numbers) > 1 else numbers[0]
