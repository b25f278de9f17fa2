"""Operators whose meaning or spelling changed between opset 7 and 18: each in its form at 18.

Every other standard operator means the same at 18 as before; its later versions only took more
element types, more broadcasting or further attributes whose defaults are the old behavior. Where
old specifications left a choice open, the one ONNX Runtime makes is kept: the nearest pixel of
Resize-10 (the one before in an enlarged axis, the one after in a shrunk one), negative indices of
OneHot-9, the padding side of an automatically padded ConvTranspose-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.opset.node import (
    Rewrite,
    append_input,
    pop,
    require_valid,
    set_attributes,
)
from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.replacement import Build

__all__ = ["RAISE", "raised"]

Values = Sequence[ir.Value] | None


def raised(build: Build, node: ir.Node) -> Values:
    """What computes at opset 18 what `node` computes at the model's opset."""
    version, rewrite = RAISE.get(node.op_type, (0, None))
    if rewrite is None or build.opset >= version:
        return None
    require_valid(node, build.opset)
    values = rewrite(build, node)
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    return values


def attributes_as_inputs(*names: str) -> Rewrite:
    """Return the rewriting that moves integer attributes to int64 inputs."""

    def rewrite(build: Build, node: ir.Node) -> None:
        for name in names:
            value = pop(node, name)
            integers = [value] if isinstance(value, int) else value
            append_input(node, None if value is None else build.ints(*integers))

    return rewrite


def split(build: Build, node: ir.Node) -> None:
    """Sizes become an input (13); equal parts must say how many (18)."""
    sizes = pop(node, "split")
    if sizes is not None:
        append_input(node, build.ints(*sizes))
    elif not any(node.inputs[1:]):
        set_attributes(node, num_outputs=len(node.outputs))


def pad(build: Build, node: ir.Node) -> None:
    """Pads and value become inputs (11)."""
    append_input(node, build.ints(*pop(node, "pads")))
    value = pop(node, "value", 0.0)
    if value:
        append_input(node, build.like(value, node.inputs[0]))


def clip(build: Build, node: ir.Node) -> None:
    """Bounds become inputs (11); one that the element type cannot reach is none."""
    x = node.inputs[0]
    reach = float(((None if x is None else x.dtype) or ir.DataType.FLOAT).max)
    for name in ("min", "max"):
        value = pop(node, name)
        outside = value is None or (value <= -reach if name == "min" else value >= reach)
        append_input(node, None if outside else build.like(value, x))


def dropout(build: Build, node: ir.Node) -> None:
    """The ratio, unused when predicting, goes (12); what the mask held then was nowhere defined."""
    if any(map(_is_read, node.outputs[1:])):
        raise UnsupportedError("its mask is read, which only opset 12 gave a meaning")
    pop(node, "ratio")
    node.resize_outputs(1)


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def batch_normalization(build: Build, node: ir.Node) -> Values:
    """Statistics per element (`spatial = 0`, gone at 9) are spelled out; outputs meant training."""
    spatial = pop(node, "spatial", 1)
    if any(value.name for value in node.outputs[1:]):
        if not spatial or any(map(_is_read, node.outputs[3:])):
            raise UnsupportedError("this training form was dropped with opset 14")
        node.resize_outputs(3)
        set_attributes(node, training_mode=1)
    return None if spatial else _normalized_per_element(build, node)


def _normalized_per_element(build: Build, node: ir.Node) -> Values:
    """y = (x − mean) / √(var + ε) · scale + b, all but x of shape (C, D1 … Dn)."""
    x, scale, bias, mean, variance = node.inputs
    epsilon = build.like(node.attributes.get_float("epsilon", 1e-5), x)
    deviation = build.op("Sqrt", build.op("Add", variance, epsilon))
    ratio = build.op("Div", build.op("Sub", x, mean), deviation)
    return [build.op("Add", build.op("Mul", ratio, scale), bias, named=node.name)]


def softmax(build: Build, node: ir.Node) -> Values:
    """Until 12 everything from `axis` on was one axis. Softmax, LogSoftmax and Hardmax alike."""
    x, axis = node.inputs[0], pop(node, "axis", 1)
    single = None if x is None else _single_axis(x.shape, axis)
    if single is not None:
        set_attributes(node, axis=single)
        return None
    flat = build.op("Flatten", x, axis=axis)
    # the rows keep the name: it belongs to the operator, not to the reshaping behind it
    rows = build.op(node.op_type, flat, axis=-1, named=node.name)
    return [build.op("Reshape", rows, build.op("Shape", x))]


def _single_axis(shape: ir.Shape | None, axis: int) -> int | None:
    """Return the one axis from `axis` on that is not known to be 1 long, None if there are more."""
    if shape is None:
        return -1 if axis == -1 else None
    first = axis + len(shape) if axis < 0 else axis
    long = [position for position in range(first, len(shape)) if shape[position] != 1]
    if first == len(shape) or len(long) > 1:
        return None
    return long[0] if long else first


def upsample(build: Build, node: ir.Node) -> Values:
    """Upsample-7 and -9 are Resize over asymmetric coordinates with the nearest pixel before."""
    scales = pop(node, "scales")
    if scales is not None:
        append_input(node, build.constant(scales, ir.DataType.FLOAT))
    x, factors = node.inputs
    return [_resize(build, x, factors, pop(node, "mode", "nearest"), "floor", node.name)]


def resize(build: Build, node: ir.Node) -> Values:
    """Resize-10 to -13 in the words of Resize-18."""
    if build.opset == 10:
        return _resize_10(build, node)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        node.replace_input_with(2, None)  # an empty tensor until 12
    attributes = node.attributes
    if attributes.get_string("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        # ⌊(i + ½)/s⌋ = ⌈(i + ½)/s − ½⌋ with halves rounded up
        modes = attributes.get_string("mode", "nearest"), attributes.get_string("nearest_mode")
        if modes != ("nearest", "floor"):
            raise UnsupportedError(
                "tf_half_pixel_for_nn, gone with opset 13, has a later form only for mode = "
                "nearest with nearest_mode = floor"
            )
        del attributes["coordinate_transformation_mode"]
        set_attributes(node, mode="nearest", nearest_mode="round_prefer_ceil")
    return None


def _resize_10(build: Build, node: ir.Node) -> Values:
    """Enlarge, then shrink: the nearest pixel is the one before in the first, after in the last."""
    x, scales = node.inputs
    mode, factors = pop(node, "mode", "nearest"), array_of(scales)
    if mode != "nearest" or (factors is not None and (factors >= 1).all()):
        return [_resize(build, x, scales, mode, "floor", node.name)]
    if factors is not None and (factors <= 1).all():
        return [_resize(build, x, scales, mode, "ceil", node.name)]
    one = build.constant(np.float32(1), ir.DataType.FLOAT)
    larger = _resize(build, x, build.op("Max", scales, one), mode, "floor")
    return [_resize(build, larger, build.op("Min", scales, one), mode, "ceil", node.name)]


def _resize(
    build: Build,
    x: ir.Value | None,
    scales: ir.Value | None,
    mode: str,
    nearest: str,
    named: str | None = None,
) -> ir.Value:
    """A Resize over asymmetric coordinates."""
    rounding = {"nearest_mode": nearest} if mode == "nearest" else {}
    return build.op(
        "Resize",
        *(x, None, scales),
        named=named,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        **rounding,
    )


def roi_align(build: Build, node: ir.Node) -> None:
    """Until 15 coordinates were not shifted by half a pixel."""
    set_attributes(node, coordinate_transformation_mode="output_half_pixel")


def scatter(build: Build, node: ir.Node) -> None:
    """Scatter-9 has been called ScatterElements since 11."""
    node.op_type = "ScatterElements"


def scan(build: Build, node: ir.Node) -> Values:
    """Scan-8 ran over each sample: a Scan over the batch around a Scan over the sequence."""
    lengths, *inputs = node.inputs
    if lengths is not None:
        raise UnsupportedError("sequence lengths per sample were dropped with opset 9")
    count, body = pop(node, "num_scan_inputs"), pop(node, "body")
    directions = pop(node, "directions", [0] * count)
    parts = [
        ir.Value(name=f"{build.prefix}/sample_{k}", type=value.type)
        for k, value in enumerate(body.inputs)
    ]
    inner, results = Build(None, node, "batch"), len(node.outputs)
    of_sample = inner.outputs(
        "Scan",
        results,
        *parts,
        body=body,
        num_scan_inputs=count,
        scan_input_directions=directions,
    )
    for value, like in zip(of_sample, body.outputs, strict=True):
        value.type = like.type
    outer = ir.Graph(parts, of_sample, nodes=inner.nodes, name=f"{body.name}/batch")
    return build.outputs(
        "Scan", results, *inputs, named=node.name, body=outer, num_scan_inputs=len(inputs)
    )


AXES = attributes_as_inputs("axes")
REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"]

RAISE: Mapping[str, tuple[int, Rewrite]] = {
    "BatchNormalization": (14, batch_normalization),
    "Clip": (11, clip),
    "Dropout": (12, dropout),
    "Hardmax": (13, softmax),
    "LogSoftmax": (13, softmax),
    "Pad": (11, pad),
    "ReduceSum": (13, AXES),
    **{f"Reduce{name}": (18, AXES) for name in REDUCTIONS},
    "Resize": (18, resize),
    "RoiAlign": (16, roi_align),
    "Scan": (9, scan),
    "Scatter": (11, scatter),
    "Slice": (10, attributes_as_inputs("starts", "ends", "axes")),
    "Softmax": (13, softmax),
    "Split": (18, split),
    "Squeeze": (13, AXES),
    "TopK": (10, attributes_as_inputs("k")),
    "Unsqueeze": (13, AXES),
    "Upsample": (10, upsample),
}
"""Operator → first opset whose form opset 18 still has, and the way there from any earlier one."""
