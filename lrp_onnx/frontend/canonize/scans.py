"""Selective scans in whatever spelling: a linear recurrence whose coefficients the input chooses.

    h_t = a_t ⊙ h_{t-1} + b_t ⊙ u_t        y_t = c_t · h_t

a, b and c are gates (Jafari et al. 2024, MambaLRP): held constant, so that relevance goes to the
state and to the signal u alone.  The output gate y ⊙ silu(z) is a product of two activations and
stays one.  A recurrence is recognized by what it computes:

1. It is a sum of which one operand is a multiple a·h of the state before, a independent of h: in a
   Loop or Scan h is a carried value and the sum what is carried on; time steps written out are two
   such sums of which one is the other's state, with coefficients of one origin.
2. In the other operand, a product, the signal is the factor that the others are functions of.
3. So is what a state is multiplied with, if it is a function of the signal.

In an LSTM or GRU a depends on the state (`cells.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.frontend.canonize.scan_values import Values, moves, multiplies
from lrp_onnx.graph.annotations import GATE

__all__ = ["mark_scans"]

FACTORS = 4
"""As many products may be nested that a signal is a factor of."""

Gated = tuple[ir.Node, int]
"""A product and the number of the input that is a gate."""


def mark_scans(model: ir.Model) -> None:
    """Mark the gates of every selective scan, in every graph."""
    values = Values(model)
    for scan in (*_written_out(values), *_carried(values)):
        for product, gate in (*scan.updates, *scan.signals(values), *scan.readers(values)):
            product.metadata_props.setdefault(GATE, str(gate))


@dataclass(eq=False)
class _Scan:
    """One recurrence."""

    updates: list[Gated]
    """The products a·h."""
    added: list[ir.Value]
    """The other operands of the sums."""
    states: list[ir.Value]
    known: list[ir.Value] = field(default_factory=list)
    """The signals, once they are known."""

    def signals(self, values: Values) -> Iterator[Gated]:
        """The products b·u on the way to the signals."""
        for value in self.added:
            for signal, products in _factors(values, value):
                gates = [(p, k) for p, k in products if values.varies(p.inputs[k])]
                if gates and all(values.depends(p.inputs[k], [signal]) for p, k in gates):
                    self.known.append(signal)
                    yield from gates
                    break

    def readers(self, values: Values) -> Iterator[Gated]:
        """The products c·h."""
        own = {product for product, _ in self.updates}
        pending, seen = list(self.states), set[ir.Value]()
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            pending += values.handed_out(value)
            for node, k in value.uses():
                if moves(node, k):
                    pending += node.outputs
                elif multiplies(node) and node not in own:
                    yield from [(node, 1 - k)] * values.depends(node.inputs[1 - k], self.known)


def _written_out(values: Values) -> Iterator[_Scan]:
    """Time steps one behind the other."""
    scans: dict[ir.Node, _Scan] = {}
    for node in values.nodes:
        for product, at, added in values.updates(node):
            before = values.unmoved(product.inputs[at])
            sum_before = None if before is None else before.producer()
            if before is None or sum_before is None or added is None:
                continue
            link = _link(values, sum_before, product.inputs[1 - at])
            if link is None or values.depends(product.inputs[1 - at], [before]):
                continue
            if sum_before not in scans:
                scans[sum_before] = _Scan([], [], [before])
                _add(scans[sum_before], *link)
            scan = scans[node] = scans[sum_before]
            scan.states.append(node.outputs[0])
            _add(scan, product, at, added)
            break
    yield from dict.fromkeys(scans.values())


def _link(
    values: Values, node: ir.Node, coefficient: ir.Value | None
) -> tuple[ir.Node, int, ir.Value | None] | None:
    """As which update a sum is the step before one with this coefficient."""
    for product, at, added in values.updates(node):
        own = product.inputs[1 - at]
        if values.varies(own) and values.alike(own, coefficient):
            return product, at, added
    return None


def _add(scan: _Scan, product: ir.Node, state: int, added: ir.Value | None) -> None:
    scan.updates.append((product, 1 - state))
    before = product.inputs[state]
    if before is not None:
        scan.states.append(before)
    if added is not None:
        scan.added.append(added)


def _carried(values: Values) -> Iterator[_Scan]:
    """Steps that a Loop or Scan runs."""
    for got, carried_on in values.states.items():
        unmoved = values.unmoved(carried_on)
        node = None if unmoved is None else unmoved.producer()
        for product, at, added in () if node is None else values.updates(node):
            gate = product.inputs[1 - at]
            others = [v for v in values.states if v.graph is got.graph and _is_float(v)]
            if values.unmoved(product.inputs[at]) is got and not values.depends(gate, others):
                scan = _Scan([], [], [v for v in (got, carried_on, unmoved) if v is not None])
                _add(scan, product, at, added)
                yield scan
                break


def _factors(values: Values, value: ir.Value) -> Iterator[tuple[ir.Value, list[Gated]]]:
    """What a value is a multiple of, nearest first, with the products on the way there."""
    pending: list[tuple[ir.Value | None, list[Gated]]] = [(value, [])]
    while pending:
        factor, products = pending.pop(0)
        unmoved, product = values.unmoved(factor), values.product(factor)
        if products and unmoved is not None:
            yield unmoved, products
        if product is not None and len(products) < FACTORS:
            pending += [(product.inputs[k], [*products, (product, 1 - k)]) for k in (0, 1)]


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()
