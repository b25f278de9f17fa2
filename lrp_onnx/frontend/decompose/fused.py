"""Products and convolutions that a runtime's optimizer has fused with what stands around them.

Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT, gelu
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

PARAMETERS = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}
"""The standard activations that are fused, and their parameters in the order they are given in."""

CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def activated(
    build: Build, y: ir.Value, name: str, parameters: Sequence[float], like: ir.Value | None
) -> ir.Value:
    """The activation that a fused operator names; parameters that are not given have the standard's
    defaults.
    """
    if name in ("", "Identity"):
        return y
    if name == "Clip":
        return build.op("Clip", y, *(build.like(bound, like) for bound in parameters))
    if name in ("SiLU", "Silu", "Swish"):
        return build.op("Mul", y, build.op("Sigmoid", y))
    if name == "Gelu":
        return gelu(build, y, like)
    if name not in PARAMETERS:
        raise UnsupportedError(f"its activation {name!r} is not known")
    return build.op(name, y, **dict(zip(PARAMETERS[name], map(float, parameters), strict=False)))


@decomposes("FusedConv", domain=MICROSOFT)
def fused_conv(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """activation(Conv(X, W, B) + Z).  Spec: ONNX Runtime contrib operators, FusedConv."""
    x, w, b, z = [*node.inputs, None, None][:4]
    attributes = {k: attribute(node, k) for k in CONV if k in node.attributes}
    y = build.op("Conv", x, w, b, **attributes)
    y = y if z is None else build.op("Add", y, z)
    parameters = node.attributes.get_floats("activation_params", [])
    return [activated(build, y, node.attributes.get_string("activation", ""), parameters, x)]


@decomposes("FusedGemm", domain=MICROSOFT)
def fused_gemm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """activation(Gemm(A, B, C)).  Spec: ONNX Runtime contrib operators, FusedGemm."""
    attributes = {
        k: attribute(node, k) for k in ("alpha", "beta", "transA", "transB") if k in node.attributes
    }
    y = build.op("Gemm", *node.inputs, **attributes)
    return [_activated_by_attributes(build, node, y)]


def _activated_by_attributes(build: Build, node: ir.Node, y: ir.Value) -> ir.Value:
    """The activation named by `activation`, its parameters in attributes of their own."""
    name = node.attributes.get_string("activation", "")
    parameters = (attribute(node, f"activation_{k}") for k in PARAMETERS.get(name, ()))
    return activated(build, y, name, [v for v in parameters if v is not None], node.inputs[0])


@decomposes("FusedMatMul", domain=MICROSOFT)
@decomposes("TransposeMatMul", domain=MICROSOFT)
def fused_matmul(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """alpha · A' · B', each perhaps transposed.  Spec: ONNX Runtime contrib operators,
    FusedMatMul.
    """
    return [_matmul(build, node)]


@decomposes("FusedMatMulActivation", domain=MICROSOFT)
def fused_matmul_activation(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """FusedMatMul and an activation.  Spec: ONNX Runtime contrib operators,
    FusedMatMulActivation.
    """
    return [_activated_by_attributes(build, node, _matmul(build, node))]


def _matmul(build: Build, node: ir.Node) -> ir.Value:
    a, b = (_transposed(build, node, i) for i in (0, 1))
    y, alpha = build.op("MatMul", a, b), node.attributes.get_float("alpha", 1.0)
    return y if alpha == 1.0 else build.op("Mul", y, build.like(alpha, node.inputs[0]))


def _transposed(build: Build, node: ir.Node, i: int) -> ir.Value | None:
    """An operand as the product reads it.

    `transBatch` moves axis 0 behind the other batch axes, `trans` exchanges the last two; vectors
    stay.
    """
    value, letter = node.inputs[i], "AB"[i]
    swapped = bool(node.attributes.get_int(f"trans{letter}", 0))
    batch_behind = bool(node.attributes.get_int(f"transBatch{letter}", 0))
    if value is None or not (swapped or batch_behind):
        return value
    if value.shape is None:
        raise UnsupportedError(f"the rank of its input {letter} is unknown")
    axes = list(range(len(value.shape)))
    if len(axes) < 2:
        return value
    if batch_behind:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if swapped:
        axes[-2:] = axes[:-3:-1]
    return build.op("Transpose", value, perm=axes)
