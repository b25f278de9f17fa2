"""The explanation path: the nodes through which relevance can go from the target to the explained
inputs.

It is descendants(inputs) ∩ ancestors(target) over the edges that carry relevance.  A value is
*active* if it depends on an explained input along such edges; an active input that no operator fact
lets relevance through is refused, so that nothing is dropped in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import networkx as nx
import onnx_ir as ir

from lrp_onnx.analysis.across_bodies import AcrossBodies
from lrp_onnx.analysis.factors import Factors
from lrp_onnx.analysis.step import Body, Place, Step
from lrp_onnx.errors import TargetError, UnsupportedError
from lrp_onnx.graph.annotations import CELL, REFUSED
from lrp_onnx.graph.dtypes import is_integer
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.refusal import refusal, type_of
from lrp_onnx.graph.subgraphs import Ports, bodies_of, captures, ports_of
from lrp_onnx.ops.codes import NOTHING, arithmetic_on_codes, names_rows
from lrp_onnx.ops.registry import Op, find

__all__ = ["ends_of_paths", "explanation_path"]

NUMBERED = ("linear", "activation", "maximum")
"""Kinds that count as layers, all operators of them."""


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
    flow.visit_all(graph)
    needed = flow.leading_to([target])[0]
    if target not in flow.active or not (needed & set(flow.nodes) or target in inputs):
        names = ", ".join(repr(v.name) for v in inputs)
        raise TargetError(
            f"output {target.name!r}: it does not depend on {names}{_but_through(flow, target)}. "
            "Choose another one with --output, or inputs with --explain."
        )
    if refused := flow.refused_among(needed):
        raise refusal(refused)
    return tuple(_steps(flow, needed, None, Counter()))


def ends_of_paths(
    graph: ir.Graph, inputs: Sequence[ir.Value], target: ir.Value, constant_gates: bool
) -> str:
    """In words, the nodes without relevance through which alone the target depends on the
    inputs.
    """
    flow = _Flow(set(inputs), constant_gates, False)
    flow.visit_all(graph)
    return _but_through(flow, target)


class _Flow(Factors):
    """The forward half: which values are active, through which inputs, and what is refused."""

    def __init__(
        self,
        active: set[ir.Value],
        constant_gates: bool,
        constant_attention: bool,
        across: AcrossBodies | None = None,
    ) -> None:
        super().__init__(active, AcrossBodies() if across is None else across)
        self.nodes: dict[ir.Node, None] = {}
        """Those of this graph that relevance may go through, in order."""
        self.constant_gates = constant_gates
        self.constant_attention = constant_attention
        self.operators: dict[ir.Node, Op] = {}
        self.codes = {v for v in active if is_integer(v)}
        """Integers that are made of nothing but integer inputs."""
        self.captured: dict[ir.Node, tuple[ir.Value, ...]] = {}
        self.inside: dict[ir.Node, list[_Inside]] = {}
        self.refused: dict[ir.Node, str] = {}
        self.silent: set[ir.Node] = set()
        """Nodes that active values reach and that carry no relevance."""

    def visit_all(self, graph: ir.Graph) -> None:
        """Visit every node of a graph in its order."""
        for node in graph:
            self.visit(node)

    def visit(self, node: ir.Node) -> None:
        active = tuple(i for i, v in enumerate(node.inputs) if v in self.active)
        captured = any(v in self.active for v in captures(node))
        if not active and not captured:
            return
        operator = find(node)
        if operator is None or operator.support in ("refused", "expanded"):
            self.refuse(node, active, _reason(node, operator))
            return
        if operator.kind == "body":
            self.visit_bodies(node, active)
            return
        operator = self.of_codes(node, operator, active)
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
        dropped = sorted({*active}.difference(carried, operator.gates))
        if dropped:
            self.refuse(node, active, f"its input {dropped[0]} depends on the explained input")
            return
        if self.constant_gates and operator.signal is not None:
            carried = tuple(i for i in carried if i in operator.signal)
        if not carried:
            return
        if self.constant_gates and not (carried := self.signal(node, operator, kind, carried)):
            self.silent.add(node)
            return
        if self.constant_attention:
            carried = self.attended(kind, node, carried)
        alone = {"product": "scale", "bilinear": "linear"} if len(carried) == 1 else {}
        in_cell = node.metadata_props.get(CELL) if self.constant_gates else None
        self.kinds[node] = in_cell or alone.get(kind, kind)
        self.operators[node] = operator
        constant = operator.constant_outputs
        self.note(node, carried, [v for k, v in enumerate(node.outputs) if k not in constant])

    def note(self, node: ir.Node, carried: tuple[int, ...], active: Iterable[ir.Value]) -> None:
        """Note the inputs that relevance goes to, and the outputs that are active by it."""
        self.nodes[node], self.carried[node] = None, carried
        self.active.update(active)
        self.across.active.update(active)

    def of_codes(self, node: ir.Node, operator: Op, active: tuple[int, ...]) -> Op:
        """The operator, or what it is where it makes an id of ids: sharing, unless it only moves
        them; an operator over whole axes counts, and its result is none.
        """
        signals = [i for i in active if i not in operator.gates]
        made = [v for v in node.outputs if is_integer(v)]
        if not made or not signals or any(node.inputs[i] not in self.codes for i in signals):
            return operator
        if not any(map(names_rows, made)):  # a number, which becomes a float
            return operator
        if operator.elementwise and operator.kinds != ("move",):
            operator = arithmetic_on_codes(len(signals))
        if operator.kinds != ("move",):
            return NOTHING
        self.codes.update(made)
        return operator

    def visit_bodies(self, node: ir.Node, active: tuple[int, ...]) -> None:
        """Look into the bodies of If, Loop or Scan: what of them is active, and from where."""
        ports = ports_of(node)
        inside = [self.visit_body(node, ports, body) for body in bodies_of(node)]
        self.inside[node], self.kinds[node] = inside, "body"
        written = {b for body in inside for b in body.outputs}
        self.note(node, active, [node.outputs[n] for n, b in ports.outputs.items() if b in written])
        self._note_ends(node, ports, inside)
        self.across.leave(node, ports, bodies_of(node))

    def _note_ends(self, node: ir.Node, ports: Ports, inside: Sequence[_Inside]) -> None:
        """Note from where the node's bodies are active."""
        reached = {b for body in inside for b in body.inputs}
        active = self.carried[node]
        self.carried[node] = tuple(i for i in active if ports.inputs.get(i) in reached)
        around = (v for body in inside for v in body.captured if v in self.active)
        self.captured[node] = tuple(dict.fromkeys(around))

    def visit_body(self, node: ir.Node, ports: Ports, body: ir.Graph) -> _Inside:
        """Follow the active values through a body; a carried value is active from the iteration on
        that makes it so.
        """
        inputs = {b for n, b in ports.inputs.items() if node.inputs[n] in self.active}
        self.across.enter(node, ports)
        while True:
            active = self.active | {body.inputs[b] for b in inputs}
            flow = _Flow(active, self.constant_gates, self.constant_attention, self.across)
            flow.visit_all(body)
            outputs = {k for k, v in enumerate(body.outputs) if v in flow.active}
            later = {b for _, b, out in ports.states if out in outputs} - inputs
            if not later:
                needed, _ = flow.leading_to([body.outputs[k] for k in outputs])
                return _Inside(body, flow, needed, inputs, outputs)
            inputs |= later

    def leading_to(self, targets: Sequence[ir.Value]) -> tuple[set[ir.Node], set[ir.Value]]:
        """The nodes and the values that lead to the targets along carrying edges; what in bodies
        leads to other outputs is left out.
        """
        while True:
            above = self._above(targets)
            values = {*targets, *(v for v in above if isinstance(v, ir.Value))}
            nodes = {node for node in above if isinstance(node, ir.Node)}
            narrowed = [self._narrow(node, values) for node in self.inside if node in nodes]
            if not any(narrowed):
                return nodes, values

    def _above(self, targets: Sequence[ir.Value]) -> set[ir.Node | ir.Value]:
        graph = nx.DiGraph()
        graph.add_nodes_from(targets)
        for node in self.nodes:
            graph.add_edges_from((node, value) for value in node.outputs)
            carries = self.carried[node] or node in self.inside
            read = self.receivers(node) if carries else node.inputs
            graph.add_edges_from((value, node) for value in read)
        return {v for target in targets for v in nx.ancestors(graph, target)}

    def _narrow(self, node: ir.Node, values: set[ir.Value]) -> bool:
        """Leave out what leads only to outputs that are none of these; says whether there was
        something.
        """
        ports, inside = ports_of(node), self.inside[node]
        wanted = {b for n, b in ports.outputs.items() if node.outputs[n] in values}
        narrowed = [body.narrow(ports, wanted) for body in inside]
        if any(narrowed):
            self._note_ends(node, ports, inside)
        return any(narrowed)

    def refused_among(self, needed: set[ir.Node]) -> dict[ir.Node, str]:
        """Which of these nodes, and of those inside them, are refused, and why."""
        refused = {}
        for node in self.nodes:
            if node not in needed:
                continue
            if node in self.refused:
                refused[node] = self.refused[node]
            for inside in self.inside.get(node, []):
                refused.update(inside.flow.refused_among(inside.needed))
        return refused

    def refuse(self, node: ir.Node, active: tuple[int, ...], reason: str) -> None:
        self.refused[node] = reason
        self.note(node, active, node.outputs)

    def receivers(self, node: ir.Node) -> list[ir.Value]:
        """The values that get relevance from a node: inputs, and what its bodies capture."""
        inputs = [v for i in self.carried[node] if (v := node.inputs[i]) is not None]
        return [*inputs, *self.captured.get(node, ())]


def _but_through(flow: _Flow, target: ir.Value) -> str:
    """The nodes without relevance through which alone the target depends on the inputs."""
    pending, seen, silent = [target], set(), []
    while pending:
        value = pending.pop()
        node = value.producer()
        if node is None or value in seen:
            continue
        seen.add(value)
        numbers_it = node in flow.operators and value not in flow.active  # as TopK its places
        if node in flow.silent or numbers_it:
            silent.append(f"{name_of(node)!r} ({type_of(node)})")
        else:
            pending += [v for v in node.inputs if v is not None]
    silent = list(dict.fromkeys(silent))
    return f" but through {', '.join(silent)}, which carry no relevance" if silent else ""


@dataclass
class _Inside:
    """The flow through one body."""

    body: ir.Graph
    flow: _Flow
    needed: set[ir.Node]
    inputs: set[int]
    outputs: set[int]

    @property
    def captured(self) -> Iterator[ir.Value]:
        """The values that its nodes on the path give relevance to."""
        for node in self.flow.nodes:
            if node in self.needed:
                yield from self.flow.receivers(node)

    def narrow(self, ports: Ports, wanted: set[int]) -> bool:
        """Leave out what does not lead to these outputs, be it through a carried value; says
        whether there was something.
        """
        outputs = self.outputs & wanted
        while True:
            needed, values = self.flow.leading_to([self.body.outputs[k] for k in outputs])
            before = {out for _, b, out in ports.states if self.body.inputs[b] in values}
            if before & self.outputs <= outputs:
                break
            outputs |= before & self.outputs
        if outputs == self.outputs:
            return False
        self.outputs, self.needed = outputs, needed
        self.inputs = {b for b in self.inputs if self.body.inputs[b] in values}
        return True


def _steps(
    flow: _Flow, needed: set[ir.Node], outer: Step | None, numbers: Counter[str]
) -> list[Step]:
    """The needed nodes as steps, in order; `layers` counts the layers."""
    graph, steps = nx.DiGraph(), list[Step]()
    nodes = [node for node in flow.nodes if node in needed]
    graph.add_nodes_from(range(len(nodes)))
    position = {node: k for k, node in enumerate(nodes)}
    for k, node in enumerate(nodes):
        parents = [value.producer() for value in flow.receivers(node)]
        graph.add_edges_from((position[p], k) for p in parents if p in position)
        operator, kind = flow.operators.get(node) or find(node), flow.kinds[node]
        assert operator is not None
        captured = flow.captured.get(node, ())
        place = Place(k, steps, graph, outer)
        step = Step(node, operator, kind, flow.carried[node], captured, numbers.total(), place)
        steps.append(step)
        if node in flow.inside:
            bodies = [_body(inside, step, numbers) for inside in flow.inside[node]]
            steps[-1] = replace(step, bodies=tuple(bodies))
        elif kind in NUMBERED or operator.numbered:
            numbers["passed"] += 1
    return steps


def _body(inside: _Inside, outer: Step, numbers: Counter[str]) -> Body:
    steps = _steps(inside.flow, inside.needed, outer, numbers)
    return Body(inside.body, tuple(steps), frozenset(inside.inputs), frozenset(inside.outputs))


def _reason(node: ir.Node, operator: Op | None) -> str:
    """Why relevance cannot go through a node that its operator alone rules out."""
    if REFUSED in node.metadata_props:
        return node.metadata_props[REFUSED]
    if operator is None or operator.support == "expanded":
        return f"{type_of(node)} is not supported"
    return operator.reason or "it has a body"
