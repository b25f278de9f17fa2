"""Tensors in bodies get names of their own; names that ONNX Runtime gave when it wrote a file
become free again.

It names what its optimizations make without a look at what a file holds: where it fuses a product
and a sum in a file that it has written itself before, it fails on the initializer
`gemm_input_shape` ("Attempt to replace the existing tensor").
"""

from __future__ import annotations

import re
from itertools import chain, count

import onnx_ir as ir

from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.constants import rename
from lrp_onnx.graph.subgraphs import graphs_of

__all__ = ["free_generated_names", "name_apart"]

GENERATED = re.compile(r"gemm_(in|out)put_(shape|reshape_arg)|.+_token_\d+")
"""A name as it is made first, or another time."""


def free_generated_names(model: ir.Model) -> bool:
    """Rename them, but for the inputs and outputs of the model."""
    own = {*model.graph.inputs, *model.graph.outputs}
    graphs = graphs_of(model.graph)
    generated = [
        value
        for graph in graphs
        for value in chain(graph.initializers.values(), *(node.outputs for node in graph))
        if value not in own and GENERATED.fullmatch(value.name or "")
    ]
    nodes = [node for graph in graphs for node in graph]
    taken = {v.name for node in nodes for v in (*node.inputs, *node.outputs) if v is not None}
    for value in generated:
        before, name = value.name, f"{value.name}/read"
        while name in taken:
            name += "_"
        rename(value, name)
        aliases(model)[before] = name
    return bool(generated)


def name_apart(graph: ir.Graph) -> None:
    """Give tensors in bodies names that no other graph of the model uses, so that they keep them
    where a body takes its node's place.
    """
    taken, graphs = set[str | None](), graphs_of(graph)
    for part in graphs if len(graphs) > 1 else ():
        results = (v for node in part for v in node.outputs)
        for value in (*part.inputs, *part.initializers.values(), *results):
            name = value.name
            if part is not graph and name in taken:
                value.name = next(n for k in count(1) if (n := f"{name}_{k}") not in taken)
            taken.add(value.name)
