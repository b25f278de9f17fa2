"""An Einsum of activations and a weight that is a dense layer becomes a MatMul.

With contracted axes c last in x, `b…c…, c…o… -> b…o…` is a product of matrices: the axes c of both
flattened, and o of the weight.  Keras writes its attention so.  Then a bias behind it is the
layer's, as behind any other.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import CHANGED
from lrp_onnx.graph.replacement import Build, attribute

__all__ = ["dense_einsums"]


@each("Einsum")
def dense_einsums(view: View, node: ir.Node) -> bool:
    """Write such as Reshape, MatMul and Reshape."""
    weights = [k for k, v in enumerate(node.inputs) if v in view.constants]
    return len(node.inputs) == 2 and len(weights) == 1 and _write(node, weights[0])


def _write(node: ir.Node, at: int) -> bool:
    x, w, y = node.inputs[1 - at], node.inputs[at], node.outputs[0]
    terms, _, of_y = attribute(node, "equation").replace(" ", "").partition("->")
    of_x, of_w = (terms.split(",")[k] for k in (1 - at, at))
    rows = "".join(c for c in of_x if c in of_y and c not in of_w)
    inner = "".join(c for c in of_x if c in of_w and c not in of_y)
    outer = "".join(c for c in of_w if c in of_y and c not in of_x)
    if (rows + inner, rows + outer) != (of_x, of_y) or len(of_w) != len({*inner, *outer}):
        return False
    if x is None or w is None or x.shape is None or w.shape is None or y.shape is None:
        return False
    sizes = dict(zip(of_w, w.shape, strict=True))
    if not (rows and inner and outer) or not all(isinstance(n, int) for n in sizes.values()):
        return False
    build = Build(node.graph if isinstance(node.graph, ir.Graph) else None, node)
    perm = [of_w.index(c) for c in inner + outer]
    if perm != sorted(perm):
        w = build.op("Transpose", w, perm=perm, like=w)
        w.shape = ir.Shape([sizes[c] for c in inner + outer])
    m, n = (prod(int(str(sizes[c])) for c in labels) for labels in (inner, outer))
    if len(w.shape or ()) > 2:
        w = _reshaped(build, w, [m, n])
    ahead = [*x.shape][: len(rows)]
    if len(inner) > 1:
        x = _reshaped(build, x, [*ahead, m])
    y = build.op("MatMul", x, w, like=x, named=node.name)
    y.shape = ir.Shape([*ahead, n])
    if len(outer) > 1:
        product = y
        y = _reshaped(build, y, [*ahead, *(sizes[c] for c in outer)])
        product.meta[CHANGED] = y.producer()  # the model has its elements in this shape
    build.replace(y)
    return True


def _reshaped(build: Build, x: ir.Value, sizes: list[int | ir.SymbolicDim]) -> ir.Value:
    """With these sizes, of which the unknown ones stay where they are."""
    y = build.op("Reshape", x, build.ints(*(n if isinstance(n, int) else 0 for n in sizes)), like=x)
    y.shape = ir.Shape(sizes)
    return y
