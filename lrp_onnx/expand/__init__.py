"""Operators that are written out in standard ones: contrib operators, and those that a function of
the standard defines.

An expansion is used where the rules know the parts and the whole has no rule of its own.  The
shapes of what it emits are not known until they are inferred again, so `expand` is called in
rounds.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.expand import activation
from lrp_onnx.expand.build import Build
from lrp_onnx.expand.function import BY_FUNCTION, write_out_functions
from lrp_onnx.expand.registry import EXPANSIONS, Expansion, expands

__all__ = [
    "BY_FUNCTION",
    "EXPANSIONS",
    "REFUSED",
    "activation",
    "expand",
    "expands",
    "write_out_functions",
]


def expand(model: ir.Model) -> bool:
    """Put its expansion in the place of each node that has one; says whether there was one.

    A use that an expansion refuses stays as it is.
    """
    changed = write_out_functions(model)
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        expansion = EXPANSIONS.get((node.domain, node.op_type))
        if expansion is not None:
            changed |= _replaced(model, node, expansion)
    if changed:
        common.NameFixPass()(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return changed


def _replaced(model: ir.Model, node: ir.Node, expansion: Expansion) -> bool:
    build = Build(model.graph, node)
    try:
        values = expansion(build, node)
    except UnsupportedError as e:
        node.metadata_props[REFUSED] = str(e)
        return False
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, build.nodes)
    for old, new in zip(node.outputs, values, strict=False):
        if new is not None:
            _take_place(graph, node, old, new)
    graph.remove(node, safe=True)
    return True


REFUSED = "lrp.refused"
"""Metadata of a node that its expansion refused: why."""


def _take_place(graph: ir.Graph, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """`new` in the place of `old`, under its name; what is a value of other nodes is copied."""
    if new.producer() is None or new.name == old.name or new.producer().graph is not graph:  # type: ignore[union-attr]
        copy = ir.Node("", "Identity", [new], name=f"{node.name}/{old.name}")
        graph.insert_before(node, copy)
        new = copy.outputs[0]
    name, new.type, new.shape = old.name, old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = f"{name}/replaced", name
