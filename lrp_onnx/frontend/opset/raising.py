"""Operators whose meaning or spelling changed between opset 7 and 18: each in its form at 18.

Every other standard operator means the same at 18 as before; its later versions only took more
element types, more broadcasting or further attributes whose defaults are the old behavior. Where
old specifications left a choice open, the one ONNX Runtime makes is kept: the nearest pixel of
Resize-10 (the one before in an enlarged axis, the one after in a shrunk one), negative indices of
OneHot-9, the padding side of an automatically padded ConvTranspose-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset.scope import Rewrite, Scope, label, pop, require_valid, trim

__all__ = ["RAISE", "raised"]


def raised(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Return the nodes that compute at opset 18 what `node` computes at the model's opset.

    Raises ModelError where opset 18 has no form for it.
    """
    version, rewrite = RAISE.get(node.op_type, (0, None))
    if rewrite is None or scope.opset >= version:
        return [node]
    require_valid(node, scope.opset)
    return rewrite(node, scope)


def attributes_as_inputs(*names: str) -> Rewrite:
    """Return the rewriting that moves integer attributes to int64 inputs."""

    def rewrite(node: NodeProto, scope: Scope) -> list[NodeProto]:
        for name in names:
            value = pop(node, name)
            integers = [value] if isinstance(value, int) else value
            node.input.append("" if value is None else scope.integers(node, name, integers))
        return _trimmed(node)

    return rewrite


def split(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Sizes become an input (13); equal parts must say how many (18)."""
    sizes = pop(node, "split")
    if sizes is not None:
        node.input.append(scope.integers(node, "split", sizes))
    elif len(trim(node.input)) == 1:
        node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    return _trimmed(node)


def pad(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Pads and value become inputs (11)."""
    node.input.append(scope.integers(node, "pads", pop(node, "pads")))
    value = pop(node, "value", 0.0)
    if value:
        node.input.append(scope.scalar(node, "value", value, node.input[0]))
    return [node]


def clip(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Bounds become inputs (11); one that the element type cannot reach is none."""
    for name in ("min", "max"):
        value = pop(node, name)
        element_type = scope.element_type(node.input[0]) or TensorProto.FLOAT
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        reach = np.inf if value is None else float(np.finfo(dtype).max)
        outside = value is None or (value <= -reach if name == "min" else value >= reach)
        node.input.append("" if outside else scope.scalar(node, name, value, node.input[0]))
    return _trimmed(node)


def dropout(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """The ratio, unused when predicting, goes (12); what the mask held then was nowhere defined."""
    if any(mask in scope.shared.read for mask in node.output[1:]):
        raise ModelError(f"{label(node)}: its mask is read, which only opset 12 gave a meaning")
    pop(node, "ratio")
    del node.output[1:]
    return [node]


def batch_normalization(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Statistics per element (`spatial = 0`, gone at 9) are spelled out; outputs meant training."""
    spatial = pop(node, "spatial", 1)
    if len(trim(node.output)) > 1:
        if not spatial or any(name in scope.shared.read for name in node.output[3:]):
            raise ModelError(f"{label(node)}: this training form was dropped with opset 14")
        del node.output[3:]
        node.attribute.append(helper.make_attribute("training_mode", 1))
    return [node] if spatial else _normalized_per_element(node, scope)


def _normalized_per_element(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """y = (x − mean) / √(var + ε) · scale + b, all but x of shape (C, D1 … Dn)."""
    x, scale, bias, mean, variance = node.input
    epsilon = scope.scalar(node, "epsilon", pop(node, "epsilon", 1e-5), x)
    shifted = scope.node(node, "Sub", [x, mean])
    safe = scope.node(node, "Add", [variance, epsilon])
    deviation = scope.node(node, "Sqrt", [safe.output[0]])
    ratio = scope.node(node, "Div", [shifted.output[0], deviation.output[0]])
    scaled = scope.node(node, "Mul", [ratio.output[0], scale])
    last = scope.replaced(node, "Add", [scaled.output[0], bias])
    return [shifted, safe, deviation, ratio, scaled, last]


def softmax(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Until 12 everything from `axis` on was one axis. Softmax, LogSoftmax and Hardmax alike."""
    axis = pop(node, "axis", 1)
    single = _single_axis(scope.shape(node.input[0]), axis)
    if single is not None:
        node.attribute.append(helper.make_attribute("axis", single))
        return [node]
    shape = scope.node(node, "Shape", [node.input[0]])
    flat = scope.node(node, "Flatten", [node.input[0]], axis=axis)
    rows = scope.node(node, node.op_type, [flat.output[0]], axis=-1)
    # The rows keep the name: it belongs to the operator, not to the reshaping behind it.
    last = scope.replaced(node, "Reshape", [rows.output[0], shape.output[0]])
    rows.name, last.name = node.name, rows.name
    return [shape, flat, rows, last]


def _single_axis(shape: list[int | None] | None, axis: int) -> int | None:
    """Return the one axis from `axis` on that is not known to be 1 long, None if there are more."""
    if shape is None:
        return -1 if axis == -1 else None
    first = axis + len(shape) if axis < 0 else axis
    long = [position for position in range(first, len(shape)) if shape[position] != 1]
    if first == len(shape) or len(long) > 1:
        return None
    return long[0] if long else first


def upsample(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Upsample-7 and -9 are Resize over asymmetric coordinates with the nearest pixel before."""
    scales = pop(node, "scales")
    if scales is not None:
        node.input.append(scope.constant(node, "scales", np.array(scales, np.float32)))
    x, factors = node.input
    return [_resize(node, scope, x, factors, pop(node, "mode", "nearest"), "floor")]


def resize(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Resize-10 to -13 in the words of Resize-18."""
    if scope.opset == 10:
        return _resize_10(node, scope)
    if len(node.input) > 3 and node.input[3]:
        node.input[2] = ""  # an empty tensor until 12
    if pop_if(node, "coordinate_transformation_mode", "tf_half_pixel_for_nn"):
        # ⌊(i + ½)/s⌋ = ⌈(i + ½)/s − ½⌋ with halves rounded up
        if pop(node, "mode", "nearest") != "nearest" or not pop_if(node, "nearest_mode", "floor"):
            raise ModelError(
                f"{label(node)}: tf_half_pixel_for_nn, gone with opset 13, has a later "
                "form only for mode = nearest with nearest_mode = floor"
            )
        attributes = {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return [node]


def pop_if(node: NodeProto, name: str, value: str) -> bool:
    """Take a string attribute off the node if it has this value; say whether it had."""
    for position, attribute in enumerate(node.attribute):
        if attribute.name == name and attribute.s == value.encode():
            del node.attribute[position]
            return True
    return False


def _resize_10(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Enlarge, then shrink: the nearest pixel is the one before in the first, after in the last."""
    x, scales = node.input
    mode = pop(node, "mode", "nearest")
    factors = scope.value(scales)
    if mode != "nearest" or (factors is not None and (factors >= 1).all()):
        return [_resize(node, scope, x, scales, mode, "floor")]
    if factors is not None and (factors <= 1).all():
        return [_resize(node, scope, x, scales, mode, "ceil")]
    one = scope.constant(node, "one", np.ones((), np.float32))
    up = scope.node(node, "Max", [scales, one])
    down = scope.node(node, "Min", [scales, one])
    larger = _resize(scope.node(node, "Resize", [""]), scope, x, up.output[0], mode, "floor")
    smaller = _resize(node, scope, larger.output[0], down.output[0], mode, "ceil")
    return [up, down, larger, smaller]


def _resize(
    node: NodeProto, scope: Scope, x: str, scales: str, mode: str, nearest: str
) -> NodeProto:
    """Return `node` as a Resize over asymmetric coordinates."""
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":
        attributes["nearest_mode"] = nearest
    return scope.replaced(node, "Resize", [x, "", scales], **attributes)


def roi_align(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Until 15 coordinates were not shifted by half a pixel."""
    mode = helper.make_attribute("coordinate_transformation_mode", "output_half_pixel")
    node.attribute.append(mode)
    return [node]


def scatter(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Scatter-9 has been called ScatterElements since 11."""
    node.op_type = "ScatterElements"
    return [node]


def scan(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Scan-8 ran over each sample: a Scan over the batch around a Scan over the sequence."""
    lengths, *inputs = node.input
    if lengths:
        raise ModelError(f"{label(node)}: sequence lengths per sample were dropped with opset 9")
    count = pop(node, "num_scan_inputs")
    directions = pop(node, "directions", [0] * count)
    (body,) = (
        attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH
    )
    states = len(inputs) - count
    inner_inputs = [scope.fresh(f"{name}/sample") for name in inputs]
    inner_outputs = [scope.fresh(f"{name or 'scan'}/sample") for name in node.output]
    inner = scope.replaced(node, "Scan", inner_inputs, body=body, num_scan_inputs=count)
    inner.attribute.append(helper.make_attribute("scan_input_directions", directions))
    inner.output[:] = inner_outputs
    outer_body = helper.make_graph(
        [inner],
        f"{body.name}/batch",
        [_of_type(name, value) for name, value in zip(inner_inputs, body.input, strict=True)],
        [_of_type(name, value) for name, value in zip(inner_outputs, body.output, strict=True)],
    )
    outer = scope.replaced(node, "Scan", inputs, body=outer_body, num_scan_inputs=states + count)
    return [outer]


def _of_type(name: str, value: Any) -> Any:
    """A value named `name` with the element type of `value`, its shape left open."""
    return helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, None)


def _trimmed(node: NodeProto) -> list[NodeProto]:
    """Return the node without absent inputs at its end."""
    node.input[:] = trim(node.input)
    return [node]


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
