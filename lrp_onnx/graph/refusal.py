"""The refusal of a model: every node that relevance cannot go through, at once.

Nodes of one type that are refused for the same reason are told together, so that a large model's
refusal stays a paragraph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.names import name_of

__all__ = ["refusal", "type_of"]

UNKNOWN = " is unknown"
FEW = 3
"""As many nodes alike are told one by one."""


def refusal(refused: Mapping[ir.Node, str]) -> UnsupportedError:
    """The error to raise; refused: node → why."""
    told = {n: why for n, why in refused.items() if not _follows(n, why, refused)}
    alike: dict[tuple[str, str], list[ir.Node]] = {}
    for node, reason in told.items():
        alike.setdefault((type_of(node), reason), []).append(node)
    lines = [line for (kind, why), nodes in alike.items() for line in _lines(kind, why, nodes)]
    many = f"{len(told)} nodes" if len(told) > 1 else "1 node"
    error = UnsupportedError(
        f"the model cannot be explained: no rule propagates through {many} between the explained "
        "input and the "
        f"target: {'; '.join(lines)}. Choose other inputs with --explain or another "
        "output with --output (make an earlier tensor an output for that), or report the model.",
        {name_of(node): reason for node, reason in refused.items()},
    )
    error.nodes = dict(refused)
    return error


def _follows(node: ir.Node, reason: str, refused: Mapping[ir.Node, str]) -> bool:
    """Whether what is unknown there is so since another of the nodes stands before it."""
    if UNKNOWN not in reason:
        return False
    pending, seen = [node], {node}
    while pending:
        before = {v.producer() for v in pending.pop().inputs if v is not None} - {None} - seen
        pending += [n for n in before if n is not None]
        seen.update(pending)
    return any(n in seen and n is not node and UNKNOWN not in refused[n] for n in refused)


def _lines(kind: str, reason: str, nodes: Sequence[ir.Node]) -> list[str]:
    if len(nodes) <= FEW:
        return [f"node {name_of(node)!r} ({kind}): {reason}" for node in nodes]
    ends = f"first {name_of(nodes[0])!r}, last {name_of(nodes[-1])!r}"
    return [f"{len(nodes)} nodes of type {kind} ({ends}): {reason}"]


def type_of(node: ir.Node) -> str:
    """The operator with its domain, if it is not the default one."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type
