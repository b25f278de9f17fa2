"""Interpolations of recurrent cells, h' = n + z·(h - n), as the sum of two gated signals.

    a + σ·(b - a) = (1 - σ)·a + σ·b    a - σ·a = (1 - σ)·a

Only where a or b is a tanh, as in a GRU (PyTorch and Paddle spell it so).  Relevance is that of the
right-hand sides (Arras et al. 2019, section 4); the forward computes the left ones as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.frontend.canonize.gates import is_gate, is_made_by
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

SIGNAL = ("Tanh",)


@decomposes("Add")
def interpolation(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """a + σ·(b - a), in any order of operands, as (1 - σ)·a + σ·b."""
    for first, product in _either_way(node):
        for gate, difference in _factors(product):
            b, a = _operands(difference, "Sub")
            if a is not first or not (is_made_by(a, SIGNAL) or is_made_by(b, SIGNAL)):
                continue
            rest = build.op("Sub", build.like(1.0, gate), gate)
            kept, new = build.op("Mul", rest, a), build.op("Mul", gate, b)
            return [build.explained(node.outputs[0], build.op("Add", kept, new))]
    return None


@decomposes("Sub")
def complement(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """a - σ·a as (1 - σ)·a."""
    first, product = node.inputs
    for gate, factor in _factors(product):
        if factor is first and is_made_by(factor, SIGNAL):
            rest = build.op("Sub", build.like(1.0, gate), gate)
            return [build.explained(node.outputs[0], build.op("Mul", rest, factor))]
    return None


def _factors(value: ir.Value | None) -> Iterator[tuple[ir.Value, ir.Value]]:
    """(gate, other factor) of a product with a gate."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "Mul" and not maker.domain:
        yield from ((g, v) for g, v in _either_way(maker) if is_gate(g))


def _either_way(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """The two operands, in both orders."""
    a, b = node.inputs
    if a is not None and b is not None:
        yield from ((a, b), (b, a))


def _operands(value: ir.Value, op_type: str) -> Sequence[ir.Value | None]:
    """The inputs of the operator that makes a value; none where it is another one."""
    maker = value.producer()
    if maker is None or maker.domain or maker.op_type != op_type:
        return (None, None)
    return maker.inputs
