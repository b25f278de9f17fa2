"""Padding of convolutions and pools in one form: the attribute `pads`, from sizes that are known.

SAME gives ⌈in/stride⌉ outputs: total = max((⌈in/stride⌉ − 1)·stride + reach − in, 0) with
reach = dilation·(kernel − 1) + 1, the odd element at the end for SAME_UPPER, else at the beginning.
With stride 1 that is reach − 1 whatever the size; where a size is needed that only the run knows, a
Pad computes it.  A stride that skips more than one element behind the kernel makes the total
negative before it is bounded; runtimes disagree on what that means, and it is refused.

A ConvTranspose has total = stride·(in − 1) + output_padding + reach − out, where out is
`output_shape` or, for SAME, in·stride; a total below 0 adds rows for `output_shape` and none for
SAME, as ONNX Runtime has it.

A Pad with zeros in front of a Conv is the convolution's own padding: its sums read the same zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import CHANGED, PADDING_OF
from lrp_onnx.graph.constants import array_of, sole_reader
from lrp_onnx.graph.replacement import Build
from lrp_onnx.ops.registry import find

__all__ = ["explicit_pads", "fold_pads"]


def explicit_pads(model: ir.Model) -> bool:
    """`auto_pad` and `output_shape` become `pads`; an empty bias name is dropped.

    Raises UnsupportedError for a Conv whose SAME padding runtimes read differently.
    """
    changed = False
    for node in list(model.graph):
        operator = find(node)
        if operator is None or not operator.window:
            continue
        changed |= bool({"auto_pad", "output_shape"} & set(node.attributes))
        if len(node.inputs) == 3 and node.inputs[2] is None:
            node.resize_inputs(2)
        if node.op_type == "ConvTranspose":
            _transposed(node)
        else:
            _forward(model.graph, node)
    return changed


def _ints(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return list(default if attribute is None else attribute.as_ints())


def _spatial(node: ir.Node) -> list[int | None] | None:
    """The sizes of the input's spatial axes, None for those without a number."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in list(x.shape)[2:]]


def _reach(node: ir.Node, n: int) -> list[int] | None:
    """How far each axis of the kernel spans."""
    w = node.inputs[1] if len(node.inputs) > 1 else None
    kernel = _ints(node, "kernel_shape", [])
    if not kernel and w is not None and w.shape is not None and w.shape.is_static():
        kernel = [int(size) for size in w.shape.numpy()[2:]]
    dilations = _ints(node, "dilations", [1] * n)
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)] if kernel else None


def _shared_out(totals: Sequence[int], more_at_end: bool) -> list[int]:
    """Beginnings, then ends."""
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if more_at_end else large + small


def _pop_auto_pad(node: ir.Node) -> str:
    auto = node.attributes.pop("auto_pad", None)
    return "NOTSET" if auto is None else auto.as_string()


def _set_pads(node: ir.Node, pads: Sequence[int]) -> None:
    node.attributes["pads"] = ir.AttrInt64s("pads", list(pads))


def _forward(graph: ir.Graph, node: ir.Node) -> None:
    auto, sizes = node.attributes.get("auto_pad"), _spatial(node)
    mode = "NOTSET" if auto is None else auto.as_string()
    if mode == "NOTSET":
        node.attributes.pop("auto_pad", None)
        return
    reach = None if sizes is None else _reach(node, len(sizes))
    rounds_up = node.attributes.get("ceil_mode")
    if sizes is None or reach is None or (rounds_up is not None and rounds_up.as_int()):
        return
    if mode == "VALID":
        del node.attributes["auto_pad"]
        _set_pads(node, [0] * 2 * len(sizes))
        return
    strides = _ints(node, "strides", [1] * len(sizes))
    totals = [_total(n, s, r) for n, s, r in zip(sizes, strides, reach, strict=True)]
    if any(map(_skips, totals, strides, reach)):
        if node.op_type == "Conv":
            raise UnsupportedError(
                f"node {node.name!r} (Conv): runtimes disagree on auto_pad {mode} where the stride "
                "skips elements. Export the model with pads."
            )
        return
    known = [max(t, 0) for t in totals if t is not None]
    if len(known) == len(totals):
        del node.attributes["auto_pad"]
        _set_pads(node, _shared_out(known, mode == "SAME_UPPER"))
    elif node.op_type == "Conv":
        del node.attributes["auto_pad"]
        _set_pads(node, [0] * 2 * len(sizes))
        _pad_at_run_time(graph, node, strides, reach, mode == "SAME_UPPER")


def _total(size: int | None, stride: int, reach: int) -> int | None:
    """How far the last window reaches beyond the input; None if only the run knows."""
    if size is None:
        return reach - 1 if stride == 1 else None
    return (-(-size // stride) - 1) * stride + reach - size


def _skips(total: int | None, stride: int, reach: int) -> bool:
    """Whether the padding is or may be so far below 0 that some runtimes start behind the start."""
    return reach + 1 < stride and (total is None or total < -1)


def _pad_at_run_time(
    graph: ir.Graph, node: ir.Node, strides: list[int], reach: list[int], more_at_end: bool
) -> None:
    """Put a Pad in front, of max(`_total`, 0) from the sizes that the run knows."""
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    build, rank = Build(graph, node, "pads"), len(strides)

    def emit(op_type: str, *inputs: ir.Value | Sequence[int], **attributes: int) -> ir.Value:
        values = [v if isinstance(v, ir.Value) else build.ints(*v) for v in inputs]
        return build.op(op_type, *values, **attributes)

    size = emit("Shape", x, start=2)
    windows = emit("Div", emit("Add", size, [s - 1 for s in strides]), strides)
    read = emit("Mul", emit("Sub", windows, [1] * rank), strides)
    total = emit("Max", emit("Sub", emit("Add", read, reach), size), [0] * rank)
    small = emit("Div", total, [2] * rank)
    large = emit("Sub", total, small)
    begin, end = (small, large) if more_at_end else (large, small)
    pads = emit("Concat", [0, 0], begin, [0, 0], end, axis=0)
    padded = emit("Pad", x, pads)
    padded.type, padded.shape = x.type, ir.Shape([*x.shape[:2], *[None] * rank])
    for new in build.nodes:
        new.metadata_props[PADDING_OF] = node.name or ""
    build.insert_before(node)
    node.replace_input_with(0, padded)


def _transposed(node: ir.Node) -> None:
    sizes, shape = _spatial(node), node.attributes.get("output_shape")
    auto = node.attributes.get("auto_pad")
    mode = "NOTSET" if auto is None else auto.as_string()
    reach = None if sizes is None else _reach(node, len(sizes))
    if sizes is None or reach is None:
        return
    n = len(sizes)
    if shape is None and mode in ("NOTSET", "VALID"):
        _pop_auto_pad(node)
        _set_pads(node, _ints(node, "pads", [0] * 2 * n) if mode == "NOTSET" else [0] * 2 * n)
        return
    strides, extra = _ints(node, "strides", [1] * n), _ints(node, "output_padding", [0] * n)
    wanted = None if shape is None else list(shape.as_ints())
    totals = [
        s * (size - 1) + e + r - out
        if wanted is not None and size is not None
        else e + r - s  # out = in·stride: the size cancels
        for size, s, e, r, out in zip(sizes, strides, extra, reach, wanted or [0] * n, strict=True)
    ]
    if wanted is not None and None in sizes:
        return
    _pop_auto_pad(node)
    node.attributes.pop("output_shape", None)
    _set_pads(node, _shared_out([max(t, 0) for t in totals], mode == "SAME_UPPER"))
    if wanted is not None:
        extra = [e + max(-t, 0) for e, t in zip(extra, totals, strict=True)]
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)


@each("Pad")
def fold_pads(view: View, pad: ir.Node) -> bool:
    """Pad with zeros → Conv, Transposes between or not, becomes the Conv with those pads."""
    amounts, moves = _zeros(pad), []
    value = pad.outputs[0]
    while amounts is not None and (reader := sole_reader(value)) is not None:
        node, position = reader
        if node.op_type == "Transpose" and not node.domain and "perm" in node.attributes:
            amounts = amounts[list(node.attributes["perm"].as_ints())]
            moves.append(node)
            value = node.outputs[0]
            continue
        own = node.op_type == "Conv" and not node.domain and position == 0
        return own and _takes_pads(view.graph, pad, moves, node, amounts)
    return False


def _zeros(pad: ir.Node) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """(begin, end) of every axis, where zeros are added and nothing is taken away."""
    mode, x = pad.attributes.get("mode"), pad.inputs[0]
    if (mode is not None and mode.as_string() != "constant") or x is None or x.shape is None:
        return None
    _, amounts, fill, axes = [*pad.inputs, None, None][:4]
    if amounts is None or not amounts.is_initializer() or amounts.const_value is None:
        return None
    filling = array_of(fill)
    if fill is not None and (filling is None or filling.any()):
        return None
    pairs = amounts.const_value.numpy().reshape(2, -1).T
    whole = np.zeros((len(x.shape), 2), np.int64)
    if axes is None:
        whole[:] = pairs
    elif axes.const_value is not None:
        whole[axes.const_value.numpy()] = pairs
    else:
        return None
    return None if (whole < 0).any() else whole


def _takes_pads(
    graph: ir.Graph,
    pad: ir.Node,
    moves: list[ir.Node],
    conv: ir.Node,
    amounts: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> bool:
    """Add the amounts to the convolution's pads, if they are all along its spatial axes; says
    whether they are.
    """
    n = len(amounts) - 2
    auto = conv.attributes.get("auto_pad")
    if amounts[:2].any() or (auto is not None and auto.as_string() != "NOTSET"):
        return False
    own = np.array(_ints(conv, "pads", [0] * 2 * n))
    _set_pads(conv, (own + amounts[2:].T.reshape(-1)).tolist())
    x = pad.inputs[0]
    assert x is not None
    pad.outputs[0].replace_all_uses_with(x)
    graph.remove(pad, safe=True)
    sizes = list(x.shape or ())
    for move in moves:
        sizes = [sizes[k] for k in move.attributes["perm"].as_ints()]
        move.outputs[0].shape = ir.Shape(sizes)
        move.outputs[0].meta[CHANGED] = True
    return True
