"""The end of the model: behind a final Softmax, LogSoftmax or Sigmoid relevance starts at the
logits.

They are known as operators and spelled out, with a ≡ x or x − max(x), Σ along any axes:

    softmax      exp(a)/Σexp(a),  exp(a)·(1/Σexp(a)),  exp(log-softmax)
    log-softmax  log(softmax),    a − log Σexp(a),     x − ReduceLogSumExp(x)
    sigmoid      1/(1 + exp(−x)),                      exp(x)/(1 + exp(x))

If only nodes that move, copy, cast or quantise values lie between such a node and the output, those
that move them are replayed on the logits, so that the start has the output's layout; the output
itself keeps its values.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.constant import array_of
from lrp_onnx.ops.registry import find

__all__ = ["logits_behind"]


def logits_behind(graph: ir.Graph, output: ir.Value) -> ir.Value:
    """The tensor relevance starts at: the logits in the output's layout, or the output itself."""
    moves, value = [], output
    while (node := value.producer()) is not None:
        if _moves(node):
            moves.append(node)
            assert node.inputs[0] is not None
            value = node.inputs[0]
        elif (same := _same_value(node)) is not None:
            value = same
        else:
            break
    logits = _of_softmax(value) or _of_log_softmax(value) or _of_sigmoid(value)
    if logits is None:
        return output
    for move in reversed(moves):
        logits = _replayed(graph, move, logits)
    return logits


def _moves(node: ir.Node) -> bool:
    operator = find(node)
    if operator is None or operator.inputs != (0,) or len(node.outputs) != 1:
        return False
    return operator.kind == "move" or node.op_type in ("Cast", "Dropout")


def _same_value(node: ir.Node) -> ir.Value | None:
    """What a quantiser quantises, and what explains a value that another operator computes."""
    if node.op_type == "QuantizeLinear":
        return node.inputs[0]
    if node.op_type != "ExplainedBy" or node.inputs[0] is None:
        return None
    maker = node.inputs[0].producer()
    dequantises = maker is not None and maker.op_type == "DequantizeLinear"
    return maker.inputs[0] if maker is not None and dequantises else node.inputs[1]


def _replayed(graph: ir.Graph, move: ir.Node, logits: ir.Value) -> ir.Value:
    """A copy of `move` that reads the logits."""
    result = move.outputs[0]
    copy = ir.Node(
        move.domain,
        move.op_type,
        [logits, *move.inputs[1:]],
        attributes=list(move.attributes.values()),
        outputs=[ir.Value(name=f"lrp/{result.name}/logits", shape=result.shape, type=result.type)],
        name=f"lrp/{move.name}/logits",
        metadata_props={"lrp.source": move.name or move.op_type, "lrp.rule": "logits"},
    )
    graph.append(copy)
    return copy.outputs[0]


def _of_softmax(value: ir.Value | None) -> ir.Value | None:
    """x of softmax(x)."""
    if x := _inputs(value, "Softmax"):
        return x[0]
    if exponent := _inputs(value, "Exp"):
        return _of_log_softmax(exponent[0])
    for powers, total in _quotients(value):
        a, b = _inputs(powers, "Exp"), _inputs(_sum(total), "Exp")
        if a and b and a[0] is b[0]:
            return _uncentred(a[0])
    return None


def _of_log_softmax(value: ir.Value | None) -> ir.Value | None:
    """x of log(softmax(x))."""
    if x := _inputs(value, "LogSoftmax"):
        return x[0]
    if logarithm := _inputs(value, "Log"):
        return _of_softmax(logarithm[0])
    if not (difference := _inputs(value, "Sub")):
        return None
    a, subtrahend = difference
    if (whole := _inputs(subtrahend, "ReduceLogSumExp")) and whole[0] is a:
        return _uncentred(a)
    total = _inputs(subtrahend, "Log")
    powers = _inputs(_sum(total[0]), "Exp") if total else []
    return _uncentred(a) if powers and powers[0] is a else None


def _of_sigmoid(value: ir.Value | None) -> ir.Value | None:
    """x of sigmoid(x)."""
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


def _sum(value: ir.Value | None) -> ir.Value | None:
    """What a ReduceSum adds up."""
    summed = _inputs(value, "ReduceSum")
    return summed[0] if summed else None


def _uncentred(value: ir.Value | None) -> ir.Value | None:
    """x of x − max(x), else the value itself."""
    if difference := _inputs(value, "Sub"):
        largest = _inputs(difference[1], "ReduceMax")
        if largest and largest[0] is difference[0]:
            return difference[0]
    return value


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
