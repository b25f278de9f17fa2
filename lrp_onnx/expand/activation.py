"""Activations of other domains, spelled by standard ones."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.expand.build import Build, attribute
from lrp_onnx.expand.registry import expands

__all__: list[str] = []


@expands("QuickGelu", domain="com.microsoft")
def quick_gelu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x · σ(alpha · x).  Spec: ONNX Runtime contrib operators, QuickGelu."""
    x = node.inputs[0]
    slope = build.op("Mul", x, build.like(attribute(node, "alpha", 1.702), x))
    return [build.op("Mul", x, build.op("Sigmoid", slope))]
