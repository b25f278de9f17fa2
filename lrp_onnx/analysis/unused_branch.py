"""Nodes of branches that a run may throw away, whose values there may be NaN or infinite.

log(x) for x < 0 behind a Where that takes something else, a −inf that a softmax makes 0: the
prediction is finite, relevance there is 0, and 0 · NaN must be 0 too.  Such a value begins where an
operator is not defined everywhere, or at a constant that is not finite; elementwise operators and
those that move elements hand it on; it ends where a Where leaves it out, or where a function has a
finite limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import stored
from lrp_onnx.ops.registry import find

__all__ = ["may_be_unused"]

PARTIAL = frozenset({
    "Acos", "Acosh", "Asin", "Atanh", "Cosh", "Div", "Exp", "Log", "Mod", "Pow", "Reciprocal",
    "Sinh", "Sqrt", "Tan",
})  # fmt: skip
"""Operators that are not finite everywhere."""
CHOOSES = frozenset({"Where"})
LIMITED = CHOOSES | {
    "Clip", "Erf", "Exp", "HardSigmoid", "Max", "Min", "Reciprocal", "Relu", "Sigmoid", "Softmax",
    "Tanh",
}  # fmt: skip
"""Operators that are finite at an infinity."""


def may_be_unused(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """The elementwise ones of the nodes, in their order, whose inputs or outputs may be NaN or
    infinite though the prediction is finite.
    """
    undefined = (node for node in nodes if node.op_type in PARTIAL)
    infinite = (node for node in nodes if _is_elementwise(node) and _reads_infinite(node))
    between = _between(nodes, undefined, CHOOSES) | _between(nodes, infinite, LIMITED)
    return set(filter(_is_elementwise, between))


def _between(
    nodes: Sequence[ir.Node], first: Iterable[ir.Node], last: frozenset[str]
) -> set[ir.Node]:
    """The nodes behind the first ones, themselves included, on the way to a last."""
    behind = set(first)
    if not behind:
        return behind
    for node in nodes:
        if _hands_on(node) and any(v is not None and v.producer() in behind for v in node.inputs):
            behind.add(node)
    ending = set[ir.Node]()
    for node in reversed(nodes):
        readers = [reader for v in node.outputs for reader in v.consumers()]
        if node in behind and any(r.op_type in last or r in ending for r in readers):
            ending.add(node)
    return ending


def _hands_on(node: ir.Node) -> bool:
    """Whether each element of an output comes of one of each input."""
    operator = find(node)
    return operator is not None and (operator.elementwise or operator.kind == "move")


def _is_elementwise(node: ir.Node) -> bool:
    operator = find(node)
    return operator is not None and operator.elementwise


def _reads_infinite(node: ir.Node) -> bool:
    """Whether a constant that is not finite decides elements; as a bound of Clip it is none."""
    return any(map(_is_infinite, node.inputs[:1] if node.op_type == "Clip" else node.inputs))


def _is_infinite(value: ir.Value | None) -> bool:
    array = stored(value)
    return array is not None and array.dtype.kind == "f" and not np.isfinite(array).all()
