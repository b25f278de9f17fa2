"""Columns of x·W + b are x times these columns of W, plus those of b: no product is computed to be
cut, and each part may be computed where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import onnx_ir as ir

from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.replacement import Build, take_place
from lrp_onnx.ops.operands import LAST

__all__ = ["part_product"]

Columns = tuple[ir.Value, int, int]
"""What takes columns of a product, the first of them, and the one behind the last."""


def part_product(build: Build, node: ir.Node) -> bool:
    """Whether a product of rows with a weight was replaced by the parts that are read of it.

    build: collects nodes that compute the parts of the weight, outside the body.
    """
    if node.op_type not in ("Gemm", "MatMul") or node.outputs[0].is_graph_output():
        return False
    x, w, *bias = node.inputs
    readers = [user for user, _ in node.outputs[0].uses()]
    rows, body = node.outputs[0].shape, node.graph
    if w is None or w.shape is None or len(w.shape) != 2 or _is_made_in(w, body):
        return False
    if rows is None or len(rows) != 2 or any(_is_no_row(b, rows[1], body) for b in bias):
        return False
    taken = [columns for user in readers for columns in _columns(user)]
    if not body or None in taken or len(taken) < 2:
        return False
    axis = 0 if node.attributes.get_int("transB", 0) else 1
    for value, first, last in filter(None, taken):
        cut = [(w, axis), *((b, len(b.shape or ()) - 1) for b in bias if b is not None)]
        parts = [
            build.op("Slice", v, build.ints(first), build.ints(last), build.ints(k)) for v, k in cut
        ]
        reader = value.producer()
        assert reader is not None
        inside = Build(None, node, str(first))
        (product,) = inside.copy(node, [x, *parts], like=value)
        inside.insert_before(reader)
        take_place(value, product)
    for user in dict.fromkeys(readers):
        body.remove(user, safe=True)
    body.remove(node, safe=True)
    return True


def _is_made_in(value: ir.Value, body: object) -> bool:
    maker = value.producer()
    return (value.is_graph_input() and value.graph is body) or (
        maker is not None and maker.graph is body
    )


def _is_no_row(bias: ir.Value | None, size: object, body: object) -> bool:
    """Whether a bias is another than one number for each column."""
    if bias is None:
        return False
    shape = bias.shape
    return shape is None or not len(shape) or shape[-1] != size or _is_made_in(bias, body)


def _columns(node: ir.Node) -> Iterator[Columns | None]:
    """The columns that each result of a Slice or Split is; None for anything else."""
    if node.op_type == "Split" and node.attributes.get_int("axis", 0) in (1, -1):
        sizes = [v.shape[1] if v.shape is not None else None for v in node.outputs]
        ends = [0]
        for size in sizes:
            if not isinstance(size, int):
                yield None
                return
            ends.append(ends[-1] + size)
        yield from ((v, *k) for v, k in zip(node.outputs, pairwise(ends), strict=True))
        return
    axes, first, last, step = (
        constant_ints(node.inputs[k]) if k < len(node.inputs) else [1] for k in (3, 1, 2, 4)
    )
    if node.op_type != "Slice" or axes not in ([1], [-1]) or step != [1] or not first or not last:
        yield None
        return
    size = node.inputs[0].shape[1] if node.inputs[0] and node.inputs[0].shape else None
    if not isinstance(size, int):
        yield None
        return
    begin, end, _ = slice(first[0], min(last[0], LAST)).indices(size)
    yield node.outputs[0], begin, end
