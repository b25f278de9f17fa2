"""Nodes take the place of the operator that they spell.

A decomposition is used where the rules know the parts and the whole has no rule of its own.  The
shapes of what it emits are not known until they are inferred again, so `decompose` is called in
rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import DECOMPOSITIONS, FINDERS, Decomposition
from lrp_onnx.frontend.decompose.standard_function import write_out_functions
from lrp_onnx.graph.annotations import FORWARD_KEPT, REFUSED
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["decompose", "replace_node"]


def decompose(model: ir.Model, only: Callable[[ir.Node], bool] | None = None) -> bool:
    """Put its decomposition in the place of each node that has one; says whether there was one.

    A use that a decomposition refuses stays as it is.  With `only`, nodes alone that it accepts.
    """
    changed = write_out_functions(model, only)
    layers = {} if only is not None else dict(chain.from_iterable(f(model) for f in FINDERS))
    for node in list(nodes_of(model.graph)):
        decomposition = layers.get(node) or DECOMPOSITIONS.get((node.domain, node.op_type))
        if decomposition is not None and (only is None or only(node)):
            changed |= replace_node(model, node, decomposition)
    if changed:
        common.NameFixPass()(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return changed


def replace_node(model: ir.Model, node: ir.Node, decomposition: Decomposition) -> bool:
    """Whether the decomposition took the node's place; a node that what it emits reads stays."""
    if FORWARD_KEPT in node.metadata_props:
        return False
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    # in a body, shape inference knows the constants of the body only
    build = Build(graph, node, opset=model.graph.opset_imports.get("", 0))
    try:
        values = decomposition(build, node)
    except UnsupportedError as e:
        node.metadata_props[REFUSED] = str(e)
        return False
    node.metadata_props.pop(REFUSED, None)
    if values is None:
        return False
    own = [any(v in set(emitted.inputs) for emitted in build.nodes) for v in node.outputs]
    (graph.insert_after if any(own) else graph.insert_before)(node, build.nodes)
    for old, new in zip(node.outputs, values, strict=False):
        if new is not None:
            _take_place(graph, build, old, new)
    if any(own):
        node.metadata_props[FORWARD_KEPT] = "explained"
    else:
        graph.remove(node, safe=True)
    return True


def _take_place(graph: ir.Graph, build: Build, old: ir.Value, new: ir.Value) -> None:
    """`new` in the place of `old`, under its name; a value that the decomposition did not make is
    copied.
    """
    if new.producer() not in build.nodes:
        last = build.nodes[-1] if build.nodes else build.node
        new = build.op("Identity", new)
        graph.insert_after(last, build.nodes[-1])
    own = set(build.nodes)
    name, new.type, new.shape = old.name, old.type, old.shape
    for user, position in list(old.uses()):
        if user not in own:
            user.replace_input_with(position, new)
    if old.is_graph_output():
        outputs = graph.outputs
        outputs[outputs.index(old)] = new
    old.name, new.name = f"{name}/forward", name
