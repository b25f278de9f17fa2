"""A one-hot row times a table is a lookup: relevance goes to the ids, as through Gather.

JAX and TensorFlow write it as Equal(ids, 0 … V − 1) → Cast → MatMul, others as OneHot → MatMul, by
Where(…, 1, 0), as a Gather of the unit matrix, or as a product that is broadcast and summed up.
The product stays in the forward: an id outside of the table gives zeros there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.replacement import Build, take_place

__all__ = ["lookups"]


def lookups(model: ir.Model) -> bool:
    """Explain each such product by the Gather of the rows."""
    products = [n for n in model.graph if n.op_type in ("MatMul", "Gemm") and not n.domain]
    return sum(_explained(model.graph, node) for node in products) > 0


def _explained(graph: ir.Graph, product: ir.Node) -> bool:
    table, turned = product.inputs[1], product.attributes.get_int("transB", 0)
    plain = product.op_type == "MatMul" or _is_plain(product)
    if table is None or not table.is_initializer() or len(table.shape or ()) != 2 or not plain:
        return False
    y, build = product.outputs[0], Build(graph, product, "lookup")
    ids = _ids(build, product.inputs[0], table.shape[1 if turned else 0] if table.shape else 0)
    if ids is None:
        return False
    rows = build.op("Transpose", table, perm=[1, 0]) if turned else table
    row = build.op("Gather", rows, ids, axis=0, like=y)
    explained = build.explained(y, row)
    graph.insert_after(product, build.nodes)
    take_place(y, explained, left="forward")
    build.nodes[-1].replace_input_with(0, y)
    return True


def _is_plain(gemm: ir.Node) -> bool:
    """Whether it is a product alone."""
    scaled = gemm.attributes.get_float("alpha", 1.0) != 1
    biased = len(gemm.inputs) > 2 and gemm.inputs[2] is not None
    return not (scaled or biased) and gemm.attributes.get_int("transA", 0) == 0


def _ids(build: Build, rows: ir.Value | None, size: object) -> ir.Value | None:
    """The ids whose one-hot rows these are."""
    if (unit := _of_unit_matrix(rows, size)) is not None:
        return unit
    node = None if rows is None else rows.producer()
    if node is not None and node.op_type == "OneHot" and not node.domain:
        values = array_of(node.inputs[2])
        plain = values is not None and values.tolist() == [0, 1]
        depth = node.inputs[1].const_value if node.inputs[1] is not None else None
        sized = depth is not None and int(depth.numpy().reshape(-1)[0]) == size
        last = node.attributes.get_int("axis", -1) in (-1, len(rows.shape or ()) - 1 if rows else 0)
        return node.inputs[0] if plain and sized and last else None
    matches = None if node is None else _truth(node)
    equal = None if matches is None else matches.producer()
    while equal is not None and equal.op_type == "Not" and not equal.domain:
        again = None if equal.inputs[0] is None else equal.inputs[0].producer()
        if again is None or again.op_type != "Not" or again.inputs[0] is None:
            return None
        equal = again.inputs[0].producer()
    if equal is None or equal.op_type != "Equal" or equal.domain:
        return None
    for column, numbers in (equal.inputs, equal.inputs[::-1]):
        if column is not None and _counts_to(numbers, size) and (column.shape or [0])[-1] == 1:
            ids = build.op("Squeeze", column, build.ints(-1))
            ids.type, ids.shape = column.type, ir.Shape([*(column.shape or ())][:-1])
            return ids
    return None


def _truth(node: ir.Node) -> ir.Value | None:
    """The truth values that a node makes 1 and 0 of."""
    if node.op_type == "Cast" and not node.domain:
        return node.inputs[0]
    numbers = [array_of(v) for v in node.inputs[1:]] if node.op_type == "Where" else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return node.inputs[0] if (numbers[0] == 1).all() and not numbers[1].any() else None


def _of_unit_matrix(rows: ir.Value | None, size: object) -> ir.Value | None:
    """The ids of the rows of a unit matrix."""
    node = None if rows is None else rows.producer()
    if node is None or node.domain or node.op_type != "Gather":
        return None
    table = array_of(node.inputs[0])
    if node.attributes.get_int("axis", 0) or table is None or table.shape != (size, size):
        return None
    return node.inputs[1] if (table == np.eye(len(table))).all() else None


def _counts_to(value: ir.Value | None, size: object) -> bool:
    """Whether it is 0, 1, … size − 1 along its last axis."""
    tensor = None if value is None or not value.is_initializer() else value.const_value
    if tensor is None or tensor.size != size or tensor.shape[-1] != size:
        return False
    return bool((tensor.numpy().reshape(-1) == np.arange(tensor.size)).all())
