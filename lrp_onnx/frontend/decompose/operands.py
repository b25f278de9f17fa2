"""Operators whose parameters are usually constants, where the model computes them from its inputs:
spelled so that every operand has a rule of its own.

    Clip = Min(Max(x, low), high)    PRelu = Relu(x) + slope · Min(x, 0)
    Conv(x, w, b) = Conv(x, w) + b   BatchNormalization = (x - mean)/√(var + ε) · scale + bias

And the bounds of Range as scalars: runtimes take [1] too, but not where they can tell beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.frontend.decompose.heads import rank_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.makers import inputs_by, upstream
from lrp_onnx.graph.replacement import Build

__all__ = ["computed", "per_channel", "varies"]


def varies(value: ir.Value | None) -> bool:
    """Whether a value depends on an input of the run, or of the body that it is in."""
    return any(v.producer() is None and not v.is_initializer() for v in upstream([value]))


def computed(value: ir.Value | None) -> bool:
    """Whether it depends on an input of the run by more than its shape."""
    spread = inputs_by(value, "Expand")
    return varies(value) and (not spread or varies(spread[0]))


def per_channel(build: Build, value: ir.Value | None, rank: int) -> ir.Value:
    """(C,) -> (C, 1, …), to be broadcast against (N, C, …)."""
    if rank < 3:
        assert value is not None
        return value
    return build.op("Reshape", value, build.ints(-1, *[1] * (rank - 2)))


@decomposes("Clip")
def clip(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """Min(Max(x, low), high), either of which may be missing.  Spec: ONNX Clip-13."""
    y, low, high = [*node.inputs, None, None][:3]
    if y is None or not (varies(low) or varies(high)):
        return None
    if low is not None:
        y = build.op("Max", y, low)
    return [y if high is None else build.op("Min", y, high)]


@decomposes("PRelu")
def prelu(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """Relu(x) + slope · Min(x, 0).  Spec: ONNX PRelu-16."""
    x, slope = node.inputs
    if not varies(slope):
        return None
    below = build.op("Min", x, build.like(0.0, x))
    return [build.op("Add", build.op("Relu", x), build.op("Mul", slope, below))]


@decomposes("Conv")
@decomposes("ConvTranspose")
def bias_apart(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """The layer without its bias, then the bias.  Spec: ONNX Conv-11, ConvTranspose-11."""
    x, w, b = [*node.inputs, None][:3]
    if not varies(b):
        return None
    attributes: dict[str, Any] = dict(node.attributes)
    z = build.op(node.op_type, x, w, **attributes)
    return [build.op("Add", z, per_channel(build, b, rank_of(x)))]


@decomposes("Gemm")
def addend_apart(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """alpha · A'B', then beta · C.  Spec: ONNX Gemm-13."""
    a, b, c = [*node.inputs, None][:3]
    if c is None or not varies(c):
        return None
    attributes: dict[str, Any] = {k: value for k, value in node.attributes.items() if k != "beta"}
    beta = node.attributes.get_float("beta", 1.0)
    if beta != 1.0:
        c = build.op("Mul", c, build.like(beta, c))
    return [build.op("Add", build.op("Gemm", a, b, **attributes), c)]


@decomposes("BatchNormalization")
def batch_normalization(build: Build, node: ir.Node) -> Sequence[ir.Value | None] | None:
    """(x - mean)/√(var + ε) · scale + bias, per channel.  Spec: ONNX BatchNormalization-15."""
    x, *parameters = node.inputs
    if node.attributes.get_int("training_mode", 0) or not any(map(varies, parameters)):
        return None
    rank = rank_of(x)
    scale, bias, mean, variance = (per_channel(build, p, rank) for p in parameters)
    shifted = build.op(
        "Add", variance, build.like(node.attributes.get_float("epsilon", 1e-5), parameters[3])
    )
    normal = build.op("Div", build.op("Sub", x, mean), build.op("Sqrt", shifted))
    return [build.op("Add", build.op("Mul", normal, scale), bias)]


@decomposes("Range")
def scalar_bounds(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """Range of scalars, where its bounds are of shape [1].  Spec: ONNX Range-11."""
    ranks = [None if v is None or v.shape is None else len(v.shape) for v in node.inputs]
    if 1 not in ranks:
        return None
    bounds = [
        build.op("Squeeze", v, build.ints(0)) if rank == 1 else v
        for v, rank in zip(node.inputs, ranks, strict=True)
    ]
    return [build.op("Range", *bounds)]


@decomposes("Dropout")
def dropout(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """x times what Dropout makes of ones, where only the run knows whether it is in training mode.

    Spec: ONNX Dropout-13.
    """
    x, ratio, training = [*node.inputs, None, None][:3]
    if not (varies(training) and computed(x)):
        return None
    ones = build.op("Expand", build.like(1.0, x), build.op("Shape", x))
    attributes: dict[str, Any] = dict(node.attributes)
    factor, mask = build.outputs("Dropout", 2, ones, ratio, training, **attributes)
    return [build.op("Mul", x, factor), mask]
