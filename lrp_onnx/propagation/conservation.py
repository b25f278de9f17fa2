"""What happens to the relevance at each node, as extra outputs of the graph: the basis of `verify`.

For a share with ratio s over Z = C + B (contributions of the inputs plus bias) the relevance taken
is

    factor·R·[where] = s·C  +  s·B  +  absorbed,    absorbed = factor·R·[where] - s·Z,

so s·C is what must reach the inputs, s·B is the bias's, and `absorbed` the stabilizer's, or, where
Z = 0 and nothing can be shared out, the rule's own loss.  The account closes only if the
vector-Jacobian product is the transpose of the forward: R_in is measured behind it, the other terms
before it.

Of an If, Loop or Scan it is what the nodes in its bodies book, summed over iterations: each run of
a body sums up its own nodes' accounts; the sums leave the body beside the relevance.  Dropped is
also what starts at an output of the body that nothing explained leads to, and what reaches a
constant state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.annotations import ACCOUNT_COLUMNS
from lrp_onnx.graph.arithmetic import Operand, add, multiply, subtract
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.dtypes import is_integer
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.lrp.assigned import Assigned

__all__ = [
    "BOOKED",
    "Account",
    "Accounts",
    "BodyAccount",
    "columns",
    "of_inactive",
    "total",
    "untaken",
]

BOOKED = ("magnitude", "bias", "stabilizer", "dropped", "inside")
"""What a run of a body hands out: Σ|R_out| over its nodes, what took of their relevance, and by how
much their accounts are off."""
RESIDUAL = {"out": 1.0, "in": -1.0, "bias": -1.0, "stabilizer": -1.0, "dropped": -1.0}
"""What of a node's relevance is not accounted for, as a sum over its account."""


class Account:
    """Sums over one node while its shares are booked; at first all relevance counts as dropped."""

    def __init__(self, emit: Emit, relevance: Sequence[ir.Value]) -> None:
        self.emit = emit
        self.bias: Operand = 0.0
        self.stabilizer: Operand = 0.0
        self.dropped = total(emit, relevance)

    def add_share(
        self,
        factor: float,
        relevance: ir.Value,
        s: ir.Value,
        z: ir.Value,
        contributed: Operand,
        lost: bool,
        times: int,
    ) -> None:
        """Book one share; with `lost` the bias counts as the rule's own loss. `times` as much is
        taken and propagated: to each factor of a product the whole share.
        """
        emit = self.emit
        taken = multiply(emit, times * factor, relevance)
        s = emit.op("Mul", s, float(times)) if times > 1 else s
        dead = emit.op("Equal", z, 0.0)
        # where nothing is shared out z may be infinite, such as that of a masked score
        z = emit.op("Where", emit.op("Equal", s, 0.0), 0.0, z)
        absorbed = subtract(emit, taken, multiply(emit, s, z))
        of_epsilon = _sum(emit, emit.op("Where", dead, 0.0, absorbed))
        self.stabilizer = add(emit, self.stabilizer, of_epsilon)
        self.dropped = add(emit, self.dropped, _sum(emit, emit.op("Where", dead, absorbed, 0.0)))
        of_bias = _sum(emit, multiply(emit, s, subtract(emit, z, contributed)))
        self.bias = add(emit, self.bias, 0.0 if lost else of_bias)
        rest = subtract(emit, of_bias if lost else 0.0, _sum(emit, taken))
        self.dropped = add(emit, self.dropped, rest)


@dataclass
class Accounts:
    """Collects one tensor of `ACCOUNT_COLUMNS` per node."""

    rows: list[tuple[Assigned, ir.Value, bool]] = field(default_factory=list)
    """The node, its sums, and whether its rule conserves relevance but for what is booked."""

    def include(self, emit: Emit, other: Accounts) -> None:
        """Add another's accounts, of the same nodes for another class."""
        known = [sums for _, sums, _ in self.rows]
        added = [
            emit.op("Add", known[k], sums) if known else sums
            for k, (_, sums, _) in enumerate(other.rows)
        ]
        self.rows = [
            (site, sums, conserves)
            for (site, _, conserves), sums in zip(other.rows, added, strict=True)
        ]

    def of_rule(
        self,
        emit: Emit,
        site: Assigned,
        arriving: Sequence[ir.Value | None],
        propagated: Sequence[ir.Value],
    ) -> None:
        """Book a node that propagates by its rule: the relevance that the graph computes."""
        like = ir.Value(shape=ir.Shape([len(ACCOUNT_COLUMNS)]), type=ir.TensorType(emit.dtype))
        (sums,) = emit.relevance("Account", [*arriving, *propagated], [like], site)
        self.rows.append((site, sums, _conserves(site)))

    def of_body(
        self,
        emit: Emit,
        site: Assigned,
        arriving: Sequence[ir.Value | None],
        propagated: Sequence[ir.Value],
        booked: Sequence[ir.Value],
        conserves: bool,
    ) -> None:
        """Book a node with bodies; booked: Σ|R_out| inside them, what bias, stabilizer and rules
        took there, and by how much accounts are off.
        """
        magnitude, *taken, off = booked
        relevance = [r for r in arriving if r is not None]
        sums = columns(emit, relevance, propagated, taken, (magnitude, off))
        self.rows.append((site, sums, conserves))


@dataclass
class BodyAccount:
    """Collects while a node's bodies are walked back."""

    conserves: bool = True
    booked: ir.Value | None = None
    """The sums over all runs, one of each."""
    lost: list[ir.Value] = field(default_factory=list)
    """Relevance that left the bodies for nothing explained."""

    def of_run(self, emit: Emit, inside: Accounts, lost: Sequence[ir.Value]) -> ir.Value:
        """BOOKED of one run: of the nodes `inside`, and of relevance that nothing takes."""
        self.conserves &= all(conserves for *_, conserves in inside.rows)
        total = self.nothing(emit)
        columns = emit.ints(*(ACCOUNT_COLUMNS.index(name) for name in BOOKED))
        for _, row, _ in inside.rows:
            own = emit.op("Cast", row, to=int(emit.dtype))
            total = emit.op("Add", total, emit.op("Gather", own, columns, axis=0))
            factors = emit.constant([RESIDUAL.get(name, 0.0) for name in ACCOUNT_COLUMNS])
            off = emit.op("Abs", emit.op("ReduceSum", emit.op("Mul", own, factors), keepdims=0))
            total = emit.op("Add", total, self.only(emit, "inside", off))
        for r in lost:
            total = emit.op("Add", total, self.dropped(emit, r))
        return total

    def nothing(self, emit: Emit) -> ir.Value:
        """Where the sums begin."""
        return emit.constant([0.0] * len(BOOKED))

    def dropped(self, emit: Emit, r: ir.Value) -> ir.Value:
        """Relevance that is lost, as BOOKED."""
        lost = emit.op("ReduceSum", r, keepdims=0)
        return self.only(emit, "dropped", emit.op("Cast", lost, to=int(emit.dtype)))

    def only(self, emit: Emit, name: str, number: ir.Value) -> ir.Value:
        """A number at its place in BOOKED."""
        return emit.op("Mul", emit.constant([float(name == other) for other in BOOKED]), number)

    def like(self, emit: Emit) -> ir.Value:
        """What the sums are shaped like."""
        kind = ir.TensorType(emit.dtype)
        return ir.Value(name=emit.fresh("lrp"), shape=ir.Shape([len(BOOKED)]), type=kind)

    def close(self, emit: Emit) -> list[ir.Value]:
        """BOOKED of the node, one number each."""
        total = self.nothing(emit) if self.booked is None else self.booked
        for r in self.lost:
            total = emit.op("Add", total, self.dropped(emit, r))
        return [emit.op("Gather", total, emit.ints(k), axis=0) for k in range(len(BOOKED))]


def untaken(
    start: Mapping[ir.Value, ir.Value], nodes: Sequence[Assigned], wanted: Collection[ir.Value]
) -> list[ir.Value]:
    """The relevance that starts where no node takes it and nothing is wanted."""
    taken = {v for site in nodes for v in site.step.node.outputs} | set(wanted)
    return [r for value, r in start.items() if value not in taken]


def _conserves(site: Assigned) -> bool:
    """Whether the rule conserves relevance but for what is booked."""
    if site.rule.shares or site.step.kind in ("move", "maximum"):
        return True
    return not site.rule.by_derivative


def columns(
    emit: Emit,
    relevance: Sequence[ir.Value],
    propagated: Sequence[ir.Value],
    booked: Sequence[Operand],
    inside: tuple[Operand, Operand] = (0.0, 0.0),
) -> ir.Value:
    """The sums of one account as ACCOUNT_COLUMNS."""
    magnitude = add(emit, inside[0], total(emit, [emit.op("Abs", r) for r in relevance]))
    received = total(emit, propagated)
    if isinstance(received, ir.Value):  # behind a Cast it may be of another dtype
        received = emit.op("Cast", received, to=int(emit.dtype))
    sums = (total(emit, relevance), magnitude, received, *booked, inside[1])
    parts = [
        emit.op("Reshape", s if isinstance(s, ir.Value) else emit.constant(s), emit.ints(1))
        for s in sums
    ]
    return emit.op("Concat", *parts, axis=0)


def of_inactive(emit: Emit, site: Assigned, relevance: ir.Value) -> Operand:
    """The relevance of elements that do not come from an active input, such as padding or a
    concatenated constant.
    """
    node, op, replaced = site.step.node, site.step.op, {}
    if any(is_integer(node.inputs[i]) for i in site.step.active):
        return 0.0  # token ids: every element comes from one of them
    for i, value in enumerate(node.inputs):
        if value is None or i in op.gates or is_integer(value):  # positions are no elements
            continue
        replaced[i] = expand_like(emit, 1.0 if i in site.step.active else 0.0, value)
    if len(replaced) == len(site.step.active) == 1 and node.op_type != "Pad":
        return 0.0
    own = forward_copy(emit, node, dict(replaced))
    return subtract(emit, _sum(emit, relevance), _sum(emit, emit.op("Mul", relevance, own)))


def _sum(emit: Emit, value: Operand) -> Operand:
    return emit.op("ReduceSum", value, keepdims=0) if isinstance(value, ir.Value) else value


def total(emit: Emit, values: Sequence[ir.Value]) -> Operand:
    """The sum over all elements of all tensors."""
    sums: Operand = 0.0
    for value in values:
        sums = add(emit, sums, _sum(emit, value))
    return sums
