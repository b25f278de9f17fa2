"""Normalizations at inference: BatchNormalization by fixed statistics, LRN over channels nearby."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.registry import op, refuse
from lrp_onnx.ops.samples import by_shape

__all__: list[str] = []


def _fixed(node: ir.Node, active: tuple[int, ...]) -> str:
    if node.attributes.get_int("training_mode", 0):
        raise refuse("it is in training mode. Export the model for inference")
    return "scale"


@op("BatchNormalization", kind="scale", choose=_fixed, elementwise=True)
def batch_normalization(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·scale/√(var + epsilon), per channel.

    s: (N, C, *size)    scale, var: (C,)    ->    c: (N, C, *size).
    Spec: ONNX BatchNormalization-15.
    """
    scale, variance = (emit.in_compute_dtype(node.inputs[k]) for k in (1, 4))
    shifted = emit.op("Add", variance, node.attributes.get_float("epsilon", 1e-5))
    slope = emit.op("Div", scale, emit.op("Sqrt", shifted))
    trailing = known_rank(node.outputs[0]) - 2
    if trailing > 0:
        slope = emit.op("Reshape", slope, emit.ints(-1, *[1] * trailing))
    return emit.op("Mul", s, slope)


def _sign_of_lrn(node: ir.Node, of: Sequence[int]) -> int:
    alpha, bias = (node.attributes.get_float(k, 1.0) for k in ("alpha", "bias"))
    return of[0] if alpha >= 0 and bias >= 0 else 0


@op("LRN", kind="activation", elementwise=False, sign=_sign_of_lrn, samples_apart=by_shape)
def lrn(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s·d^-beta - 2·alpha·beta/size · x · Σ s·y/d over the windows that x is in, y = x·d^-beta.

    d = bias + alpha/size · Σ x² over the channels c - (size-1)//2 ... c + size//2.
    s: (N, C, *size)    ->    c: (N, C, *size).    Spec: ONNX LRN-13.
    """
    x, y, size = node.inputs[0], node.outputs[0], node.attributes.get_int("size", 1)
    share = node.attributes.get_float("alpha", 1e-4) / size
    beta = node.attributes.get_float("beta", 0.75)
    before, behind = (size - 1) // 2, size // 2
    rank = known_rank(y)
    squares = _over_channels(emit, emit.op("Mul", x, x), before, behind, rank)
    d = emit.op("Add", emit.op("Mul", squares, share), node.attributes.get_float("bias", 1.0))
    ratio = emit.op("Div", emit.op("Mul", s, y), d)
    met = emit.op("Mul", x, _over_channels(emit, ratio, behind, before, rank))
    own = emit.op("Mul", s, emit.op("Pow", d, -beta))
    return emit.op("Sub", own, emit.op("Mul", met, 2 * share * beta))


def _over_channels(emit: Emit, value: ir.Value, before: int, behind: int, rank: int) -> ir.Value:
    """The sum over channels c - before ... c + behind, those outside counting as 0."""
    others = [0] * (rank - 2)
    pads = [0, before, *others, 0, behind, *others]
    padded = emit.op("Pad", value, emit.ints(*pads))
    last = before + behind
    total: ir.Value | None = None
    for k in range(last + 1):
        end = k - last if k < last else 2**31 - 1
        part = emit.op("Slice", padded, emit.ints(k), emit.ints(end), emit.ints(1))
        total = part if total is None else emit.op("Add", total, part)
    assert total is not None
    return total
