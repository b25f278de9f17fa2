"""What the user is told a node or tensor is called.

A node in a body goes by the nodes around it too, `loop/if/conv`; a copy that the backward pass
recomputes goes by the name of what it copies.
"""

from __future__ import annotations

from itertools import count

import onnx_ir as ir

from lrp_onnx.graph.annotations import NAME, PLACE, RULE
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of

__all__ = ["name_apart", "name_bodies", "name_of", "names_of", "renumber", "tensor_name"]


def name_bodies(graph: ir.Graph, around: str = "") -> None:
    """Note the names of all that lies in bodies."""
    for node in graph:
        node.meta[PLACE] = f"{around}{node.name or ''}"
        for body in bodies_of(node):
            values = [*body.inputs, *(v for inner in body for v in inner.outputs)]
            for value in values:
                value.meta[NAME] = value.name
            for inner in body:
                inner.meta[NAME] = inner.name
            name_bodies(body, f"{node.meta[PLACE]}/")


def name_of(node: ir.Node) -> str:
    """The node's name behind those of the nodes around it."""
    return str(node.meta.get(PLACE) or node.name or "")


def names_of(node: ir.Node) -> tuple[str, ...]:
    """The names that a pattern may give: its own, and that behind those around it."""
    return str(node.meta.get(NAME) or node.name or ""), name_of(node)


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


def tensor_name(value: ir.Value) -> str:
    """The tensor's name in the model."""
    return str(value.meta.get(NAME) or value.name)
