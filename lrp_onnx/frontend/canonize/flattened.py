"""A dense layer over rows that are the places of all samples is one over the places of each.

    reshape(x, [N·T, C])·W + b = reshape(x·W + b, [N·T, D]),

as Keras writes Dense over more than two axes, and addmm its layers.  Axis 0 counts samples then, as
everywhere: a rule that looks at a whole sample, as ε = 0.25·rms(z), sees all of it.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import CHANGED
from lrp_onnx.graph.constants import constants_of, stored
from lrp_onnx.graph.replacement import Build
from lrp_onnx.ops.registry import find

__all__ = ["layers_of_places"]


def layers_of_places(model: ir.Model) -> bool:
    """Write such layers as MatMul of the unflattened rows."""
    graph, places, changed = model.graph, dict[ir.Value, ir.Value](), False
    constants = constants_of(graph)
    for node in list(graph):
        y, x = node.outputs[0], node.inputs[0] if node.inputs else None
        flat = [v for v in node.inputs if v in places]
        if node.op_type == "Reshape" and x is not None and _flattens(x, y):
            places[y] = x
        elif flat and flat[0] is not None and _rank(y) == 2:
            operator = find(node)
            if node.op_type in ("MatMul", "Gemm") and x is flat[0] and node.inputs[1] in constants:
                changed |= _written(graph, node, places)
            elif node.op_type == "LayerNormalization" or (operator and operator.elementwise):
                places[y] = places[flat[0]]
    return changed


def _rank(value: ir.Value) -> int:
    return -1 if value.shape is None else len(value.shape)


def _flattens(x: ir.Value, y: ir.Value) -> bool:
    """Whether it joins the samples' axis and others, and keeps the last."""
    if x.shape is None or y.shape is None or _rank(x) < 3 or _rank(y) != 2:
        return False
    last, rows = [*x.shape][-1], [*x.shape][:-1]
    return isinstance(last, int) and last == y.shape[1] and any(n != 1 for n in rows[1:])


def _written(graph: ir.Graph, layer: ir.Node, places: dict[ir.Value, ir.Value]) -> bool:
    """Write one layer over its places; says whether it could."""
    (x, weight), y = layer.inputs[:2], layer.outputs[0]
    turned = layer.attributes.get_int("transB", 0)
    scaled = {"alpha", "beta", "transA"} & {k for k, a in layer.attributes.items() if a.value}
    if scaled or x is None or weight is None or _rank(weight) != 2:
        return False
    if y.shape is None or not isinstance(y.shape[-1], int):
        return False
    matrix, bias = stored(weight) if turned else None, (*layer.inputs[2:], None)[0]
    if (turned and matrix is None) or (bias is not None and _rank(bias) != 1):
        return False
    build, of = Build(graph, layer, "places"), places[x]
    channels, wanted = (v.shape[-1] for v in (x, y) if v.shape is not None)
    rows = [*(of.shape or ())][:-1]
    unflat, before = of, x.producer()
    if before is None or before.inputs[0] is not of:
        unflat = build.op("Reshape", x, _sizes(build, of, channels))
        unflat.type, unflat.shape = x.type, ir.Shape([*rows, channels])
    if matrix is not None and x.dtype is not None:
        weight = build.constant(matrix.T, x.dtype, "weight")
    domain, op_type = ("", "MatMul") if bias is None else ("lrp", "MatMulAdd")
    operands = (unflat, weight, bias)
    (result,) = build.outputs(op_type, 1, *operands, domain=domain, named=layer.name, like=y)
    result.shape = ir.Shape([*rows, wanted])
    flat = build.op("Reshape", result, build.ints(-1, _known(wanted)), like=y)
    result.meta[CHANGED] = flat.producer()
    build.replace(flat)
    places[flat] = of
    return True


def _known(size: int | ir.SymbolicDim) -> int:
    return size if isinstance(size, int) else -1


def _sizes(build: Build, of: ir.Value, channels: int | ir.SymbolicDim) -> ir.Value:
    """The sizes of what has these places and as many channels."""
    sizes = [_known(n) for n in [*(of.shape or ())][:-1]] + [_known(channels)]
    if sizes.count(-1) < 2:
        return build.ints(*sizes)
    return build.op("Concat", build.op("Shape", of, end=-1), build.ints(sizes[-1]), axis=0)
