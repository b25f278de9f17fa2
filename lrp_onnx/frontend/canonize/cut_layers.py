"""A layer with the bound of a body between its weights and its bias or scale: they meet again.

    If(c){ W·x }{ … } + b      ->  If(c){ W·x + b }{ … + b }
    Scan(x){ W·xₜ } + b        ->  Scan(x){ W·xₜ + b }
    z = W·x, If(c){ z + b }    ->  If(c){ W·x + b }
    z = W·x, Scan(z){ zₜ + b } ->  Scan(z + b){ zₜ }

and so for a Loop that reads slices by its counter.  A constant that varies along the slices' axis
stays.  What follows then makes one layer of both.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.graph.constants import bypass, sole_reader
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import (
    CONTROL,
    ReadSlice,
    bodies_of,
    graphs_of,
    nodes_of,
    ports_of,
    read_slices,
)

__all__ = ["join_cut_layers"]

AFFINE = ("Add", "Sub", "Mul", "Div")
LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
FEW = 4
"""As many constants may scale and shift a layer."""


def join_cut_layers(model: ir.Model) -> bool:
    """Bring what scales or shifts a layer to the side of a bound that its weights are on."""
    nodes = [node for node in nodes_of(model.graph) if node.op_type in CONTROL]
    changed = False
    for node in [node for node in nodes if not node.domain]:
        while _behind(model, node) or _before(model, node):
            changed = True
    return changed


def _layer(value: ir.Value | None) -> list[ir.Node]:
    """The linear node without a bias that makes it, and what scales and shifts it behind."""
    nodes = list[ir.Node]()
    for _ in range(FEW):
        node = made_by(value, *AFFINE)
        if node is None or not any(map(_is_weight, node.inputs)):
            break
        nodes.insert(0, node)
        value = next((v for v in node.inputs if not _is_weight(v)), None)
    node = made_by(value, *LAYERS)
    biased = node is not None and len(node.inputs) > 2 and node.inputs[2] is not None
    weighted = node is not None and not biased and any(map(_is_weight, node.inputs[:2]))
    return [node, *nodes] if node is not None and weighted else []


def _is_weight(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _is_affine(node: ir.Node, value: ir.Value) -> bool:
    """Whether it scales or shifts a value by a constant, and leaves its sizes."""
    if node.domain or node.op_type not in AFFINE or node.outputs[0].shape != value.shape:
        return False
    if node.op_type == "Div" and node.inputs[0] is not value:
        return False
    return value.shape is not None and any(map(_is_weight, node.inputs))


def _rank(node: ir.Node) -> int:
    """That of the constant."""
    (constant,) = (v.const_value for v in node.inputs if v is not None and _is_weight(v))
    return 0 if constant is None else len(constant.shape)


def _copied(build: Build, node: ir.Node, old: ir.Value, new: ir.Value, steps: int) -> ir.Value:
    """The node on another value, with as many axes more or less in front."""
    (result,) = build.copy(node, [new if v is old else v for v in node.inputs], like=new)
    shape = node.outputs[0].shape
    if shape is not None:
        more = [] if new.shape is None or steps < 0 else [*new.shape[:steps]]
        result.shape = ir.Shape([*more, *shape[max(-steps, 0) :]])
    return result


def _behind(model: ir.Model, node: ir.Node) -> bool:
    """Take what follows a layer's result into the body that the layer is in."""
    sliced = node.op_type != "If"
    for at, within in _given(node):
        value = node.outputs[at]
        reader, _ = sole_reader(value) or (None, 0)
        ends = [body.outputs[within] for body in bodies_of(node)]
        if reader is None or not _is_affine(reader, value) or not any(map(_layer, ends)):
            continue
        if sliced and _rank(reader) >= len(value.shape or ()):
            continue
        for body, end in zip(bodies_of(node), ends, strict=True):
            build = Build(model.graph, reader, "inside")
            body.outputs[within] = _copied(build, reader, value, end, -int(sliced))
            body.extend(build.nodes)
        bypass(model, reader, value)
        return True
    return False


def _given(node: ir.Node) -> Iterator[tuple[int, int]]:
    """The outputs of a node and of its bodies that are the same, or slices of it."""
    ports = ports_of(node)
    yield from ports.results
    yield from ((s.node, s.body) for s in ports.written if not s.axis)


def _before(model: ir.Model, node: ir.Node) -> bool:
    """Bring together a layer in front of the node and what scales or shifts it inside."""
    if node.op_type != "If":
        return any(_out_of_steps(model, node, s) for s in read_slices(node))
    read = {v for body in bodies_of(node) for inner in body for v in inner.inputs}
    layers = [v for v in read if v is not None and v.graph is node.graph and _layer(v)]
    return any(_into_branches(model, node, layer) for layer in layers)


def _out_of_steps(model: ir.Model, node: ir.Node, read: ReadSlice) -> bool:
    part, whole = read.part, read.whole
    inner, _ = sole_reader(part) or (None, 0)
    if inner is None or read.axis or whole.graph is not node.graph or not _layer(whole):
        return False
    result = inner.outputs[0]
    if not _is_affine(inner, part) or _rank(inner) > len(part.shape or ()):
        return False
    if result.is_graph_output() or not isinstance(inner.graph, ir.Graph):
        return False
    build, new = Build(model.graph, inner, "outside"), dict[ir.Value | None, ir.Value]()
    for layer in _layer(whole):  # the model's own one is read by its own body
        inputs = [new.get(v, v) for v in layer.inputs]
        (new[layer.outputs[0]],) = build.copy(layer, inputs, like=layer.outputs[0])
    moved = _copied(build, inner, part, new[whole], 1)
    read.reader.replace_input_with(read.position, moved)
    build.insert_before(node)
    result.replace_all_uses_with(part)
    inner.graph.remove(inner, safe=True)
    return True


def _into_branches(model: ir.Model, node: ir.Node, value: ir.Value) -> bool:
    layer, bodies = value.producer(), bodies_of(node)
    known = graphs_of(model.graph)  # the recorded prediction reads it too
    uses = [(user, k) for user, k in value.uses() if user.graph in known]
    inside = all(user.graph in bodies for user, _ in uses) and not value.is_graph_output()
    if layer is None or not inside or not any(_is_affine(user, value) for user, _ in uses):
        return False
    for body in bodies:
        own = [(user, k) for user, k in uses if user.graph is body]
        build = Build(model.graph, layer, "inside")
        (copy,) = build.copy(layer, layer.inputs, like=value)
        if own:
            build.insert_before(body[0])
        for user, k in own:
            user.replace_input_with(k, copy)
    return True
