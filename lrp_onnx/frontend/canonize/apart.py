"""A softmax whose parts lie apart: masked behind its exponential, divided behind the product.

With d of one number a row of e, and a mask c of truth values,

    (e·V)/d = (e/d)·V,      c ? exp(s) : 0 = exp(c ? s : −∞).

The division moves only where d depends on the rows of e alone: then e/d is what normalizes e.  The
product and d may be transposed alike before they meet; it may be an Einsum, `bhqk,bkhc->bqhc`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.regions import Dominators
from lrp_onnx.graph.attributes import einsum_labels
from lrp_onnx.graph.constant_values import is_number, is_zero
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.makers import made_by, standard_nodes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.ops.registry import find

__all__ = ["bring_together"]

FARTHEST = 8
"""As many nodes make a mask at most."""


def bring_together(model: ir.Model) -> bool:
    """Mask before the exponential, and divide before the product."""
    graph = model.graph
    exponentials = standard_nodes(graph, "Exp")
    if not exponentials:
        return False
    masked = [_mask_before(graph, node) for node in exponentials]
    dominators = Dominators(graph)
    for node in standard_nodes(graph, "Einsum"):
        _write_as_product(graph, node, dominators)
    products = standard_nodes(graph, "MatMul")
    return any([*masked, *(_divide_before(graph, node, dominators) for node in products)])


def _mask_before(graph: ir.Graph, exponential: ir.Node) -> bool:
    """c ? exp(s) : 0, or exp(s) times 0 or 1."""
    reader, at = sole_reader(exponential.outputs[0]) or (None, 0)
    if reader is None or reader.domain:
        return False
    scores, y = exponential.inputs[0], reader.outputs[0]
    build = Build(graph, reader)
    if reader.op_type == "Where" and at == 1 and is_zero(reader.inputs[2]):
        seen = reader.inputs[0]
    elif reader.op_type == "Mul" and _is_binary(mask := reader.inputs[1 - at]):
        seen = build.op("Greater", mask, build.like(0.5, mask))
    else:
        return False
    if seen is None or scores is None or y.shape != scores.shape:
        return False
    low = build.like(-np.inf, scores)
    build.replace(build.op("Exp", build.op("Where", seen, scores, low), like=y))
    graph.remove(exponential, safe=True)
    return True


def _is_binary(value: ir.Value | None, left: int = FARTHEST) -> bool:
    """Whether it varies and is 0 or 1, as truth values, less than 1, moved or multiplied."""
    node = made_by(value)
    if left < 0 or node is None or not node.inputs or node.inputs[0] is None:
        return False
    operator, x = find(node), node.inputs[0]
    if node.op_type == "Cast":
        return x.dtype == ir.DataType.BOOL or _is_binary(x, left - 1)
    if node.op_type == "Sub":
        return is_number(x, 1, True) and _is_binary(node.inputs[1], left - 1)
    if node.op_type == "Mul":
        return all(_is_binary(v, left - 1) for v in node.inputs)
    return operator is not None and bool(operator.moves) and _is_binary(x, left - 1)


def _write_as_product(graph: ir.Graph, einsum: ir.Node, dominators: Dominators) -> None:
    """An Einsum behind which its first factor's sums are divided by, as MatMul."""
    reader, at = sole_reader(einsum.outputs[0]) or (None, 0)
    if reader is None or reader.op_type not in ("Div", "Mul") or len(einsum.inputs) != 2:
        return
    divisor, (terms, of_y) = reader.inputs[1 - at], einsum_labels(einsum)
    if divisor is None or len(terms) != 2:
        return
    for k in (0, 1):
        e, values = einsum.inputs[k], einsum.inputs[1 - k]
        if e is not None and e in dominators.entries(divisor):
            product = _product(graph, einsum, (e, values), (terms[k], terms[1 - k], of_y))
            if product is not None:
                product.replace(product.nodes[-1].outputs[0])
            return


def _product(
    graph: ir.Graph,
    einsum: ir.Node,
    factors: tuple[ir.Value | None, ir.Value | None],
    labels: tuple[str, str, str],
) -> Build | None:
    """The nodes of a product of matrices, the first factor as it is; None where it is none."""
    (a, b, y), build = labels, Build(graph, einsum)
    batch, row, inner = a[:-2], a[-2:-1], a[-1:]
    outer = "".join(c for c in b if c not in a)
    if len(outer) != 1 or {*b} != {*batch, inner, outer} or {*y} != {*batch, row, outer}:
        return None
    if len({*a}) != len(a) or len({*b}) != len(b) or len({*y}) != len(y) or not row:
        return None
    first, second = factors
    if first is None or second is None or first.shape is None or second.shape is None:
        return None
    sizes = dict(zip(b, second.shape, strict=True)) | dict(zip(a, first.shape, strict=True))
    before, behind = batch + inner + outer, batch + row + outer
    if before != b:
        second = build.op("Transpose", second, perm=[b.index(c) for c in before])
    z = build.op("MatMul", first, second, named=einsum.name, like=first)
    z.shape = ir.Shape([sizes[c] for c in behind])
    if behind != y:
        build.op("Transpose", z, perm=[behind.index(c) for c in y])
    return build


def _divide_before(graph: ir.Graph, product: ir.Node, dominators: Dominators) -> bool:
    """(e·V)/d, or times 1/d; also where both are transposed first."""
    (e, values), moves = product.inputs, list[ir.Node]()
    use = sole_reader(product.outputs[0])
    while use is not None and use[0].op_type == "Transpose" and not use[0].domain:
        moves.append(use[0])
        use = sole_reader(use[0].outputs[0])
    if use is None or use[0].domain or e is None or not dominators.varies(e):
        return False
    quotient, at = use
    if quotient.op_type != "Mul" and not (quotient.op_type == "Div" and at == 0):
        return False
    build, d = Build(graph, quotient), quotient.inputs[1 - at]
    if d is None or e not in dominators.entries(d):
        return False
    for move in moves[::-1]:
        d = _divisor_before(build, move, d)
    if d is None or not _one_a_row(d, e):
        return False
    weights = build.op(quotient.op_type, e, d, like=e)
    y = build.op("MatMul", weights, values, like=product.outputs[0])
    for move in moves:
        (y,) = build.copy(move, [y], like=move.outputs[0])
    build.replace(y)
    graph.remove([*moves[::-1], product], safe=True)
    return True


def _divisor_before(build: Build, move: ir.Node, d: ir.Value | None) -> ir.Value | None:
    """What a Transpose would make d of."""
    if d is None or d.shape is None:
        return None
    perm = list(move.attributes.get_ints("perm", range(len(d.shape))[::-1]))
    if len(perm) != len(d.shape):
        return None
    return build.op("Transpose", d, perm=[perm.index(axis) for axis in range(len(perm))])


def _one_a_row(d: ir.Value, e: ir.Value) -> bool:
    """Whether it has the rank of e, and size 1 along its last axis."""
    ranks = [len(v.shape) for v in (d, e) if v.shape is not None]
    return len(ranks) == 2 and ranks[0] == ranks[1] > 1 and d.shape is not None and d.shape[-1] == 1
