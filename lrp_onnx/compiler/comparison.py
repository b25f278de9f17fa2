"""Explanations of one model that are compared.

It is read and canonized once, for what is said of the target and for the graph that computes all of
them.  Another graph takes as inputs the constants that depend on the weights, so that other weights
need no other compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.stages import (
    Canonized,
    Loaded,
    Prepared,
    canonized,
    compile_prepared,
    load_original,
    prepare,
)
from lrp_onnx.compiler.stamp import said_of
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.annotations import RELEVANCE, has_batch
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.subgraphs import graphs_of, nodes_of
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.logits import classes_of_softmax
from lrp_onnx.options import CompileOptions

__all__ = ["Comparison", "OpenWeights"]

Tensors = dict[str, ir.TensorProtocol]


class Comparison:
    """What several explanations of a model have in common, and the graph of all of them.

    options: their target, and what else they share. Raises LrpError as a compilation does.
    """

    def __init__(self, source: ModelSource, options: CompileOptions) -> None:
        similar = options.target == "similarity"
        self.source = source
        self.plain = CompileOptions(
            method="gradient",
            output=options.output,
            explain=options.explain,
            target="all" if similar else options.target,
            labels=options.labels,
            class_axis=options.class_axis,
            shape=options.shape,
            opset=options.opset,
            budget=options.budget,
            optimize=False,
            check=False,
        )
        self._canonized: Canonized | None = canonized(load_original(source), self.plain)
        asked = self._canonized.options.target
        self.options = options if similar else replace(options, target=asked)
        assignment = self._canonized.assigned(self._canonized.options, {}).assignment
        self.metadata = said_of(assignment) | ({"target": "similarity"} if similar else {})
        """What the graph says of the target, as its stamp has it."""
        output = assignment.output
        scalar = output.shape is not None and not len(output.shape)
        self.has_batch = has_batch(self.metadata) and not scalar
        """Whether the explained output counts its samples along axis 0."""
        report = assignment.report(self._canonized.loaded.model.graph)
        self.operators = {line.op_type for line in report if line.rule}
        """Those on the explanation path."""
        self.largest_class = not similar and _is_largest_class(assignment)
        """Whether the largest class is explained, which the output itself tells."""
        self.constants: Tensors | None = None
        """Of the canonized model, as `explained` first needs it."""

    def explained(self, every: Sequence[CompileOptions], ranges: Ranges | None = None) -> Compiled:
        """One graph of explanations, which differ in their composite or method."""
        view, self._canonized = self._canonized, None
        view = view or canonized(load_original(self.source), self.plain)
        first, *others = every
        prepared = view.assigned(first, ranges or {}, others)
        self.constants = _constants(prepared)
        return compile_prepared(prepared)

    def redrawn(self, every: Sequence[CompileOptions], ranges: Ranges | None = None) -> OpenWeights:
        """The same explanations for other weights."""
        return OpenWeights(self.source, every, ranges, self.constants)

    def mask(self) -> ir.Model:
        """A model of what relevance starts with: which entries of the output are explained."""
        name = self.metadata["output"]
        prepared = prepare(load_original(self.source), self.plain)
        model = compile_prepared(prepared.with_relevance_at([name])).graph
        ends = [v for v in model.graph.outputs if v.name == f"{name}{RELEVANCE}"]
        graph = ir.convenience.extract(model.graph, list(model.graph.inputs), ends)
        return ir.Model(graph, ir_version=model.ir_version)


def _is_largest_class(assignment: Assignment) -> bool:
    """Whether it is the largest of an output [N, classes], the logits themselves or a softmax, in
    which two of the largest are as rarely equal.
    """
    output, target, shape = assignment.output, assignment.target, assignment.output.shape
    if shape is None or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 2:
        return False
    plain = assignment.logits is output or classes_of_softmax(output) > 1
    return plain and (target.kind, target.head, assignment.class_axis) == ("argmax", None, 1)


class OpenWeights:
    """The graph of several explanations, compiled when weights first need it.

    explanations: options of each, which differ in their composite or method. trained: the source's
    constants as canonized, by name, where they are known.
    """

    def __init__(
        self,
        source: ModelSource,
        explanations: Sequence[CompileOptions],
        ranges: Ranges | None = None,
        trained: Tensors | None = None,
    ) -> None:
        self.source, self.ranges = source, ranges
        self.explanations = [replace(one, check=False, fold="never") for one in explanations]
        self.trained = trained or _constants(self._prepared(load_original(source).model))
        self.names: list[str] = []
        self.structure: object = None

    def at(self, model: ir.Model) -> tuple[Compiled | None, dict[str, Array]]:
        """The inputs that stand for the weights of the model, a copy of the source's; and the graph
        that takes them, None where it is the last one still.

        It is compiled for the first model, and anew where recognition sees something else in other
        weights. Begin with the one of which most weights are others than the source's.
        """
        prepared = self._prepared(model)
        constants, structure = _constants(prepared), _structure(prepared)
        compiled = None if structure == self.structure else self._compiled(prepared, constants)
        self.structure = structure
        return compiled, {name: constants[name].numpy() for name in self.names}

    def _prepared(self, model: ir.Model) -> Prepared:
        first, *others = self.explanations
        return prepare(Loaded(self.source, model), first, self.ranges, others)

    def _compiled(self, prepared: Prepared, constants: Tensors) -> Compiled:
        """A graph in which what differs from the source's constants is an input."""
        graph = prepared.loaded.model.graph
        self.names = [n for n, v in constants.items() if not _same(v, self.trained.get(n))]
        for owner in graphs_of(graph):
            for name in [n for n in owner.initializers if n in self.names]:
                value = owner.initializers.pop(name)
                value.const_value = None
                graph.inputs.append(value)
        return compile_prepared(replace(prepared, prediction=Prediction((), (), {})))


def _constants(prepared: Prepared) -> Tensors:
    """The constants of a canonized model, those of its bodies too, by name."""
    graphs = graphs_of(prepared.loaded.model.graph)
    pairs = ((n, v.const_value) for graph in graphs for n, v in graph.initializers.items())
    return {name: tensor for name, tensor in pairs if tensor is not None}


def _structure(prepared: Prepared) -> object:
    """What two models have in common that differ in their constants alone."""
    nodes = nodes_of(prepared.loaded.model.graph)
    return [
        (node.domain, node.op_type, [v and v.name for v in node.inputs], _settings(node))
        for node in nodes
    ]


def _settings(node: ir.Node) -> list[tuple[str, object]]:
    attributes = node.attributes.values()
    return [(a.name, a.value) for a in attributes if a.type is not ir.AttributeType.GRAPH]


def _same(tensor: ir.TensorProtocol, other: ir.TensorProtocol | None) -> bool:
    if other is None or tensor is other:
        return other is not None
    return np.array_equal(tensor.numpy(), other.numpy(), equal_nan=True)
