"""Explanations of one model for many weights: all of them in one graph that takes as inputs the
constants that depend on these weights, so that other weights need no other compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.stages import Loaded, Prepared, compile_prepared, load_original, prepare
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.subgraphs import graphs_of, nodes_of
from lrp_onnx.options import CompileOptions

__all__ = ["OpenWeights"]


class OpenWeights:
    """The graph of several explanations, compiled when weights first need it.

    explanations: options of each, which differ in their composite or method.
    """

    def __init__(
        self,
        source: ModelSource,
        explanations: Sequence[CompileOptions],
        ranges: Ranges | None = None,
    ) -> None:
        self.source, self.ranges = source, ranges
        self.explanations = [replace(one, check=False, fold="never") for one in explanations]
        self.trained = _constants(self._prepared(load_original(source).model))
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
        return compiled, {name: _array(constants[name]) for name in self.names}

    def _prepared(self, model: ir.Model) -> Prepared:
        first, *others = self.explanations
        return prepare(Loaded(self.source, model), first, self.ranges, others)

    def _compiled(self, prepared: Prepared, constants: dict[str, ir.Value]) -> Compiled:
        """A graph in which what differs from the source's constants is an input."""
        graph = prepared.loaded.model.graph
        self.names = [n for n, v in constants.items() if not _same(v, self.trained.get(n))]
        weights = {name: constants[name].const_value for name in self.names}
        for name in self.names:
            value = constants[name]
            assert value.graph is not None
            del value.graph.initializers[name]
            value.const_value = None
            graph.inputs.append(value)
        compiled = compile_prepared(replace(prepared, prediction=Prediction((), (), {})))
        for name, tensor in weights.items():  # which `at` hands over
            constants[name].const_value = tensor
        return compiled


def _constants(prepared: Prepared) -> dict[str, ir.Value]:
    graphs = graphs_of(prepared.loaded.model.graph)
    return {name: value for graph in graphs for name, value in graph.initializers.items()}


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


def _same(value: ir.Value, other: ir.Value | None) -> bool:
    if other is None or value.const_value is other.const_value:
        return other is not None
    return np.array_equal(_array(value), _array(other), equal_nan=True)


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    return value.const_value.numpy()
