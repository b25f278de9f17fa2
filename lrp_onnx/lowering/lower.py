"""The dialect becomes standard operators for one runtime; dead nodes and unused initializers go."""

from __future__ import annotations

from itertools import count

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.graph.annotations import RULE
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.dialect import DIALECT, write_out
from lrp_onnx.graph.replacement import Build, take_place
from lrp_onnx.graph.subgraphs import graphs_of, nodes_of
from lrp_onnx.graph.unused import remove_unused
from lrp_onnx.lowering.all_steps import all_steps_at_once
from lrp_onnx.lowering.elementwise import (
    at_least,
    at_most,
    form_products,
    late,
    share,
    side,
    stabilize,
)
from lrp_onnx.lowering.known_states import read_known_states
from lrp_onnx.lowering.linear import linear_sum, linear_vjp
from lrp_onnx.lowering.norms import lower_group_norm, lower_norm

__all__ = ["lower"]

RELEVANCE = {
    "LinearSum": linear_sum,
    "LinearVjp": linear_vjp,
    "Stabilize": stabilize,
    "Side": side,
    "Late": late,
    "Share": share,
    "AtLeast": at_least,
    "AtMost": at_most,
}
"""What writes out each operator of the backward pass."""


def lower(model: ir.Model, emit: Emit) -> None:
    """Write out what only the compiler knows and remove what nothing reads."""
    write_out(emit, RELEVANCE, form_products)
    for node in list(nodes_of(model.graph)):
        graph = node.graph
        if node.domain == DIALECT and isinstance(graph, ir.Graph) and node.op_type != "Product":
            LOWERINGS[node.op_type](graph, node)
    remove_unused(model)
    read_known_states(emit)
    remove_unused(model)
    all_steps_at_once(emit)
    remove_unused(model)
    common.NameFixPass()(model)  # a copy may be named like what is emitted on its behalf
    renumber(model.graph, "lrp")
    model.opset_imports.pop("lrp", None)


def renumber(graph: ir.Graph, prefix: str) -> None:
    """Number the emitted results named `<prefix>_<number>` anew, in the order of the file."""
    numbered, taken = list[ir.Value](), set[str | None]()
    for part in graphs_of(graph):
        results = [v for node in part for v in node.outputs]
        emitted = [v for node in part if RULE in node.metadata_props for v in node.outputs]
        numbered += [v for v in emitted if _is_numbered(str(v.name), prefix)]
        taken.update(v.name for v in (*part.inputs, *part.initializers.values(), *results))
    taken -= {v.name for v in numbered}
    free = (name for k in count(1) if (name := f"{prefix}_{k}") not in taken)
    for value, name in zip(numbered, free, strict=False):
        value.name = name


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}_") and name[len(prefix) + 1 :].isdigit()


def lower_matmul_add(graph: ir.Graph, node: ir.Node) -> None:
    """x·w + b as MatMul and Add; the result keeps its name."""
    x, w, *rest = node.inputs
    build = Build(graph, node)
    name = f"{node.name}/MatMul" if rest else node.name
    (value,) = build.outputs("MatMul", 1, x, w, named=name)
    if rest:
        (value,) = build.outputs("Add", 1, value, rest[0], named=node.name)
    build.replace(value)


def lower_explained_by(graph: ir.Graph, node: ir.Node) -> None:
    """The value itself, under its name."""
    value, result = node.inputs[0], node.outputs[0]
    assert value is not None
    take_place(result, value)
    graph.remove(node, safe=True)


LOWERINGS = {
    "MatMulAdd": lower_matmul_add,
    "ExplainedBy": lower_explained_by,
    "Norm": lower_norm,
    "GroupNormalization": lower_group_norm,
}
"""What stands for each operator of domain `lrp` in the compiled model."""
