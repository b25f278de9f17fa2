"""Factors of products that get no relevance: gates and attention weights.

A gate is a factor that is a function of the other factor alone, as in x·σ(x) or 0.5·x·(1 +
erf(x/√2)); with constant gates it is held constant (Achtibat et al. 2024, section 3.3), which makes
SiLU, GELU, Mish and HardSwish pass in whatever spelling.  So is a function of the signal's
reductions, as in x·rsqrt(mean(x²) + ε): RMSNorm and L2 norm pass.  Likewise the divisor of a
quotient of activations.

With constant attention a factor that is a softmax, moved or scaled, is held constant where it
multiplies another activation (Ali et al. 2022, section 3.1).

Both are followed into and out of bodies.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.analysis.across_bodies import AcrossBodies
from lrp_onnx.graph.annotations import GATE
from lrp_onnx.ops.registry import Op, find

__all__ = ["Factors"]

MOST_FACTORS = 32
"""As many values are looked at that a product is a multiple of."""


class Factors:
    """What is known of the nodes before the one that is looked at."""

    def __init__(self, active: set[ir.Value], across: AcrossBodies) -> None:
        self.active = active
        """The values that depend on an explained input."""
        self.across = across
        self.carried, self.kinds = across.carried, across.kinds
        across.active |= active

    def signal(
        self, node: ir.Node, operator: Op, kind: str, carried: tuple[int, ...]
    ) -> tuple[int, ...]:
        """The inputs without the gate, if one of them is a gate."""
        if GATE in node.metadata_props:
            return tuple(i for i in carried if i != int(node.metadata_props[GATE]))
        if kind == "quotient" and len(carried) == 2:
            return (0,)
        if kind == "product" and operator.multiplies == (0, 1):
            for signal, gate in ((0, 1), (1, 0)):
                if self.is_gate(node.inputs[gate], self.factors(node.inputs[signal])):
                    return (signal,)
            for factor, product in ((0, 1), (1, 0)):
                self.find_gates(node.inputs[product], self.factors(node.inputs[factor]))
        return carried

    def find_gates(self, product: ir.Value | None, factors: set[ir.Value]) -> None:
        """In (u·σ(w))·w, seen once w is, σ(w) is a gate too, if nothing else reads u·σ(w)."""
        pending, left = [product], MOST_FACTORS
        while pending and left:
            value, left = pending.pop(), left - 1
            node = None if value is None or len(value.uses()) > 1 else value.producer()
            carried = () if node is None else self.carried.get(node, ())
            operator = None if node is None else find(node)
            if node is None or operator is None or not set(carried) <= set(operator.multiplies):
                continue
            pending += [node.inputs[i] for i in carried]
            if self.kinds.get(node) != "product" or len(carried) != 2:
                continue
            for signal, gate in (carried, carried[::-1]):
                if self.is_gate(node.inputs[gate], factors):
                    self.carried[node], self.kinds[node] = (signal,), "scale"
                    break

    def attended(self, kind: str, node: ir.Node, carried: tuple[int, ...]) -> tuple[int, ...]:
        """The inputs without those that are attention weights, if there are others."""
        if kind not in ("product", "bilinear"):
            return carried
        values = tuple(i for i in carried if not self.is_attention(node.inputs[i]))
        return values or carried

    def is_attention(self, value: ir.Value | None) -> bool:
        """Whether the value is a softmax, moved, selected from or times something, in every branch
        that depends on an explained input.
        """
        pending, known = [value], False
        while pending:
            value = pending.pop()
            node = None if value is None else value.producer()
            kind = None if node is None else self.kinds.get(node)
            if value is not None and (beyond := self.across.above(value)):
                pending += beyond
            elif kind == "softmax":
                known = True
            elif kind in ("move", "scale") and node is not None and len(self.carried[node]) == 1:
                pending.append(node.inputs[self.carried[node][0]])
            else:
                return False
        return known

    def factors(self, value: ir.Value | None) -> set[ir.Value]:
        """The value and those that it is a multiple of, by constants, gates or each other."""
        factors, pending = set[ir.Value](), [value]
        while pending and len(factors) < MOST_FACTORS:
            value = pending.pop()
            if value is None or value in factors:
                continue
            factors.add(value)
            if (whole := self.across.wholes.get(value)) is not None:
                pending.append(whole)
            node = value.producer()
            carried = () if node is None else self.carried.get(node, ())
            operator = None if node is None else find(node)
            if node is not None and operator is not None and set(carried) <= {*operator.multiplies}:
                pending += [node.inputs[i] for i in carried]
        return factors

    def is_gate(self, value: ir.Value | None, signals: set[ir.Value]) -> bool:
        """Whether the value is a function of the signals and constants alone, by operators that are
        elementwise or reduce.
        """
        pending, seen = [value], set(signals)
        while pending:
            value = pending.pop()
            if value is None or value not in self.across.active or value in seen:
                continue
            seen.add(value)
            if beyond := self.across.above(value):
                pending += beyond
                continue
            node = value.producer()
            operator = None if node is None else find(node)
            if node is None or operator is None:
                return False
            if not (operator.elementwise or operator.statistic):
                return False
            pending += node.inputs
        return True
