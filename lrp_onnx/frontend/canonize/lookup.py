"""A one-hot row times a table is a lookup: relevance goes to the ids, as through Gather.

JAX and TensorFlow write it as Equal(ids, 0 … V − 1) → Cast → MatMul, others as OneHot → MatMul, by
Where(…, 1, 0), as a Gather of the unit matrix, or as a product that is broadcast and summed up.
One-hot along another axis, it is turned, or the table is multiplied from the left.
The product stays in the forward: an id outside of the table gives zeros there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.makers import either_way, inputs_by, made_by
from lrp_onnx.graph.replacement import Build, take_place

__all__ = ["lookups"]


@each("MatMul", "Gemm")
def lookups(view: View, product: ir.Node) -> bool:
    """Explain such a product by the Gather of the rows."""
    plain = product.op_type == "MatMul" or _is_plain(product)
    first = product.op_type == "MatMul" and _is_table(product.inputs[0])
    rows, table = product.inputs[:2][::-1] if first else product.inputs[:2]
    if table is None or not _is_table(table) or not plain:
        return False
    turned = first or product.attributes.get_int("transB", 0) == 1
    y, build = product.outputs[0], Build(view.graph, product, "lookup")
    ids = _ids(build, rows, (table.shape or ())[1 if turned else 0], -2 if first else -1)
    if ids is None:
        return False
    of_ids = build.op("Transpose", table, perm=[1, 0]) if turned else table
    last, order = y, [*range(len(y.shape or ()))]
    if first:
        order[-2:] = order[:-3:-1]
        last = build.op("Transpose", y, perm=order)
        last.type, last.shape = y.type, ir.Shape([(y.shape or ())[k] for k in order])
    reader = len(build.nodes) - 1 if first else -1
    explained = build.explained(last, build.op("Gather", of_ids, ids, axis=0, like=last))
    explained.type, explained.shape = last.type, last.shape
    result = build.op("Transpose", explained, perm=order, like=y) if first else explained
    view.graph.insert_after(product, build.nodes)
    take_place(y, result, left="forward")
    build.nodes[reader].replace_input_with(0, y)
    return True


def _is_table(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and len(value.shape or ()) == 2


def _is_plain(gemm: ir.Node) -> bool:
    """Whether it is a product alone."""
    scaled = gemm.attributes.get_float("alpha", 1.0) != 1
    biased = len(gemm.inputs) > 2 and gemm.inputs[2] is not None
    return not (scaled or biased) and gemm.attributes.get_int("transA", 0) == 0


def _ids(build: Build, rows: ir.Value | None, size: object, axis: int) -> ir.Value | None:
    """The ids whose one-hot rows these are, along an axis counted from the end."""
    node, rank = made_by(rows), len((rows and rows.shape) or ())
    if node is None or rank < -axis:
        return None
    if node.op_type == "Transpose":
        return _turned(build, node, size, axis % rank)
    if axis == -1 and (unit := _of_unit_matrix(rows, size)) is not None:
        return unit
    if node.op_type == "OneHot":
        values = array_of(node.inputs[2])
        plain = values is not None and values.tolist() == [0, 1]
        depth = node.inputs[1].const_value if node.inputs[1] is not None else None
        sized = depth is not None and int(depth.numpy().reshape(-1)[0]) == size
        along = node.attributes.get_int("axis", -1) % rank == axis % rank
        return node.inputs[0] if plain and sized and along else None
    matches = _truth(node)
    while negated := inputs_by(matches, "Not"):
        (matches,) = inputs_by(negated[0], "Not") or (None,)
    for column, numbers in either_way(inputs_by(matches, "Equal")):
        sizes = [] if column is None else [*(column.shape or ())]
        if len(sizes) == rank and sizes[axis] == 1 and _counts_to(numbers, size, axis):
            return _squeezed(build, column, axis)
    return None


def _turned(build: Build, transpose: ir.Node, size: object, axis: int) -> ir.Value | None:
    """The ids of one-hot rows whose axes a node exchanges."""
    rows = transpose.inputs[0]
    rank = len((rows and rows.shape) or ())
    perm = transpose.attributes.get_ints("perm", range(rank)[::-1])
    along = perm[axis]
    ids = _ids(build, rows, size, along - rank)
    order = [k - (k > along) for k in perm if k != along]
    if ids is None or order == sorted(order):
        return ids
    turned = build.op("Transpose", ids, perm=order)
    turned.type, turned.shape = ids.type, ir.Shape([(ids.shape or ())[k] for k in order])
    return turned


def _squeezed(build: Build, column: ir.Value | None, axis: int) -> ir.Value:
    """Without its axis of size 1."""
    assert column is not None
    ids, sizes = build.op("Squeeze", column, build.ints(axis)), [*(column.shape or ())]
    del sizes[axis]
    ids.type, ids.shape = column.type, ir.Shape(sizes)
    return ids


def _truth(node: ir.Node) -> ir.Value | None:
    """The truth values that a node makes 1 and 0 of."""
    if node.op_type == "Cast":
        return node.inputs[0]
    numbers = [array_of(v) for v in node.inputs[1:]] if node.op_type == "Where" else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return node.inputs[0] if (numbers[0] == 1).all() and not numbers[1].any() else None


def _of_unit_matrix(rows: ir.Value | None, size: object) -> ir.Value | None:
    """The ids of the rows of a unit matrix."""
    node = made_by(rows, "Gather")
    if node is None:
        return None
    table = array_of(node.inputs[0])
    if node.attributes.get_int("axis", 0) or table is None or table.shape != (size, size):
        return None
    return node.inputs[1] if (table == np.eye(len(table))).all() else None


def _counts_to(value: ir.Value | None, size: object, axis: int) -> bool:
    """Whether it is 0, 1, … size − 1 along an axis counted from the end."""
    tensor = None if value is None or not value.is_initializer() else value.const_value
    if tensor is None or tensor.size != size or len(tensor.shape) < -axis:
        return False
    counts = (tensor.numpy().reshape(-1) == np.arange(tensor.size)).all()
    return bool(counts) and tensor.shape[axis] == size
