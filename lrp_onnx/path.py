"""The explanation path: the nodes through which relevance can go from the target to the explained
inputs.

It is descendants(inputs) ∩ ancestors(target) over the edges that carry relevance.  A value is
*active* if it depends on an explained input along such edges; an active input that no operator fact
lets relevance through is refused, so that nothing is dropped in silence.

A gate is a factor that is a function of the other factor alone, as in x·σ(x) or 0.5·x·(1 +
erf(x/√2)); with constant gates it is held constant (Achtibat et al. 2024, section 3.3), which makes
SiLU, GELU, Mish and HardSwish pass in whatever spelling.  So is a function of the signal's
reductions, as in x·rsqrt(mean(x²) + ε): RMSNorm and L2 norm pass.  Likewise the divisor of a
quotient of activations.

With constant attention a factor that is a softmax, moved or scaled, is held constant where it
multiplies another activation (Ali et al. 2022, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import networkx as nx
import onnx_ir as ir

from lrp_onnx.errors import TargetError, UnsupportedError
from lrp_onnx.expand import REFUSED
from lrp_onnx.ops.registry import Op, find
from lrp_onnx.refusal import refusal, type_of

__all__ = ["Step", "explanation_path"]

LAYER_KINDS = ("linear", "activation", "maximum")
MULTIPLYING = ("Mul", "Div", "Neg", "Cast", "Identity", "Dropout")
SPREADING = ("Expand", "Squeeze", "Unsqueeze")
POOLS = ("AveragePool", "GlobalAveragePool", "LpPool")


@dataclass(frozen=True)
class Step:
    """One node on the path, in topological order."""

    node: ir.Node
    op: Op
    kind: str
    active: tuple[int, ...]
    """The inputs that receive relevance."""
    index: int
    """Its position among linear, activation and pooling nodes, counted from 0."""
    position: int
    graph: nx.DiGraph = field(repr=False)

    def before(self) -> Iterator[int]:
        """Positions of its ancestors on the path, nearest first."""
        return (child for _, child in nx.bfs_edges(self.graph, self.position, reverse=True))

    def behind(self) -> Iterator[int]:
        """Positions of its descendants on the path, nearest first."""
        return (child for _, child in nx.bfs_edges(self.graph, self.position))


def explanation_path(
    graph: ir.Graph,
    inputs: Sequence[ir.Value],
    target: ir.Value,
    constant_gates: bool,
    constant_attention: bool = False,
) -> tuple[Step, ...]:
    """The nodes between `inputs` and `target` that relevance goes through, in topological order.

    Raises UnsupportedError listing every node on the path that cannot be explained, and TargetError
    if the target does not depend on the inputs.
    """
    flow = _Flow(set(inputs), constant_gates, constant_attention)
    for node in graph:
        flow.visit(node)
    needed = _needed(flow, target)
    if target not in flow.active or not (needed & set(flow.carried) or target in inputs):
        names = ", ".join(repr(v.name) for v in inputs)
        raise TargetError(
            f"output {target.name!r}: it does not depend on {names}{_but_through(flow, target)}. "
            "Choose with --output or --explain."
        )
    refused = {node: reason for node, reason in flow.refused.items() if node in needed}
    if refused:
        raise refusal(refused)
    return _steps(flow, [node for node in flow.carried if node in needed])


class _Flow:
    """The forward half: which values are active, through which inputs, and what is refused."""

    def __init__(
        self, active: set[ir.Value], constant_gates: bool, constant_attention: bool
    ) -> None:
        self.active = active
        self.constant_gates = constant_gates
        self.constant_attention = constant_attention
        self.carried: dict[ir.Node, tuple[int, ...]] = {}
        self.kinds: dict[ir.Node, str] = {}
        self.refused: dict[ir.Node, str] = {}
        self.silent: set[ir.Node] = set()
        """Nodes that active values reach and that carry no relevance."""

    def visit(self, node: ir.Node) -> None:
        active = tuple(i for i, v in enumerate(node.inputs) if v in self.active)
        captured = any(v in self.active for v in _captures(node))
        if not active and not captured:
            return
        operator = find(node)
        if operator is None or operator.stand == "refused" or captured:
            self.refuse(node, active, _reason(node, operator))
            return
        if operator.kind == "none":
            self.silent.add(node)
            return
        carried = tuple(i for i in active if operator.carries(i))
        try:
            kind = operator.kind_of(node, carried)
        except UnsupportedError as e:
            self.refuse(node, active, str(e))
            return
        if kind == "none":
            self.silent.add(node)
            return
        dropped = [i for i in active if i not in carried and i not in operator.gates]
        if dropped:
            self.refuse(node, active, f"its input {dropped[0]} depends on the explained input")
            return
        if not carried:
            return
        if self.constant_gates:
            carried = self.signal(node, kind, carried)
        if self.constant_attention:
            carried = self.attended(kind, node, carried)
        alone = {"product": "scale", "bilinear": "linear"} if len(carried) == 1 else {}
        self.kinds[node] = alone.get(kind, kind)
        self.carried[node] = carried
        self.active.update(node.outputs)

    def refuse(self, node: ir.Node, active: tuple[int, ...], reason: str) -> None:
        self.refused[node] = reason
        self.carried[node] = active
        self.active.update(node.outputs)

    def signal(self, node: ir.Node, kind: str, carried: tuple[int, ...]) -> tuple[int, ...]:
        """The inputs without the gate, if one of them is a gate."""
        if kind == "quotient" and len(carried) == 2:
            return (0,)
        if kind == "product" and node.op_type == "Mul":
            for signal, gate in ((0, 1), (1, 0)):
                if self.is_gate(node.inputs[gate], self.rescaled(node.inputs[signal])):
                    return (signal,)
        return carried

    def attended(self, kind: str, node: ir.Node, carried: tuple[int, ...]) -> tuple[int, ...]:
        """The inputs without those that are attention weights, if there are others."""
        if kind not in ("product", "bilinear"):
            return carried
        values = tuple(i for i in carried if not self.is_attention(node.inputs[i]))
        return values or carried

    def is_attention(self, value: ir.Value | None) -> bool:
        """Whether the value is a softmax, moved, selected from or times something."""
        while value is not None and (node := value.producer()) in self.kinds:
            assert node is not None
            if self.kinds[node] == "softmax":
                return True
            if self.kinds[node] not in ("move", "scale") or len(self.carried[node]) != 1:
                return False
            value = node.inputs[self.carried[node][0]]
        return False

    def rescaled(self, value: ir.Value | None) -> set[ir.Value]:
        """The value and those it is a multiple of, by constants or by gates."""
        found: set[ir.Value] = set()
        while value is not None:
            found.add(value)
            node = value.producer()
            if node is None or not self.multiplies(node):
                break
            value = node.inputs[self.carried[node][0]]
        return found

    def multiplies(self, node: ir.Node) -> bool:
        """Whether the output is the one input that relevance goes to, times something."""
        if node not in self.carried or node.op_type not in MULTIPLYING:
            return False
        return len(self.carried[node]) == 1 and (node.op_type, self.carried[node]) != ("Div", (1,))

    def is_gate(self, value: ir.Value | None, signals: set[ir.Value]) -> bool:
        """Whether the value is a function of the signals and constants alone, by operators that are
        elementwise or reduce.
        """
        pending, seen = [value], set(signals)
        while pending:
            value = pending.pop()
            if value is None or value not in self.active or value in seen:
                continue
            seen.add(value)
            node = value.producer()
            operator = None if node is None else find(node)
            if node is None or operator is None or not _may_gate(node, operator):
                return False
            pending += node.inputs
        return True


def _but_through(flow: _Flow, target: ir.Value) -> str:
    """The nodes without relevance through which alone the target depends on the inputs."""
    pending, seen, found = [target], set(), []
    while pending:
        node = pending.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in flow.silent:
            found.append(f"{node.name!r} ({type_of(node)})")
        else:
            pending += [v for v in node.inputs if v is not None]
    return f" but through {', '.join(found)}, which carry no relevance" if found else ""


def _may_gate(node: ir.Node, operator: Op) -> bool:
    """Whether it may stand between a signal and its gate: it is elementwise, reduces, or copies
    what was reduced.
    """
    return operator.elementwise or node.op_type.startswith("Reduce") or node.op_type in SPREADING


def _captures(node: ir.Node) -> Iterator[ir.Value]:
    """Values of outer graphs that the node's bodies read."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                yield from (v for v in inner.inputs if v is not None)


def _needed(flow: _Flow, target: ir.Value) -> set[ir.Node]:
    """The nodes that lead to the target along carrying edges."""
    graph = nx.DiGraph()
    graph.add_node(target)
    for node, carried in flow.carried.items():
        graph.add_edges_from((node, value) for value in node.outputs)
        sources = carried if carried else range(len(node.inputs))
        graph.add_edges_from((node.inputs[i], node) for i in sources)
    return {found for found in nx.ancestors(graph, target) if isinstance(found, ir.Node)}


def _steps(flow: _Flow, nodes: list[ir.Node]) -> tuple[Step, ...]:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(nodes)))
    position = {node: k for k, node in enumerate(nodes)}
    steps, index = [], 0
    for k, node in enumerate(nodes):
        active = flow.carried[node]
        parents = [value.producer() for i in active if (value := node.inputs[i]) is not None]
        graph.add_edges_from((position[p], k) for p in parents if p in position)
        operator = find(node)
        assert operator is not None
        steps.append(Step(node, operator, flow.kinds[node], active, index, k, graph))
        index += flow.kinds[node] in LAYER_KINDS or node.op_type in POOLS
    return tuple(steps)


def _reason(node: ir.Node, operator: Op | None) -> str:
    """Why relevance cannot go through a node that its operator alone rules out."""
    if REFUSED in node.metadata_props:
        return node.metadata_props[REFUSED]
    if operator is None:
        return f"{type_of(node)} is not supported"
    return operator.reason or "it has a body"
