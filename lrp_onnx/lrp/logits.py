"""The end of the model: behind a final Softmax, LogSoftmax or Sigmoid relevance starts at the
logits.

The softmax is an operator by now, whatever spelled it; a log-softmax may be its logarithm, and a
softmax the exponential of one.  A sigmoid is spelled out as 1/(1 + exp(−x)) or exp(x)/(1 + exp(x)).

If only nodes that move, copy, cast or quantize values lie between such a node and the output, those
that move them are replayed on the logits, so that the start has the output's layout; the output
itself keeps its values.

A sigmoid is one of each element alone, so 1 − σ(x) = σ(−x) is one too, whose logit is −x, and so
are sigmoids that a Concat puts side by side: two classes (1 − σ(x), σ(x)) start at (−x, x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import onnx_ir as ir

from lrp_onnx.graph.annotations import provenance
from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.constants import array_of
from lrp_onnx.ops.registry import find

__all__ = ["Contrast", "classes_of_softmax", "logits_behind"]

Contrast = Callable[[ir.Graph, ir.Value, int], ir.Value]
"""Makes of the logits of a softmax, and the axis that it is over, what is explained of them."""


def logits_behind(graph: ir.Graph, output: ir.Value, contrast: Contrast | None = None) -> ir.Value:
    """The tensor relevance starts at: the logits in the output's layout, or the output itself.

    contrast: what takes the place of a softmax's logits, before the nodes behind it are replayed.
    """
    making = _logits(output, (_of_softmax, _of_log_softmax, _of_sigmoid))
    return output if making is None else making.of(_Replay(graph, contrast))


def classes_of_softmax(output: ir.Value) -> int:
    """Over how many classes the output is a softmax, or the logarithm of one; 0 where it is none,
    2 where only the run knows.
    """
    making = _logits(output, (_of_softmax, _of_log_softmax))
    return 0 if making is None else making.classes


class _Replay:
    """Copies of a tail's nodes that read the logits, each made once."""

    def __init__(self, graph: ir.Graph, contrast: Contrast | None) -> None:
        self.graph, self.contrast = graph, contrast
        self.part = "logits" if contrast is None else "contrast"
        self.copies: dict[ir.Node, ir.Value] = {}

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """What `node` makes of other inputs."""
        return self._appended(node, node.domain, node.op_type, inputs, node.attributes)

    def negated(self, node: ir.Node, logits: ir.Value) -> ir.Value:
        """−logits, in place of the node that makes 1 − p."""
        return self._appended(node, "", "Neg", [logits], {})

    def _appended(
        self,
        node: ir.Node,
        domain: str,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, ir.Attr],
    ) -> ir.Value:
        if node not in self.copies:
            like, props = node.outputs[0], provenance(node.name or node.op_type, self.part)
            value = ir.Value(name=f"lrp/{like.name}/{self.part}", shape=like.shape, type=like.type)
            name = f"lrp/{node.name}/{self.part}"
            append_node(self.graph, op_type, inputs, [value], name, attributes, domain, props)
            self.copies[node] = value
        return self.copies[node]


class _Making(NamedTuple):
    """How the logits behind a value are made in its layout."""

    of: Callable[[_Replay], ir.Value]
    classes: int = 0
    """How many a softmax is over; 0 if there is none, 2 where only the run knows."""


class _Logits(NamedTuple):
    """The logits of a probability, and the axis that their softmax is over."""

    x: ir.Value
    axis: int | None = None

    def making(self) -> _Making:
        """How relevance starts at them."""
        if self.axis is None:
            return _Making(lambda replay: self.x)
        size = 2 if self.x.shape is None else self.x.shape[self.axis]
        return _Making(self._contrasted, size if isinstance(size, int) else 2)

    def _contrasted(self, replay: _Replay) -> ir.Value:
        if replay.contrast is None or self.axis is None:
            return self.x
        return replay.contrast(replay.graph, self.x, self.axis)


Leaf = Callable[[ir.Value | None], _Logits | None]


def _logits(value: ir.Value | None, leaves: Sequence[Leaf]) -> _Making | None:
    """How the logits behind a value are made; None if it is no probability.

    leaves: what each knows as one, and the logits of it.
    """
    node = None if value is None else value.producer()
    if value is None or node is None:
        return None
    if (own := next(filter(None, (leaf(value) for leaf in leaves)), None)) is not None:
        return own.making() if _alike(own.x, value) else None
    if _moves(node):
        moved = _logits(node.inputs[0], leaves)
        return moved and moved._replace(
            of=lambda replay: replay.copy(node, [moved.of(replay), *node.inputs[1:]])
        )
    if (same := _same_value(node)) is not None:
        return _logits(same, leaves)
    if (other := _complement(value)) is not None and _alike(other, value):
        positive = _logits(other, (_of_sigmoid,))
        return positive and _Making(lambda replay: replay.negated(node, positive.of(replay)))
    return _beside(node) if _inputs(value, "Concat") else None


def _beside(concat: ir.Node) -> _Making | None:
    """The logits of sigmoids side by side."""
    parts = []
    for value in concat.inputs:
        part = _logits(value, (_of_sigmoid,))
        if part is None:
            return None
        parts.append(part)
    return _Making(lambda replay: replay.copy(concat, [part.of(replay) for part in parts]))


def _alike(x: ir.Value, value: ir.Value) -> bool:
    """Whether no constant of a higher rank has given the value another shape."""
    return x.shape is None or value.shape is None or len(x.shape) == len(value.shape)


def _moves(node: ir.Node) -> bool:
    operator = find(node)
    if operator is None or operator.inputs != (0,) or len(node.outputs) != 1:
        return False
    return operator.kind == "move" or node.op_type in ("Cast", "Dropout")


def _same_value(node: ir.Node) -> ir.Value | None:
    """What a quantizer quantizes, and what explains a value that another operator computes."""
    if node.op_type == "QuantizeLinear":
        return node.inputs[0]
    if node.op_type != "ExplainedBy" or node.inputs[0] is None:
        return None
    maker = node.inputs[0].producer()
    dequantizes = maker is not None and maker.op_type == "DequantizeLinear"
    return maker.inputs[0] if maker is not None and dequantizes else node.inputs[1]


def _of_softmax(value: ir.Value | None) -> _Logits | None:
    """x of softmax(x)."""
    if x := _inputs(value, "Softmax"):
        return _over_axis(value, x[0])
    exponent = _inputs(value, "Exp")
    return _of_log_softmax(exponent[0]) if exponent else None


def _of_log_softmax(value: ir.Value | None) -> _Logits | None:
    """x of log(softmax(x))."""
    if x := _inputs(value, "LogSoftmax"):
        return _over_axis(value, x[0])
    logarithm = _inputs(value, "Log")
    return _of_softmax(logarithm[0]) if logarithm else None


def _over_axis(value: ir.Value | None, x: ir.Value | None) -> _Logits | None:
    """x with the axis of the softmax that makes the value of it."""
    node = None if value is None else value.producer()
    if node is None or x is None:
        return None
    axis = node.attributes.get_int("axis", -1)
    return _Logits(x, axis if axis >= 0 or x.shape is None else axis + len(x.shape))


def _of_sigmoid(value: ir.Value | None) -> _Logits | None:
    """x of sigmoid(x)."""
    x = _argument_of_sigmoid(value)
    return None if x is None else _Logits(x)


def _argument_of_sigmoid(value: ir.Value | None) -> ir.Value | None:
    if x := _inputs(value, "Sigmoid"):
        return x[0]
    if inverted := _inputs(value, "Reciprocal"):
        return _negated(_exponent_beside_one(inverted[0]))
    for powers, total in _quotients(value):
        exponent = _exponent_beside_one(total)
        if exponent is None:
            continue
        if _is_number(powers, 1):
            return _negated(exponent)
        if (x := _inputs(powers, "Exp")) and x[0] is exponent:
            return exponent
    return None


def _complement(value: ir.Value) -> ir.Value | None:
    """p of 1 − p."""
    if (difference := _inputs(value, "Sub")) and _is_number(difference[0], 1):
        return difference[1]
    for one, rest in _either_way(_inputs(value, "Add")):
        if _is_number(one, 1) and (p := _negated(rest)) is not None:
            return p
    return None


def _inputs(value: ir.Value | None, op_type: str) -> list[ir.Value | None]:
    """The inputs of the standard node that makes the value, if it is an `op_type`; else none."""
    node = None if value is None else value.producer()
    if node is None or node.domain or node.op_type != op_type:
        return []
    return list(node.inputs)


def _quotients(value: ir.Value | None) -> Iterator[tuple[ir.Value | None, ir.Value | None]]:
    """(a, b) of a/b, also spelled a·(1/b)."""
    if quotient := _inputs(value, "Div"):
        yield quotient[0], quotient[1]
    if factors := _inputs(value, "Mul"):
        for a, b in (factors, factors[::-1]):
            if inverted := _inputs(b, "Reciprocal"):
                yield a, inverted[0]


def _exponent_beside_one(value: ir.Value | None) -> ir.Value | None:
    """a of 1 + exp(a)."""
    for one, powers in _either_way(_inputs(value, "Add")):
        if _is_number(one, 1) and (exponent := _inputs(powers, "Exp")):
            return exponent[0]
    return None


def _negated(value: ir.Value | None) -> ir.Value | None:
    """x of −x, 0 − x, x·(−1) or x/(−1)."""
    if negated := _inputs(value, "Neg"):
        return negated[0]
    if (difference := _inputs(value, "Sub")) and _is_number(difference[0], 0):
        return difference[1]
    for factor, x in _either_way(_inputs(value, "Mul")):
        if _is_number(factor, -1):
            return x
    quotient = _inputs(value, "Div")
    return quotient[0] if quotient and _is_number(quotient[1], -1) else None


def _either_way(
    pair: list[ir.Value | None],
) -> list[tuple[ir.Value | None, ir.Value | None]]:
    return [(pair[0], pair[1]), (pair[1], pair[0])] if pair else []


def _is_number(value: ir.Value | None, number: float) -> bool:
    array = array_of(value)
    return array is not None and array.size == 1 and bool((array == number).all())
