"""Selective scans that are written without their recurrence, as Mamba-2 is (Dao and Gu 2024, state
space duality):

    y_t = Σ_{s ≤ t} (c_t · b_s) exp(Σ_{s < r ≤ t} a Δ_r) Δ_s u_s

in chunks, between which the states are carried by the same sum.  Such a scan is recognized by its
decays, exponentials of cumulative sums of a step size Δ: what is multiplied by Δ is the signal u.
The way of the signal goes on through what is linear in it, up to the last product with a decay; the
other factor of each product on it is a gate (Jafari et al. 2024, MambaLRP), as in `scans.py`.
Linear attention with decays has no step size and keeps its products.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from lrp_onnx.frontend.canonize.scan_values import Values, moves, multiplies
from lrp_onnx.graph.annotations import GATE
from lrp_onnx.graph.makers import downstream, inputs_by, made_by, upstream
from lrp_onnx.ops.registry import find

__all__ = ["mark_chunked_scans"]

EXPONENTS = {"Add", "Sub", "Neg", "Where", "Pad"}
"""What may stand between a cumulative sum and its exponential, beside moves."""
LINEAR = {"Add", "Sub", "Neg", "Where", "Pad", "ReduceSum"}
"""What is linear in its operands, beside moves and products."""


def mark_chunked_scans(model: ir.Model) -> None:
    """Mark the gates of every scan that is computed from its decays."""
    values = Values(model)
    decays = _decays(values)
    if not decays:
        return
    steps = _step_sizes(values, decays.values())
    signals = {
        (node, k)
        for value in steps
        for node, k in value.uses()
        if _is_product(values, node) and values.unmoved(node.inputs[1 - k]) not in steps
    }
    signal = _reached([node.outputs[0] for node, _ in signals], values, set())
    multiples = _reached(decays, values, signal)
    ends = [node for node, k in _gates(values, signal) if node.inputs[k] in multiples]
    before = _leading_to(ends, signal)
    for node, gate in (*signals, *_gates(values, signal & before)):
        if node in ends or node.outputs[0] in before:
            node.metadata_props.setdefault(GATE, str(gate))


def _decays(values: Values) -> dict[ir.Value, ir.Node]:
    """Exponentials of cumulative sums, with one of these."""
    decays = {}
    for node in values.nodes:
        for exponent in inputs_by(node.outputs[0], "Exp"):
            sums = (made_by(value, "CumSum") for value in upstream([exponent], _summands))
            if (cumulated := next(filter(None, sums), None)) is not None:
                decays[node.outputs[0]] = cumulated
    return decays


def _summands(node: ir.Node) -> list[ir.Value | None]:
    """The inputs that an exponent is a sum of, moved or not."""
    return [v for k, v in enumerate(node.inputs) if _hands_on(node, k, EXPONENTS)]


def _step_sizes(values: Values, sums: Iterable[ir.Node]) -> set[ir.Value]:
    """What is summed up, in front of its products with weights, and whatever it is moved to."""
    pending = [node.inputs[0] for node in sums]
    steps = set[ir.Value]()
    while pending:
        value = values.unmoved(pending.pop())
        maker = None if value is None else value.producer()
        if value is None or maker is None or value in steps:
            continue
        weights = [k for k, v in enumerate(maker.inputs) if not values.varies(v)]
        if multiplies(maker) and len(weights) == 1:
            pending.append(maker.inputs[1 - weights[0]])
        elif summands := _summands(maker):
            pending += summands
        else:
            steps.add(value)
    return _moved(steps)


def _moved(some: set[ir.Value]) -> set[ir.Value]:
    """The values and whatever is moved from them alone."""
    return set(downstream(some, lambda node, k: node.outputs if _hands_on(node, k, set()) else ()))


def _reached(some: Iterable[ir.Value], values: Values, without: set[ir.Value]) -> set[ir.Value]:
    """What is linear in one of the values."""

    def onward(node: ir.Node, k: int) -> Iterable[ir.Value]:
        linear = _hands_on(node, k, LINEAR) or _scales(values, node)
        return [v for v in node.outputs if v not in without] if linear else ()

    return set(downstream((v for v in some if v not in without), onward))


def _leading_to(ends: list[ir.Node], signal: set[ir.Value]) -> set[ir.Value]:
    """The values of the signal's way from which one of the nodes is computed, and its outputs."""
    last = (v for node in ends for v in node.outputs if v in signal)
    return set(upstream(last, lambda node: [v for v in node.inputs if v in signal]))


def _gates(values: Values, signal: set[ir.Value]) -> list[tuple[ir.Node, int]]:
    """The products of a value of the signal with another, and the number of the other."""
    return [
        (node, 1 - k)
        for value in signal
        for node, k in value.uses()
        if _is_product(values, node) and node.inputs[1 - k] not in signal
    ]


def _is_product(values: Values, node: ir.Node) -> bool:
    """Whether it multiplies two that vary."""
    return multiplies(node) and all(values.varies(v) for v in node.inputs)


def _scales(values: Values, node: ir.Node) -> bool:
    """Whether it multiplies by what varies, or element by element by a weight."""
    return multiplies(node) and (node.op_type == "Mul" or _is_product(values, node))


def _hands_on(node: ir.Node, k: int, operators: set[str]) -> bool:
    """Whether it hands input k on, moved, repeated or by one of the operators."""
    if node.domain:
        return False
    if node.op_type in operators:
        return k > 0 if node.op_type == "Where" else k == 0 or node.op_type in ("Add", "Sub")
    operator = find(node)
    return moves(node, k) or (operator is not None and operator.moves == "repeats" and k == 0)
