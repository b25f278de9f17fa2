"""The functions of a model written out where they are called.

By onnx's inliner, whose time grows with what it writes; what that will be is counted before, since
forty functions that call each other twice are 2^40 nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from itertools import count

import onnx
import onnx.inliner
import onnx_ir as ir

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.limits import budget_of
from lrp_onnx.graph.small_model import through_proto
from lrp_onnx.graph.subgraphs import graphs_of, nodes_of

__all__ = ["inline_model_functions"]

SUFFIX = re.compile(r"__\d+$")
"""What the inliner puts behind every name in a function."""


def inline_model_functions(model: ir.Model) -> None:
    """Write every call out.  The first copy of a function keeps the names in it, others get a
    number.

    Raises ModelError for functions that call themselves, or are for another opset than the model;
    OverBudget for more nodes than the budget allows.
    """
    if not model.functions:
        return
    _check_count(model)
    _write_defaults(model)
    own = {node.name for node in nodes_of(model.graph)}, _value_names(model.graph)
    try:
        through_proto(model, partial(onnx.inliner.inline_local_functions, convert_version=True))
    except (RuntimeError, ValueError) as e:
        raise ModelError(
            f"the model's functions cannot be written out: {e}. Export it again."
        ) from e
    left = [n for n in nodes_of(model.graph) if n.op_identifier() in model.functions]
    if left:
        raise ModelError(
            f"function {left[0].op_type!r} is for other opsets than the model and cannot be "
            "written out. Export the model again."
        )
    model.functions.clear()
    _rename(model.graph, *own)


def _write_defaults(model: ir.Model) -> None:
    """Give every call the attributes that it leaves to its function: onnx's inliner does not, and
    what reads them takes the operator's own default.
    """
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in nodes_of(graph):
            if (function := model.functions.get(node.op_identifier())) is not None:
                for name, attribute in function.attributes.items():
                    if attribute.value is not None and name not in node.attributes:
                        node.attributes.add(attribute)


def _check_count(model: ir.Model) -> None:
    """Raise if the calls are too many, counted function by function."""
    counts, open_calls = dict[ir.OperatorIdentifier, int](), list[ir.OperatorIdentifier]()

    def size_of(nodes: Iterable[ir.Node]) -> int:
        return sum(written_out(node.op_identifier()) for node in nodes)

    def written_out(operator: ir.OperatorIdentifier) -> int:
        if operator not in model.functions:
            return 1
        if operator in open_calls:
            raise ModelError(
                f"function {operator[1]!r} of domain {operator[0]!r} calls itself. Export the "
                "model again."
            )
        if operator not in counts:
            open_calls.append(operator)
            counts[operator] = size_of(nodes_of(model.functions[operator]))
            open_calls.pop()
        return counts[operator]

    most = budget_of(model).nodes
    for operator in model.functions:
        written_out(operator)
    total = size_of(nodes_of(model.graph))
    if total > most:
        largest = max(counts, key=lambda operator: counts[operator])
        raise budget_of(model).over(
            f"function {largest[1]!r} of domain {largest[0]!r}, which is {counts[largest]} nodes "
            "where it is written out,"
        )


def _value_names(graph: ir.Graph) -> set[str | None]:
    names = set[str | None]()
    for part in graphs_of(graph):
        names.update(v.name for v in (*part.inputs, *part.initializers.values()))
        names.update(v.name for node in part for v in node.outputs)
    return names


def _rename(graph: ir.Graph, nodes: set[str | None], values: set[str | None]) -> None:
    """Take the suffixes off what came out of functions, and number what is there several times."""
    next_node, next_value = dict[str, int](), dict[str, int]()
    ends = set(graph.outputs)
    for part in graphs_of(graph):
        for node in part:
            if node.name and node.name not in nodes:
                node.name = _unique(SUFFIX.sub("", node.name), nodes, next_node)
            for value in node.outputs:
                if value.name and value.name not in values and value not in ends:
                    value.name = _unique(SUFFIX.sub("", value.name), values, next_value)


def _unique(name: str, taken: set[str | None], following: dict[str, int]) -> str:
    if name not in taken:
        taken.add(name)
        return name
    unique = next(n for k in count(following.get(name, 2)) if (n := f"{name}_{k}") not in taken)
    following[name] = int(unique.rpartition("_")[2]) + 1
    taken.add(unique)
    return unique
