"""Whether a model's first nodes normalize pictures themselves.

Then no --preprocess is needed: constants that are subtracted, added, multiplied or divided, or a
BatchNormalization, before anything else touches the input, say which range it takes. For
y = a·x + b per channel, a ≤ 1/50 brings 0…255 to a few units; otherwise the zero of y is the mean
of the training pictures, and lies within 0…1 or within 1…255.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.data.preprocess import PRESETS, Preprocess

__all__ = ["affine_behind", "implied_preprocess"]

TRANSPARENT = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
SMALLEST_FACTOR_OF_UNITS = 1 / 50
Affine = tuple[NDArray[np.float64], NDArray[np.float64]]  # a and b of y = a·x + b, flattened


def implied_preprocess(value: ir.Value, metadata: Mapping[str, str]) -> Preprocess | None:
    """`byte` or `unit` where the first nodes after this graph input normalize, what Ultralytics
    does where the model's metadata are theirs, else None.
    """
    if value.dtype == ir.DataType.UINT8:
        return PRESETS["byte"]
    (factor, shift), last = affine_behind(value)
    preset = _range(factor, shift) if last is not None else None
    if preset is None:
        sides = [] if value.shape is None else [*value.shape][-2:]
        preset = _of_ultralytics(metadata)
        fixed = all(isinstance(side, int) for side in sides)
        return preset and replace(preset, size=None if fixed else preset.size)
    return preset and replace(preset, name=f"{preset.name}, implied by the model's node '{last}'")


def _of_ultralytics(metadata: Mapping[str, str]) -> Preprocess | None:
    """Their exports name task, stride and size. Values are 0 to 1, pictures of detectors are
    letterboxed, those of classifiers cropped.
    """
    if not {"task", "stride", "imgsz"} <= set(metadata):
        return None
    sizes = [int(part) for part in re.findall(r"\d+", metadata["imgsz"])]
    preset = replace(
        PRESETS["unit"],
        name="as Ultralytics does, told by the model's metadata",
        size=(sizes[0], sizes[-1]) if sizes else None,
    )
    if metadata["task"] == "classify":
        return replace(preset, fit="center-crop", crop=1.0)
    return replace(preset, fit="letterbox", fill=(114.0,))


def affine_behind(value: ir.Value) -> tuple[Affine, str | None]:
    """What the first nodes make of this graph input, and the name of the last that computes."""
    factor, shift = np.ones(1), np.zeros(1)
    last: str | None = None
    while len(consumers := list(value.uses())) == 1:
        node, position = consumers[0]
        if node.op_type not in TRANSPARENT:
            step = _affine(node, position)
            if step is None or len({len(step[0]), len(factor), 1}) > 2:
                break
            factor, shift = factor * step[0], shift * step[0] + step[1]
            last = node.name or node.op_type
        value = node.outputs[0]
    return (factor, shift), last


def _affine(node: ir.Node, position: int) -> Affine | None:
    """a and b of a node that computes a·x + b with constants, else None."""
    if node.op_type == "BatchNormalization":
        return _batch_normalization(node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    c = _constant(node.inputs[1 - position])
    if c is None or (node.op_type == "Div" and (position == 1 or not np.all(c))):
        return None
    if node.op_type in ("Add", "Sub"):
        sign = -1.0 if node.op_type == "Sub" else 1.0
        first = position == 0
        return np.full_like(c, 1.0 if first else sign), c * (sign if first else 1.0)
    return (c if node.op_type == "Mul" else 1 / c), np.zeros_like(c)


def _batch_normalization(node: ir.Node) -> Affine | None:
    constants = [_constant(value) for value in node.inputs[1:5]]
    scale, bias, mean, variance = constants
    if scale is None or bias is None or mean is None or variance is None:
        return None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - mean * factor


def _constant(value: ir.Value | None) -> NDArray[Any] | None:
    """A scalar or one number a channel, flattened; None for anything larger."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size not in (1, 3):
        return None
    return tensor.numpy().astype(np.float64).reshape(-1)


def _range(factor: NDArray[np.float64], shift: NDArray[np.float64]) -> Preprocess | None:
    factor, shift = np.broadcast_arrays(factor, shift)
    if (np.all(factor == 1) and np.all(shift == 0)) or not np.all(factor):
        return None
    if np.abs(factor).max() <= SMALLEST_FACTOR_OF_UNITS:
        return PRESETS["byte"]
    zero = -shift / factor
    if zero.min() > 0 and zero.max() <= 1:
        return PRESETS["unit"]
    return PRESETS["byte"] if zero.min() > 1 and zero.max() <= 255 else None
