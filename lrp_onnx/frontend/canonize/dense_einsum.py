"""An Einsum of activations and a weight that is a dense layer becomes a MatMul.

With rows b, contracted axes c and outputs o in any order, `b…c…, c…o… -> b…o…` is a product of
matrices: the axes c of both flattened, and o of the weight.  Keras writes its attention so, others
the patches of a picture.  Then a bias behind it is the layer's, as behind any other.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import CHANGED
from lrp_onnx.graph.attributes import einsum_labels
from lrp_onnx.graph.replacement import Build

__all__ = ["dense_einsums"]


@each("Einsum")
def dense_einsums(view: View, node: ir.Node) -> bool:
    """Write such as Reshape, MatMul and Reshape."""
    weights = [k for k, v in enumerate(node.inputs) if v in view.constants]
    return len(node.inputs) == 2 and len(weights) == 1 and _write(node, weights[0])


def _write(node: ir.Node, at: int) -> bool:
    x, w, y = node.inputs[1 - at], node.inputs[at], node.outputs[0]
    terms, of_y = einsum_labels(node)
    of_x, of_w = terms[1 - at], terms[at]
    rows = "".join(c for c in of_x if c in of_y and c not in of_w)
    inner = "".join(c for c in of_x if c in of_w and c not in of_y)
    outer = "".join(c for c in of_w if c in of_y and c not in of_x)
    own = ({*rows, *inner}, {*inner, *outer}, {*rows, *outer})
    if [len(of_x), len(of_w), len(of_y)] != [*map(len, own)] or not rows or not inner or not outer:
        return False
    if x is None or w is None or x.shape is None or w.shape is None or y.shape is None:
        return False
    sizes = dict(zip(of_w, w.shape, strict=True))
    if not all(isinstance(n, int) for n in sizes.values()):
        return False
    if any(c in inner and n != sizes[c] for c, n in zip(of_x, [*x.shape], strict=True)):
        return False  # repeated along the axis, for all that is known
    build = Build(node.graph if isinstance(node.graph, ir.Graph) else None, node)
    x, w = _ordered(build, x, of_x, rows + inner), _ordered(build, w, of_w, inner + outer)
    m, n = (prod(int(str(sizes[c])) for c in labels) for labels in (inner, outer))
    if len(w.shape or ()) > 2:
        w = _reshaped(build, w, [m, n])
    ahead = [*(x.shape or ())][: len(rows)]
    if len(inner) > 1:
        x = _reshaped(build, x, [*ahead, m])
    y = build.op("MatMul", x, w, like=x, named=node.name)
    y.shape = ir.Shape([*ahead, n])
    if len(outer) > 1:
        product = y
        y = _reshaped(build, y, [*ahead, *(sizes[c] for c in outer)])
        product.meta[CHANGED] = y.producer()  # the model has its elements in this shape
    build.replace(_ordered(build, y, rows + outer, of_y))
    return True


def _ordered(build: Build, x: ir.Value, labels: str, wanted: str) -> ir.Value:
    """With its axes in another order."""
    if labels == wanted:
        return x
    sizes = dict(zip(labels, x.shape or (), strict=True))
    y = build.op("Transpose", x, perm=[labels.index(c) for c in wanted], like=x)
    y.shape = ir.Shape([sizes[c] for c in wanted])
    return y


def _reshaped(build: Build, x: ir.Value, sizes: list[int | ir.SymbolicDim]) -> ir.Value:
    """With these sizes, of which the unknown ones stay where they are."""
    y = build.op("Reshape", x, build.ints(*(n if isinstance(n, int) else 0 for n in sizes)), like=x)
    y.shape = ir.Shape(sizes)
    return y
