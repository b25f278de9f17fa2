"""Activations of other domains, spelled by standard ones.

GELU is spelled by Erf or Tanh, not by Gelu-20, since a model may have opset 18.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__ = ["MICROSOFT", "gelu", "gelu_tanh"]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's contrib operators."""


def gelu(build: Build, x: ir.Value | None, like: ir.Value | None = None) -> ir.Value:
    """½ · x · (1 + erf(x/√2)); `like` has the element type where x is new."""
    like = like or x
    erf = build.op("Erf", build.op("Mul", x, build.like(1 / math.sqrt(2), like)))
    gate = build.op("Mul", build.op("Add", erf, build.like(1, like)), build.like(0.5, like))
    return build.op("Mul", x, gate)


def gelu_tanh(build: Build, x: ir.Value | None, like: ir.Value | None = None) -> ir.Value:
    """½ · x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    like = like or x
    square = build.op("Mul", x, x)
    cubic = build.op("Mul", square, build.like(0.044715, like))
    cubic = build.op("Add", cubic, build.like(1, like))
    inner = build.op("Mul", build.op("Mul", x, build.like(math.sqrt(2 / math.pi), like)), cubic)
    gate = build.op("Add", build.op("Tanh", inner), build.like(1, like))
    return build.op("Mul", x, build.op("Mul", gate, build.like(0.5, like)))


@decomposes("QuickGelu", domain=MICROSOFT)
def quick_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x · σ(alpha · x).  Spec: ONNX Runtime contrib operators, QuickGelu."""
    x = node.inputs[0]
    slope = build.op("Mul", x, build.like(node.attributes.get_float("alpha", 1.702), x))
    return [build.op("Mul", x, build.op("Sigmoid", slope))]


@decomposes("ScaledSiLU", domain=MICROSOFT)
def scaled_silu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """z · σ(z) with z = x times a scale.  Spec: ONNX Runtime contrib operators, ScaledSiLU."""
    x, scale = [*node.inputs, None][:2]
    factor = build.like(node.attributes.get_float("alpha", 1.0), x)
    if scale is not None:
        factor = build.op("CastLike", scale, x)
    z = build.op("Mul", x, factor)
    return [build.op("Mul", z, build.op("Sigmoid", z))]


@decomposes("Gelu", domain=MICROSOFT)
def exact_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GELU by erf.  Spec: ONNX Runtime contrib operators, Gelu."""
    return [gelu(build, node.inputs[0])]


@decomposes("BiasGelu", domain=MICROSOFT)
def bias_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GELU by erf of A + B.  Spec: ONNX Runtime contrib operators, BiasGelu."""
    a, b = node.inputs
    return [gelu(build, build.op("Add", a, b), a)]


@decomposes("FastGelu", domain=MICROSOFT)
def fast_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GELU by tanh, a bias added before.  Spec: ONNX Runtime contrib operators, FastGelu."""
    x, bias = [*node.inputs, None][:2]
    return [gelu_tanh(build, x if bias is None else build.op("Add", x, bias), x)]


@decomposes("GemmFastGelu", domain=MICROSOFT)
def gemm_fast_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GELU by tanh of X · W + bias.  Spec: ONNX Runtime contrib operators, GemmFastGelu."""
    x, w, bias = [*node.inputs, None][:3]
    z = build.op("MatMul", x, w)
    return [gelu_tanh(build, z if bias is None else build.op("Add", z, bias), x)]


@decomposes("BiasSplitGelu", domain=MICROSOFT)
def bias_split_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Left half of X + bias times the GELU of the right half.

    Spec: ONNX Runtime contrib operators, BiasSplitGelu.
    """
    x, bias = node.inputs
    left, right = build.outputs("Split", 2, build.op("Add", x, bias), axis=-1, num_outputs=2)
    return [build.op("Mul", left, gelu(build, right, x))]
