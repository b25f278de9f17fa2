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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.annotations import GATE
from lrp_onnx.graph.subgraphs import bodies_of, ports_of
from lrp_onnx.ops.registry import find

__all__ = ["mark_scans"]

FACTORS = 4
"""As many products may be nested that a signal is a factor of."""
ALIKE = 6
"""As many nodes in a row are compared to find out whether two coefficients have one origin."""

Gated = tuple[ir.Node, int]
"""A product and the number of the input that is a gate."""


def mark_scans(model: ir.Model) -> None:
    """Mark the gates of every selective scan, in every graph."""
    values = _Values(model)
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

    def signals(self, values: _Values) -> Iterator[Gated]:
        """The products b·u on the way to the signals."""
        for value in self.added:
            for signal, products in _factors(values, value):
                gates = [(p, k) for p, k in products if values.varies(p.inputs[k])]
                if gates and all(values.depends(p.inputs[k], [signal]) for p, k in gates):
                    self.known.append(signal)
                    yield from gates
                    break

    def readers(self, values: _Values) -> Iterator[Gated]:
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
                if _moves(node, k):
                    pending += node.outputs
                elif _multiplies(node) and node not in own:
                    yield from [(node, 1 - k)] * values.depends(node.inputs[1 - k], self.known)


class _Values:
    """Where the values of a model come from, across the bounds of bodies."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
        self.order = {node: k for k, node in enumerate(self.nodes)}
        self.outer: dict[ir.Value, ir.Value] = {}
        """Of what a body reads slice by slice the whole."""
        self.results: dict[ir.Value, list[ir.Value]] = {}
        """What a body hands out, as the outputs of its node."""
        self.states: dict[ir.Value, ir.Value] = {}
        """Carried values as a body gets them, with what it carries on."""
        for node in self.nodes:
            if node.op_type in ("Loop", "Scan") and not node.domain:
                self._connect(node)

    def _connect(self, node: ir.Node) -> None:
        ports, (body,) = ports_of(node), bodies_of(node)
        for part in ports.read:
            whole = node.inputs[part.node]
            if whole is not None:
                self.outer[body.inputs[part.body]] = whole
        for n, b in ports.outputs.items():
            self.results.setdefault(body.outputs[b], []).append(node.outputs[n])
        for _, got, carried_on in ports.states:
            self.states[body.inputs[got]] = body.outputs[carried_on]

    def handed_out(self, value: ir.Value) -> list[ir.Value]:
        """What a node gives whose body gives the value."""
        return self.results.get(value, [])

    def source(self, value: ir.Value | None) -> ir.Value | None:
        """The value that this one is moved or selected from."""
        while value is not None:
            node = value.producer()
            before = self.outer.get(value) if node is None else None
            if node is not None and _moves(node, 0):
                before = node.inputs[0]
            if before is None:
                return value
            value = before
        return None

    def varies(self, value: ir.Value | None) -> bool:
        """Whether it is no weight."""
        source = self.source(value)
        return source is not None and not source.is_initializer()

    def depends(self, value: ir.Value | None, on: Sequence[ir.Value]) -> bool:
        """Whether the value is computed from one of the others."""
        wanted = set(on)
        makers = [v.producer() for v in wanted]
        first = min((-1 if m is None else self.order[m] for m in makers), default=0)
        pending, seen = [value], set[ir.Value]()
        while pending:
            value = pending.pop()
            if value is None or value in seen:
                continue
            if value in wanted:
                return True
            seen.add(value)
            node = value.producer()
            if node is None:
                pending.append(self.outer.get(value))
            elif self.order[node] >= first:
                pending += node.inputs
        return False

    def product(self, value: ir.Value | None) -> ir.Node | None:
        """The product of two activations that a value comes from."""
        source = self.source(value)
        node = None if source is None else source.producer()
        return node if node is not None and _multiplies(node) and not _sums(node) else None

    def updates(self, node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value | None]]:
        """As what a sum may be read: a product, which of its factors is the state, and the other
        operand.
        """
        if node.op_type != "Add" or node.domain:
            return
        for k, other in ((0, 1), (1, 0)):
            product = self.product(node.inputs[k])
            if product is not None:
                for state in (0, 1):
                    yield product, state, node.inputs[other]

    def alike(self, a: ir.Value | None, b: ir.Value | None, left: int = ALIKE) -> bool:
        """Whether two values are computed from the same weights by the same operators, or are
        parts of one.
        """
        a, b = self.source(a), self.source(b)
        if a is b:
            return True
        if a is None or b is None:
            return False
        if not left:
            return True
        first, second = a.producer(), b.producer()
        if first is None or second is None or a.is_initializer() or b.is_initializer():
            return False
        same = (first.op_type, len(first.inputs)) == (second.op_type, len(second.inputs))
        return same and all(
            self.alike(x, y, left - 1) for x, y in zip(first.inputs, second.inputs, strict=True)
        )


def _written_out(values: _Values) -> Iterator[_Scan]:
    """Time steps one behind the other."""
    scans: dict[ir.Node, _Scan] = {}
    for node in values.nodes:
        for product, at, added in values.updates(node):
            before = values.source(product.inputs[at])
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
    values: _Values, node: ir.Node, coefficient: ir.Value | None
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


def _carried(values: _Values) -> Iterator[_Scan]:
    """Steps that a Loop or Scan runs."""
    for got, carried_on in values.states.items():
        source = values.source(carried_on)
        node = None if source is None else source.producer()
        for product, at, added in () if node is None else values.updates(node):
            gate = product.inputs[1 - at]
            others = [v for v in values.states if v.graph is got.graph and _is_float(v)]
            if values.source(product.inputs[at]) is got and not values.depends(gate, others):
                scan = _Scan([], [], [v for v in (got, carried_on, source) if v is not None])
                _add(scan, product, at, added)
                yield scan
                break


def _factors(values: _Values, value: ir.Value) -> Iterator[tuple[ir.Value, list[Gated]]]:
    """What a value is a multiple of, nearest first, with the products on the way there."""
    pending: list[tuple[ir.Value | None, list[Gated]]] = [(value, [])]
    while pending:
        factor, products = pending.pop(0)
        source, product = values.source(factor), values.product(factor)
        if products and source is not None:
            yield source, products
        if product is not None and len(products) < FACTORS:
            pending += [(product.inputs[k], [*products, (product, 1 - k)]) for k in (0, 1)]


def _moves(node: ir.Node, k: int) -> bool:
    """Whether it hands input k on, moved or selected from, in another precision or not."""
    operator = find(node)
    if node.op_type == "Cast" and not node.domain:
        return k == 0
    if operator is None or not operator.moves or operator.moves == "repeats":
        return False
    return k == 0 or operator.moves == "joins"


def _multiplies(node: ir.Node) -> bool:
    """Whether it is a product of two."""
    return not node.domain and node.op_type in ("Mul", "MatMul", "Einsum") and len(node.inputs) == 2


def _sums(node: ir.Node) -> bool:
    """Whether products are summed up, too."""
    if node.op_type == "Einsum":
        terms, _, result = node.attributes.get_string("equation", "").partition("->")
        return not {*terms} - {",", " "} <= {*result}
    x = node.inputs[0]
    size = x.shape[-1] if x is not None and x.shape is not None and len(x.shape) else None
    return node.op_type == "MatMul" and size != 1


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()
