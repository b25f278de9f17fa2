"""Interpolations of recurrent cells, h' = n + z·(h - n), as the sum of two gated signals.

    a + σ·(b - a) = (1 - σ)·a + σ·b    a - σ·a = (1 - σ)·a

Only where a or b is a tanh, as in a GRU (PyTorch and Paddle spell it so).  Relevance is that of the
right-hand sides (Arras et al. 2019, section 4); the forward computes the left ones as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.frontend.canonize.gates import comes_from, is_gate
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.makers import either_way, inputs_by
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

SIGNAL = ("Tanh",)


@decomposes("Add")
def interpolation(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """a + σ·(b - a), in any order of operands, as (1 - σ)·a + σ·b."""
    for first, product in either_way(node.inputs):
        for gate, difference in _factors(product):
            b, a = inputs_by(difference, "Sub") or (None, None)
            if first is None or a is not first or not any(comes_from(v, SIGNAL) for v in (a, b)):
                continue
            rest = build.op("Sub", build.like(1.0, gate), gate)
            old, new = build.op("Mul", rest, a), build.op("Mul", gate, b)
            return [build.explained(node.outputs[0], build.op("Add", old, new))]
    return None


@decomposes("Sub")
def complement(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """a - σ·a as (1 - σ)·a."""
    first, product = node.inputs
    for gate, factor in _factors(product):
        if factor is first and comes_from(factor, SIGNAL):
            rest = build.op("Sub", build.like(1.0, gate), gate)
            return [build.explained(node.outputs[0], build.op("Mul", rest, factor))]
    return None


def _factors(value: ir.Value | None) -> Iterator[tuple[ir.Value, ir.Value]]:
    """(gate, other factor) of a product with a gate."""
    for gate, factor in either_way(inputs_by(value, "Mul")):
        if gate is not None and factor is not None and is_gate(gate):
            yield gate, factor
