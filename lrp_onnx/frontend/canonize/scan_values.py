"""Where the values of a recurrence come from, across the bounds of bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.graph.attributes import einsum_labels
from lrp_onnx.graph.subgraphs import bodies_of, nodes_of, ports_of
from lrp_onnx.ops.registry import find

__all__ = ["Values", "moves", "multiplies"]

ALIKE = 6
"""As many nodes in a row are compared to find out whether two coefficients have one origin."""


class Values:
    """Where the values of a model come from, across the bounds of bodies."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(nodes_of(model.graph))
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

    def unmoved(self, value: ir.Value | None) -> ir.Value | None:
        """The value that this one is moved or selected from."""
        while value is not None:
            node = value.producer()
            before = self.outer.get(value) if node is None else None
            if node is not None and moves(node, 0):
                before = node.inputs[0]
            if before is None:
                return value
            value = before
        return None

    def varies(self, value: ir.Value | None) -> bool:
        """Whether it is no weight."""
        unmoved = self.unmoved(value)
        return unmoved is not None and not unmoved.is_initializer()

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
        unmoved = self.unmoved(value)
        node = None if unmoved is None else unmoved.producer()
        return node if node is not None and multiplies(node) and not sums(node) else None

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
        a, b = self.unmoved(a), self.unmoved(b)
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


def moves(node: ir.Node, k: int) -> bool:
    """Whether it hands input k on, moved or selected from, in another precision or not."""
    operator = find(node)
    if node.op_type == "Cast" and not node.domain:
        return k == 0
    if operator is None or not operator.moves or operator.moves == "repeats":
        return False
    return k == 0 or operator.moves == "joins"


def multiplies(node: ir.Node) -> bool:
    """Whether it is a product of two."""
    return not node.domain and node.op_type in ("Mul", "MatMul", "Einsum") and len(node.inputs) == 2


def sums(node: ir.Node) -> bool:
    """Whether products are summed up, too."""
    if node.op_type == "Einsum":
        operands, result = einsum_labels(node)
        return not {*"".join(operands)} <= {*result}
    x = node.inputs[0]
    size = x.shape[-1] if x is not None and x.shape is not None and len(x.shape) else None
    return node.op_type == "MatMul" and size != 1
