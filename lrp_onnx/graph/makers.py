"""Reading a graph: which operator makes a value, of what, and what is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx_ir as ir

__all__ = ["downstream", "either_way", "inputs_by", "made_by", "standard_nodes", "upstream"]

Input = ir.Value | None


def made_by(value: Input, *op_types: str) -> ir.Node | None:
    """The standard node that makes a value, if it is one of these operators (any, if none are
    named); else None.
    """
    node = None if value is None else value.producer()
    if node is None or node.domain or (op_types and node.op_type not in op_types):
        return None
    return node


def inputs_by(value: Input, *op_types: str) -> list[Input]:
    """The inputs of that node; none where there is none."""
    node = made_by(value, *op_types)
    return [] if node is None else list(node.inputs)


def either_way(pair: Sequence[Input]) -> list[tuple[Input, Input]]:
    """Two operands in both orders; nothing of none."""
    return [(pair[0], pair[1]), (pair[1], pair[0])] if pair else []


def upstream(
    values: Iterable[Input], onward: Callable[[ir.Node], Iterable[Input]] = lambda node: node.inputs
) -> Iterator[ir.Value]:
    """The values and all that they are computed from, each once.

    onward: which of the inputs are gone on to at the node that makes one.
    """
    pending, seen = [*values], set[ir.Value]()
    while pending:
        value = pending.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        yield value
        if (node := value.producer()) is not None:
            pending += onward(node)


def downstream(
    values: Iterable[ir.Value], onward: Callable[[ir.Node, int], Iterable[ir.Value]]
) -> Iterator[ir.Value]:
    """The values and all that is computed from them, each once.

    onward: which of its results are gone on to at a node that reads one as that input.
    """
    pending, seen = [*values], set[ir.Value]()
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            yield value
            pending += [v for node, k in value.uses() for v in onward(node, k)]


def standard_nodes(nodes: Iterable[ir.Node], *op_types: str) -> list[ir.Node]:
    """Those of these operators of the standard."""
    return [node for node in nodes if node.op_type in op_types and not node.domain]
