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
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import CHANGED, PADDING_OF
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import array_of, sole_reader
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.windows import Window, shared_out, skips, window_of
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


def _spatial(node: ir.Node) -> list[int | None] | None:
    """The sizes of the input's spatial axes, None for those without a number."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in list(x.shape)[2:]]


def _set_pads(node: ir.Node, pads: Sequence[int]) -> None:
    """Instead of what `auto_pad` says."""
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", list(pads))


def _set_totals(node: ir.Node, totals: Sequence[int], mode: str) -> None:
    """Pads of so many elements along each axis, none where the number is below 0."""
    begins, ends = zip(*(shared_out(max(t, 0), mode) for t in totals), strict=True)
    _set_pads(node, begins + ends)


def _forward(graph: ir.Graph, node: ir.Node) -> None:
    sizes = _spatial(node)
    window = window_of(node, None if sizes is None else len(sizes))
    if window.mode == "NOTSET":
        node.attributes.pop("auto_pad", None)
        return
    reach = None if sizes is None else window.reach
    if sizes is None or not reach or window.rounds_up:
        return
    strides, mode = window.strides, window.mode
    if mode == "VALID":
        _set_pads(node, [0] * 2 * len(sizes))
        return
    totals = [_total(n, s, r) for n, s, r in zip(sizes, strides, reach, strict=True)]
    if any(map(skips, totals, strides, reach)):
        if node.op_type == "Conv":
            raise UnsupportedError(
                f"node {node.name!r} (Conv): runtimes disagree on auto_pad {mode} where the stride "
                "skips elements. Export the model with pads."
            )
        return
    known = [t for t in totals if t is not None]
    if len(known) == len(totals):
        _set_totals(node, known, mode)
    elif node.op_type == "Conv":
        _set_pads(node, [0] * 2 * len(sizes))
        _pad_at_run_time(graph, node, window)


def _total(size: int | None, stride: int, reach: int) -> int | None:
    """How far the last window reaches beyond the input; None if only the run knows."""
    if size is None:
        return reach - 1 if stride == 1 else None
    return (-(-size // stride) - 1) * stride + reach - size


def _pad_at_run_time(graph: ir.Graph, node: ir.Node, window: Window) -> None:
    """Put a Pad in front, of max(`_total`, 0) from the sizes that the run knows."""
    x, strides, reach = node.inputs[0], window.strides, window.reach
    assert x is not None
    assert x.shape is not None
    assert reach is not None
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
    begin, end = (small, large) if window.mode == "SAME_UPPER" else (large, small)
    pads = emit("Concat", [0, 0], begin, [0, 0], end, axis=0)
    padded = emit("Pad", x, pads)
    padded.type, padded.shape = x.type, ir.Shape([*x.shape[:2], *[None] * rank])
    for new in build.nodes:
        new.metadata_props[PADDING_OF] = node.name or ""
    build.insert_before(node)
    node.replace_input_with(0, padded)


def _transposed(node: ir.Node) -> None:
    sizes, shape = _spatial(node), node.attributes.get("output_shape")
    window = window_of(node, None if sizes is None else len(sizes))
    reach = None if sizes is None else window.reach
    if sizes is None or not reach:
        return
    n, mode, extra = len(sizes), window.mode, window.output_padding
    if shape is None and mode in ("NOTSET", "VALID"):
        _set_pads(node, window.pads if mode == "NOTSET" else [0] * 2 * n)
        return
    wanted = None if shape is None else list(shape.as_ints())
    each = zip(sizes, window.strides, extra, reach, wanted or [0] * n, strict=True)
    totals = [
        s * (size - 1) + e + r - out
        if wanted is not None and size is not None
        else e + r - s  # out = in·stride: the size cancels
        for size, s, e, r, out in each
    ]
    if wanted is not None and None in sizes:
        return
    node.attributes.pop("output_shape", None)
    _set_totals(node, totals, mode)
    if wanted is not None:
        extra = tuple(e + max(-t, 0) for e, t in zip(extra, totals, strict=True))
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)


@each("Pad")
def fold_pads(view: View, pad: ir.Node) -> bool:
    """Pad with zeros → Conv, with axes that move, come and go between or not, becomes the Conv with
    those pads.
    """
    amounts, moves = _zeros(pad), list[ir.Node]()
    value = pad.outputs[0]
    while amounts is not None and (reader := sole_reader(value)) is not None:
        node, position = reader
        if (moved := _behind(node, [*amounts], np.zeros(2, np.int64))) is not None:
            amounts, value = np.stack(moved), node.outputs[0]
            moves.append(node)
            continue
        own = node.op_type == "Conv" and not node.domain and position == 0
        return own and _takes_pads(view.graph, pad, moves, node, amounts)
    return False


def _behind(move: ir.Node, of_axes: list[Any], of_new: object) -> list[Any] | None:
    """What is known of each axis, behind a Transpose, Unsqueeze or Squeeze; else None."""
    perm = move.attributes.get("perm")
    if move.op_type == "Transpose" and not move.domain and perm is not None:
        return [of_axes[k] for k in perm.as_ints()]
    if move.op_type not in ("Unsqueeze", "Squeeze") or move.domain or len(move.inputs) < 2:
        return None
    axes, y = constant_ints(move.inputs[1]), move.outputs[0]
    if axes is None or y.shape is None:
        return None
    if move.op_type == "Squeeze":
        gone = {k % len(of_axes) for k in axes}
        return [of for k, of in enumerate(of_axes) if k not in gone]
    added, left = {k % len(y.shape) for k in axes}, iter(of_axes)
    return [of_new if k in added else next(left) for k in range(len(y.shape))]


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
    window = window_of(conv, n)
    if amounts[:2].any() or window.mode != "NOTSET":
        return False
    _set_pads(conv, (np.array(window.pads) + amounts[2:].T.reshape(-1)).tolist())
    x = pad.inputs[0]
    assert x is not None
    pad.outputs[0].replace_all_uses_with(x)
    graph.remove(pad, safe=True)
    sizes: list[Any] | None = list(x.shape or ())
    for move in moves:
        sizes = _behind(move, sizes or [], 1)
        move.outputs[0].shape = ir.Shape(sizes or [])
        move.outputs[0].meta[CHANGED] = True
    return True
