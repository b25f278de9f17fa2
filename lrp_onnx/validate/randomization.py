"""Parameter randomization: the weights of the layers are re-drawn from the output downwards, and
the map has to change, for it is to explain what the network has learned.

A layer's weight and bias are drawn from a normal distribution of the mean and the deviation that
they had.  The class stays that of the trained network.  A map that stays alike (a rank correlation
near 1) shows the input rather than the network.

Source: Adebayo et al. 2018, Sanity checks for saliency maps (cascading); Quantus' MPRT.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.subgraphs import RECURRENT

__all__ = ["layers_of", "redrawn", "stages_of"]

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", *RECURRENT)
BETWEEN = ("Cast", "Identity", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "DequantizeLinear")
"""Nodes that may stand between a weight and its layer."""
STANDARD = ("", "ai.onnx", "ai.onnx.ml")
"""Domains whose operators are layers only if LAYERS names them; of others every node with a weight
is one.
"""


def layers_of(model: ir.Model) -> list[tuple[ir.Value, ...]]:
    """The weights of each layer, the layer next to the input first; a weight that several layers
    share belongs to the last of them.
    """
    layers: list[tuple[ir.Value, ...]] = []
    taken: set[ir.Value] = set()
    for node in reversed(list(model.graph)):
        if node.op_type not in LAYERS and node.domain in STANDARD:
            continue
        weights = dict.fromkeys(filter(None, map(_initializer, node.inputs)))
        own = tuple(w for w in weights if w not in taken)
        if any(_size(w) > 1 and len(w.shape or ()) > 1 for w in own):
            layers.insert(0, own)
            taken.update(own)
    return layers


def redrawn(model: ir.Model, count: int, seed: int) -> ir.Model:
    """A copy in which the weights of the last `count` layers are drawn anew. A layer gets the same
    ones whatever the count.
    """
    copy = model.clone()
    for number, layer in enumerate(reversed(layers_of(copy)[-count:])):
        rng = np.random.default_rng((seed, number))
        for value in layer:
            assert value.const_value is not None
            value.const_value = ir.Tensor(_drawn(value.const_value.numpy(), rng), name=value.name)
    return copy


def stages_of(count: int, stages: int = 3) -> tuple[int, ...]:
    """How many layers from the top are re-drawn in so many stages: the last one, then more, at last
    all.
    """
    if not count or not stages:
        return ()
    first = 1 if stages > 1 else count
    return tuple(np.unique(np.rint(np.linspace(first, count, stages)).astype(int)).tolist())


def _drawn(weights: Array, rng: np.random.Generator) -> Array:
    values = weights.astype(np.float64)
    drawn = rng.normal(values.mean(), values.std(), values.shape)
    if weights.dtype.kind in "iu":
        ends = np.iinfo(weights.dtype)
        drawn = np.rint(drawn).clip(ends.min, ends.max)
    array: Array = drawn.astype(weights.dtype)
    return array


def _initializer(value: ir.Value | None) -> ir.Value | None:
    """The weight that an input of a layer is, through nodes that lay it out or dequantize it."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in BETWEEN:
            return None
        value = node.inputs[0]
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    kind = value.const_value.dtype
    numeric = kind.is_floating_point() or kind in (ir.DataType.INT8, ir.DataType.UINT8)
    return value if numeric else None


def _size(value: ir.Value) -> int:
    assert value.const_value is not None
    return value.const_value.size
