"""A compiled model of opset 18 in the words of opset 13 to 17, for runtimes that read no newer one.

What the older opset lacks and its words can say is spelled out; a node that only newer opsets have
is written out by its own function, or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.opset import FLOOR
from lrp_onnx.frontend.opset.convert import rewrite_nodes
from lrp_onnx.frontend.opset.lowering import lowered
from lrp_onnx.frontend.opset.node import Rewrite, pop, set_attributes
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["write_at"]


def write_at(model: ir.Model, opset: int) -> None:
    """Bring a compiled model from opset 18 to one of OLDER, in place.

    Raises ModelError that names every node without a form there.
    """
    forms = {name: form for name, (since, form) in FORMS.items() if since > opset}
    done: set[ir.Node] = set()

    def rewrite(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
        """Once: what is said in older words has none to be said in."""
        if node in done:
            return None
        values = lowered(build, node, opset, forms)
        done.update((node, *build.nodes))
        return values

    for value in (v for node in nodes_of(model.graph) for v in node.outputs if v.type is None):
        value.shape = None
    advice = "Choose a newer --opset, or leave it out"
    while rewrite_nodes(model, FLOOR, rewrite, opset, advice):
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model.graph.opset_imports[""] = opset
    model.ir_version = 7 if opset < 15 else 8  # the oldest formats that have all of these


def reduction(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """Axes as an attribute.  Without any the node reduces all, or where it says so (18) each
    element alone, as one of an axis of its own.
    """
    x, *named = node.inputs
    axes = constant_ints(named[0]) if any(named) else []
    if axes is None:
        raise UnsupportedError("its axes are computed")
    if pop(node, "noop_with_empty_axes", 0) and not axes:
        single = build.op("Unsqueeze", x, build.ints(-1))
        return [build.op(node.op_type, single, axes=[-1], keepdims=0, named=node.name)]
    node.resize_inputs(1)
    if axes:
        set_attributes(node, axes=axes)
    return None


def split(build: Build, node: ir.Node) -> None:
    """Into as many equal parts as there are outputs; where the last is smaller (18) by sizes."""
    count = pop(node, "num_outputs")
    x = node.inputs[0]
    if count is None or x is None:
        return
    size = None if x.shape is None else x.shape[node.attributes.get_int("axis", 0)]
    if isinstance(size, int) and size % count:
        part = -(-size // count)
        node.resize_inputs(2)
        node.replace_input_with(1, build.ints(*[part] * (count - 1), size - part * (count - 1)))


def pad(build: Build, node: ir.Node) -> None:
    """Padding of every axis (axes are an input from 18 on)."""
    if len(node.inputs) < 4 or node.inputs[3] is None:
        node.resize_inputs(min(len(node.inputs), 3))
        return
    x, axes, pads = node.inputs[0], constant_ints(node.inputs[3]), constant_ints(node.inputs[1])
    if axes is None or pads is None or x is None or x.shape is None:
        raise UnsupportedError("its axes or its padding are computed")
    rank = len(x.shape)
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[len(axes) + k]
    node.replace_input_with(1, build.ints(*before, *after))
    node.replace_input_with(3, None)
    node.resize_inputs(3)


def shape(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """A part of a shape (15) is a Slice of all of it."""
    start, end = pop(node, "start", 0), pop(node, "end")
    if start == 0 and end is None:
        return None
    whole = build.op("Shape", node.inputs[0])
    stop = build.ints(2**31 if end is None else end)
    return [build.op("Slice", whole, build.ints(start), stop, named=node.name)]


def reshape(build: Build, node: ir.Node) -> None:
    """A size 0 that is meant (14) is only in shapes of empty tensors; the older node copies the
    input's size there, which of an empty batch is 0 as well.
    """
    pop(node, "allowzero")


def cast_like(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """The Cast that it is (15)."""
    x, like = node.inputs
    if like is None or like.dtype is None:
        raise UnsupportedError("the element type of what it follows is not known")
    return [build.op("Cast", x, to=int(like.dtype), named=node.name)]


def hard_swish(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x · HardSigmoid(x) with α = 1/6 (14)."""
    gate = build.op("HardSigmoid", node.inputs[0], alpha=1 / 6, beta=0.5)
    return [build.op("Mul", node.inputs[0], gate, named=node.name)]


REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSumSquare"),
)
FORMS: Mapping[str, tuple[int, Rewrite]] = {
    **dict.fromkeys(REDUCTIONS, (18, reduction)),
    "Split": (18, split),
    "Pad": (18, pad),
    "Shape": (15, shape),
    "CastLike": (15, cast_like),
    "Reshape": (14, reshape),
    "HardSwish": (14, hard_swish),
}
"""By operator the opset from which on it means or has something new, and what says it before."""
