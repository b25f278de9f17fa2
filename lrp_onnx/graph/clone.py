"""Copies of a part of the forward graph that read other tensors: the network at other inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from lrp_onnx.graph.annotations import NAME, PLACE, provenance
from lrp_onnx.graph.names import name_of, tensor_name
from lrp_onnx.graph.subgraphs import bodies_of, captures, nodes_of

__all__ = ["cone", "copied", "paired", "reads", "written"]


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """Every value that the node reads, in its bodies too."""
    yield from (v for v in node.inputs if v is not None)
    yield from captures(node)


def cone(graph: ir.Graph, roots: Collection[ir.Value], ends: Collection[ir.Value]) -> list[ir.Node]:
    """The nodes between: what depends on the roots and what the ends depend on, in order.

    What makes a root itself is not among them.
    """
    reached, wanted = set(roots), set(ends)
    below = []
    for node in graph:
        if any(v in reached for v in reads(node)) and not any(v in roots for v in node.outputs):
            reached.update(node.outputs)
            below.append(node)
    between = []
    for node in reversed(below):
        if any(v in wanted for v in node.outputs):
            wanted.update(reads(node))
            between.append(node)
    return between[::-1]


def copied(
    graph: ir.Graph,
    nodes: Sequence[ir.Node],
    replaced: Mapping[ir.Value, ir.Value],
    prefix: str,
    shape: Callable[[ir.Value], ir.Shape | None] = lambda value: value.shape,
) -> tuple[dict[ir.Value, ir.Value], dict[ir.Node, ir.Node]]:
    """Append copies of the nodes that read `replaced` in place of its keys, and each other.

    Returns what each value and each node became, those in bodies included. New names begin with
    `prefix`; `shape` says the shape of the copy of a value.
    """
    values = dict(replaced)
    copies: dict[ir.Node, ir.Node] = {}
    for node in nodes:
        copy = ir.Node(
            node.domain,
            node.op_type,
            [values.get(v, v) if v is not None else None for v in node.inputs],
            attributes=[_attribute(a, values) for a in node.attributes.values()],
            num_outputs=len(node.outputs),
            name=f"{prefix}/{node.name}",
            metadata_props={**node.metadata_props, **provenance(node.name or node.op_type, "copy")},
        )  # fmt: skip
        copy.meta[PLACE] = name_of(
            node
        )  # the user knows the nodes of the network, not their copies
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name, new.type, new.shape = f"{prefix}/{old.name}", old.type, shape(old)
            new.meta[NAME] = tensor_name(old)
            values[old] = new
        for body, twin in zip(bodies_of(node), bodies_of(copy), strict=True):
            inside, twins = paired(body, twin)
            for old, new in inside.items():
                new.name, new.type, new.shape = f"{prefix}/{old.name}", old.type, shape(old)
            values |= inside
            copies |= twins
        graph.append(copy)
        copies[node] = copy
    return values, copies


def _attribute(attribute: ir.Attr, values: Mapping[ir.Value, ir.Value]) -> ir.Attr:
    """The attribute; of a body a copy that captures the copies."""
    if attribute.type != ir.AttributeType.GRAPH:
        return attribute
    body = attribute.as_graph().clone(allow_outer_scope_values=True)
    for node in nodes_of(body):
        for i, value in enumerate(node.inputs):
            if value is not None and value in values:
                node.replace_input_with(i, values[value])
    return ir.AttrGraph(attribute.name, body)


def written(
    domain: str,
    op_type: str,
    name: str | None,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[str | None],
    attributes: Sequence[ir.Attr],
) -> ir.Node:
    """A node as another graph has it, in none yet; its outputs have these names."""
    count = len(outputs)
    node = ir.Node(domain, op_type, inputs, attributes, num_outputs=count, name=name)
    for value, own in zip(node.outputs, outputs, strict=True):
        value.name = own
    return node


def paired(
    graph: ir.Graph, copy: ir.Graph
) -> tuple[dict[ir.Value, ir.Value], dict[ir.Node, ir.Node]]:
    """Values and nodes of a graph, bodies included, and those of its copy."""
    values = dict(zip(graph.inputs, copy.inputs, strict=True))
    pairs = zip(graph.initializers.values(), copy.initializers.values(), strict=True)
    values.update(pairs)
    twins: dict[ir.Node, ir.Node] = {}
    for node, copied in zip(graph, copy, strict=True):
        twins[node] = copied
        values.update(zip(node.outputs, copied.outputs, strict=True))
        bodies = zip(bodies_of(node), bodies_of(copied), strict=True)
        for inner, inner_copy in bodies:
            more_values, more_twins = paired(inner, inner_copy)
            values.update(more_values)
            twins.update(more_twins)
    return values, twins
