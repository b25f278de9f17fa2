"""The prediction stays the model's own: its nodes are recorded, and put back once all is written.

The canonical view computes the same outputs by other nodes: a folded BatchNormalization, a norm in
one operator, the parts of an LSTM.  A tensor of the view has the name of the tensor of the model
that it equals, so in the end every reader of such a tensor, in the explanation too, gets the
model's, and of what only the view computes that stays which the explanation reads.

What is recorded is the model with its functions inlined, at its new opset.  A node goes where the
view has a constant in place of its results, if computing them rounds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.decompose.registry import OWN_LAYOUT
from lrp_onnx.frontend.recorded import Recorded
from lrp_onnx.graph.annotations import CHANGED, RULE, branches_taken, provenance, spelled_anew
from lrp_onnx.graph.clone import reads, written
from lrp_onnx.graph.constants import SMALL, rename
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of
from lrp_onnx.graph.unused import remove_unused
from lrp_onnx.ops.registry import REGISTRY

__all__ = ["Prediction"]

VIEW = "view"
"""The rule of a node that computes what the prediction does not; also behind names."""
Tensors = dict[str | None, ir.TensorProtocol]


def _tensors(graph: ir.Graph) -> Iterator[ir.Value]:
    """The tensors that the graph itself names."""
    yield from graph.inputs
    yield from tuple(graph.initializers.values())  # which a new name moves
    yield from (v for node in graph for v in node.outputs)


def _weights_of(graph: ir.Graph) -> Tensors:
    pairs = ((name, v.const_value) for name, v in graph.initializers.items())
    return {name: tensor for name, tensor in pairs if tensor is not None}


@dataclass(frozen=True)
class Prediction:
    """The nodes of a model in order, and its weights."""

    inputs: tuple[str | None, ...]
    nodes: tuple[Recorded, ...]
    weights: Tensors

    @staticmethod
    def of(model: ir.Model) -> Prediction:
        """What computes the model's outputs now."""
        graph = model.graph
        inputs = tuple(v.name for v in graph.inputs)
        return Prediction(inputs, tuple(map(Recorded.of, graph)), _weights_of(graph))

    @property
    def tensors(self) -> set[str | None]:
        """The names of the tensors that the nodes compute."""
        return {name for own in self.nodes for name in own.outputs if name}

    def put_back(self, model: ir.Model) -> None:
        """Let these nodes compute the outputs, and the explanation read their tensors."""
        restored = _Restored(self, model)
        for own in self.nodes:
            restored.visit(own)
        if restored.changed:
            restored.undo_moves()
            remove_unused(model)
            restored.put_in_order()


class _Restored:
    """A graph while the recorded nodes come back to it."""

    def __init__(self, prediction: Prediction, model: ir.Model) -> None:
        self.graph = graph = model.graph
        self.weights = dict(prediction.weights)
        self.taken, self.anew = branches_taken(model), spelled_anew(model)
        emitted = [v for n in graph if RULE in n.metadata_props for v in n.outputs]
        results = [v for n in graph if RULE not in n.metadata_props for v in n.outputs]
        self.view = {v.name: v for v in (*graph.initializers.values(), *results)}
        """The tensors of the canonical view by name."""
        self.emitted = {v.name: v for v in emitted}
        """Those of the explanation."""
        own = (v for v in graph.inputs if v.name in prediction.inputs)
        self.known: dict[str | None, ir.Value] = {v.name: v for v in own}
        """Those of the prediction."""
        self.exact = _integers(self.weights)
        """Tensors that weights or sizes decide without rounding, and whether they are integers."""
        self.signature = {v.name for v in (*graph.inputs, *graph.outputs)}
        self.linked = dict[ir.Value, ir.Value]()
        """The prediction's tensor in the place of one of the view."""
        self.own = set[ir.Node]()
        self.last: ir.Node | None = None
        self.changed = False

    def visit(self, own: Recorded) -> None:
        """Keep, write anew or leave out one node."""
        if self._is_folded(own):
            return
        if own.outputs[0] in self.anew:
            self.known[own.outputs[0]] = self.view[own.outputs[0]]
            return
        if own.outputs[0] in self.taken:
            self._visit_branch(own, self.taken[own.outputs[0]])
            return
        inputs = tuple(None if name is None else self._tensor(name) for name in own.inputs)
        known = [self.view[name] for name in own.outputs if name in self.view]
        node = known[0].producer() if known else None
        if node is None or not own.is_now(node, inputs, self.view):
            node = self._written(own, inputs)
        for name, value in zip(own.outputs, node.outputs, strict=True):
            if value.name and name not in self.view:  # the explanation reads it too
                value.name = self._free(name) if name else value.name
                self.changed = True
        self.own.add(node)
        self.last = node
        self.known.update(zip(own.outputs, node.outputs, strict=True))

    def _visit_branch(self, own: Recorded, name: str) -> None:
        """The nodes of the branch that is always taken in place of an If."""
        branch = next(a for a in own.attributes if a.name == name).as_graph()
        weights = _weights_of(branch)
        self.weights |= weights
        self.exact |= _integers(weights)
        for node in branch:
            self.visit(Recorded.of(node))
        for output, result in zip(own.outputs, branch.outputs, strict=True):
            self.known[output] = self._tensor(str(result.name))

    def _is_folded(self, own: Recorded) -> bool:
        """Whether the view has constants in place of the results, and they are the same."""
        integer = self._integer(own)
        if integer is None:
            return False
        self.exact.update(dict.fromkeys(own.outputs, integer))
        return all(_is_constant(self.view.get(name)) for name in own.outputs if name)

    def _integer(self, own: Recorded) -> bool | None:
        """Whether the results are integers; None where computing them rounds."""
        if own.domain:
            return None
        if own.op_type in ("Shape", "Size"):
            return True
        inputs = [self.exact.get(name) for name in own.inputs if name]
        if None in inputs:
            return None
        operator = REGISTRY.get((own.domain, own.op_type))
        if operator is None or (operator.statistic and not all(inputs)):
            return None
        if own.op_type == "Cast":
            (to,) = (a.as_int() for a in own.attributes if a.name == "to")
            return _is_integer(ir.DataType(to))
        if own.op_type == "ConstantOfShape":
            return bool(own.attributes) and _is_integer(own.attributes[0].as_tensor().dtype)
        moves = bool(operator.moves) or own.op_type == "Expand"
        return bool(inputs[0]) if moves else (True if all(inputs) else None)

    def _tensor(self, name: str) -> ir.Value:
        """What the prediction reads under that name."""
        if name not in self.known:
            value, tensor = self.view.get(name), self.weights.get(name)
            if tensor is not None and (value is None or not _holds(value, tensor)):
                self._put_aside(value)
                value = ir.Value(name=name, const_value=tensor)
                value.type = ir.TensorType(tensor.dtype)
                value.shape = ir.Shape(tensor.shape.numpy())
                if (free := self._free(name)) != name:
                    rename(value, free)
                self.graph.register_initializer(value)
                self.changed = True
            assert value is not None
            self.known[name] = value
        return self.known[name]

    def _written(self, own: Recorded, inputs: Sequence[ir.Value | None]) -> ir.Node:
        """The node, and its tensors in place of the view's."""
        self.changed = True
        attributes = [self._attribute(a) for a in own.attributes]
        node = written(own.domain, own.op_type, own.name, inputs, own.outputs, attributes)
        apart = OWN_LAYOUT.get((own.domain, own.op_type), ())
        for k, value in enumerate(node.outputs):
            twin = self.view.get(value.name) if value.name else None
            if twin is not None and twin.is_graph_output():
                self.graph.outputs[self.graph.outputs.index(twin)] = value
            if twin is not None and k not in apart and not _is_apart(twin):
                value.type, value.shape = twin.type, twin.shape
                twin.replace_all_uses_with(value)
                self.linked[twin] = value
            if value.name and not value.is_graph_output():
                value.name = self._free(value.name)
            self._put_aside(twin)
            self._put_aside(self.emitted.pop(value.name, None))
        if self.last is not None:
            self.graph.insert_after(self.last, node)
        elif len(self.graph):
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.append(node)
        return node

    def _attribute(self, attribute: ir.Attr) -> ir.Attr:
        """The attribute; a body reads the tensors of the prediction around it."""
        if attribute.type != ir.AttributeType.GRAPH:
            return attribute
        graphs = graphs_of(attribute.as_graph())
        inside = {v for graph in graphs for v in _tensors(graph)}
        for node in (node for graph in graphs for node in graph):
            for position, value in enumerate(node.inputs):
                if value is not None and value not in inside:
                    node.replace_input_with(position, self._tensor(str(value.name)))
        return attribute

    def _free(self, name: str) -> str:
        """The name, or another where the signature of the compiled model has it, which is not the
        model's alone.
        """
        return f"{name}/own" if name in self.signature else name

    def _put_aside(self, value: ir.Value | None) -> None:
        """Give a tensor of the view another name."""
        if value is not None:
            name = f"{value.name}/{VIEW}"
            while name in self.view or name in self.emitted:
                name += "_"
            self.view[name] = value
            rename(value, name)

    def undo_moves(self) -> None:
        """Let the explanation read a tensor whose elements the model has in another order there,
        instead of computing it.
        """
        for value in [v for node in self.graph for v in node.outputs if CHANGED in v.meta]:
            if any(user is not value.meta[CHANGED] for user, _ in value.uses()):
                self._in_own_order(value)

    def _in_own_order(self, value: ir.Value) -> ir.Value | None:
        """What stands for a tensor of the view; None where that has to be computed."""
        move = value.meta.get(CHANGED)
        if not isinstance(move, ir.Node):
            return self.linked.get(value)
        own_tensor = self._in_own_order(move.outputs[0])
        if own_tensor is None or not isinstance(move.graph, ir.Graph):
            return None
        build = Build(self.graph, move, "back")
        sizes = [d if isinstance(d, int) else -1 for d in value.shape or ()]
        if move.op_type == "Transpose" and "perm" in move.attributes:
            back = np.argsort(move.attributes["perm"].as_ints())
            in_own_order = build.op("Transpose", own_tensor, perm=back.tolist(), like=value)
        elif value.shape is not None and sizes.count(-1) < 2 and 0 not in sizes:
            in_own_order = build.op("Reshape", own_tensor, build.ints(*sizes), like=value)
        else:
            return None
        build.insert_before(move)
        value.replace_all_uses_with(in_own_order)
        self.linked[value] = in_own_order
        value.meta[CHANGED] = True
        return in_own_order

    def put_in_order(self) -> None:
        """Put the nodes in order, and say which are the view's."""
        places = {node: k for k, node in enumerate(self.graph)}
        producers = ((n, v.producer()) for n in self.graph for v in reads(n))
        if any(places.get(p, -1) > places[n] for n, p in producers if p is not None):
            self.graph.sort()
        bodies = (body for node in self.own for body in bodies_of(node))
        within = [v for body in bodies for graph in graphs_of(body) for v in _tensors(graph)]
        for value in within:
            rename(value, self._free(str(value.name)))
        inside = {v.name for v in within}
        for value in _tensors(self.graph):
            if value.name in inside and value.producer() not in self.own:
                self._put_aside(value)
        taken = set[str | None]()
        for node in sorted(self.graph, key=lambda node: node not in self.own):
            name = node.name
            if node not in self.own and RULE not in node.metadata_props:
                node.metadata_props.update(provenance(str(name), VIEW))
            if name in taken:
                node.name = next(n for k in count(1) if (n := f"{name}_{k}") not in taken)
            taken.add(node.name)


def _is_apart(value: ir.Value) -> bool:
    """Whether the tensor of the view is another than the model's of that name."""
    return value.is_initializer() or CHANGED in value.meta


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and CHANGED not in value.meta


def _integers(weights: Tensors) -> dict[str | None, bool]:
    return {name: _is_integer(tensor.dtype) for name, tensor in weights.items()}


def _is_integer(dtype: ir.DataType) -> bool:
    return not dtype.is_floating_point()


def _holds(value: ir.Value, tensor: ir.TensorProtocol) -> bool:
    """Whether a weight still is this tensor; large ones are the same object then."""
    now = value.const_value if _is_constant(value) else None
    if now is None or now is tensor:
        return now is tensor
    small = tensor.nbytes <= SMALL and (now.dtype, now.shape) == (tensor.dtype, tensor.shape)
    return small and now.tobytes() == tensor.tobytes()
