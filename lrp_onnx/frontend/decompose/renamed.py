"""Contrib operators that are a standard one under another name, or two of them.

Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []


@decomposes("BiasAdd", domain=MICROSOFT)
def bias_add(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """X + bias + skip.  Spec: ONNX Runtime contrib operators, BiasAdd."""
    x, bias, skip = node.inputs
    return [build.op("Add", build.op("Add", x, bias), skip)]


@decomposes("BiasDropout", domain=MICROSOFT)
def bias_dropout(build: Build, node: ir.Node) -> Sequence[ir.Value | None]:
    """data + bias + residual: at inference nothing is dropped.

    Spec: ONNX Runtime contrib operators, BiasDropout.
    """
    data, bias, residual, ratio, training = [*node.inputs, *[None] * 3][:5]
    outputs = build.outputs(
        "Dropout", len(node.outputs), build.op("Add", data, bias), ratio, training
    )
    total = outputs[0] if residual is None else build.op("Add", outputs[0], residual)
    return [total, *outputs[1:]]


@decomposes("GatedAdd", domain=MICROSOFT)
def gated_add(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """X + Y · gate.  Spec: ONNX Runtime contrib operators, GatedAdd."""
    x, y, gate = node.inputs
    return [build.op("Add", x, build.op("Mul", y, gate))]


@decomposes("TorchEmbedding", domain=MICROSOFT)
def torch_embedding(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Rows of the weight.  Spec: ONNX Runtime contrib operators, TorchEmbedding."""
    weight, indices = node.inputs[:2]
    return [build.op("Gather", weight, indices, axis=0)]


@decomposes("ExpandDims", domain=MICROSOFT)
def expand_dims(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Unsqueeze-13 at one axis.  Spec: ONNX Runtime contrib operators, ExpandDims."""
    x, axis = node.inputs
    at = build.op("Reshape", build.op("Cast", axis, to=ir.DataType.INT64), build.ints(1))
    return [build.op("Unsqueeze", x, at)]


@decomposes("Pad", domain=MICROSOFT)
def pad(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Pad-18; the pads may be one row, the value a vector of one.

    Spec: ONNX Runtime contrib operators, Pad.
    """
    data, pads, value = [*node.inputs, None][:3]
    pads = build.op("Reshape", pads, build.ints(-1))
    if value is not None:
        value = build.op("Reshape", value, build.ints())
    attributes = {name: attribute(node, name) for name in node.attributes}
    return [build.op("Pad", data, pads, value, **attributes)]


@decomposes("GridSample", domain=MICROSOFT)
def grid_sample(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GridSample-16, or -20, which has other words for the modes.

    Spec: ONNX Runtime contrib operators, GridSample.
    """
    attributes = {name: attribute(node, name) for name in node.attributes}
    if build.opset >= 20:
        mode = attributes.get("mode", "bilinear")
        attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return [build.op("GridSample", *node.inputs, **attributes)]


@decomposes("GatherND", domain=MICROSOFT)
def gather_nd(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """GatherND-13 without batch axes.  Spec: ONNX Runtime contrib operators, GatherND."""
    data, indices = node.inputs
    return [build.op("GatherND", data, build.op("Cast", indices, to=ir.DataType.INT64))]


@decomposes("Trilu", domain=MICROSOFT)
def trilu(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Trilu-14.  Spec: ONNX Runtime contrib operators, Trilu."""
    return [build.op("Trilu", *node.inputs, upper=node.attributes.get_int("upper", 1))]
