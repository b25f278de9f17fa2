"""What `inspect` finds out about a model, also where it cannot be explained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import networkx as nx
import onnx_ir as ir
from rich.table import Table

from lrp_onnx.cli.drawing import path_graph
from lrp_onnx.cli.entries import entries
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.tables import facts, nodes_table, signature, tensors_table
from lrp_onnx.cli.watch import Watch
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.annotations import (
    CLASS_AXIS,
    CONDITIONS,
    EXPLAINED,
    METHOD,
    PREFIX,
    STARTS_AT,
    stamp_of,
)
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.subgraphs import bodies_of
from lrp_onnx.graph.tensors import outputs_of
from lrp_onnx.lrp.assignment import NodeReport
from lrp_onnx.lrp.methods import METHODS, method_of
from lrp_onnx.ops.registry import find
from lrp_onnx.options import CompileOptions

__all__ = ["Inspection", "explained_rows", "explains", "inspect_model", "means"]

WHERE = {
    "output": "the output's own values",
    "logits": "the logits before the final softmax or sigmoid",
}


@dataclass(frozen=True)
class Inspection:
    """A line for every node; `error` says which ones stand in the way."""

    about: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    report: tuple[NodeReport, ...]
    warnings: tuple[str, ...] = ()
    error: UnsupportedError | None = None
    path: nx.DiGraph = field(default_factory=nx.DiGraph)
    """The nodes on the explanation path."""

    def tables(self, tensors: bool = False) -> tuple[Table, ...]:
        """Facts about the model, then its nodes: what becomes of relevance there, or their
        tensors.
        """
        ends = [("input", text) for text in self.inputs] + [("output", t) for t in self.outputs]
        told = [(key.replace("_", " "), _words(value)) for key, value in self.about.items()]
        return facts([*told, *ends]), (tensors_table if tensors else nodes_table)(self.report)

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        unsupported = [] if self.error is None else list(self.error.reasons)
        return {
            **self.about,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "nodes": [asdict(line) for line in self.report],
            "unsupported": unsupported,
            "warnings": self.warnings,
        }


def inspect_model(
    source: str | os.PathLike[str], options: Options, quiet: bool = False
) -> Inspection:
    """Compile as far as it goes and report on every node.

    Raises LrpError where it stops for another reason than unsupported nodes.
    """
    unchecked = replace(options.compile, check=False)
    with Watch(options, quiet) as watch:
        loaded = load_original(source, watch)
        graph = loaded.model.graph
        inputs = tuple(signature(v) for v in graph.inputs if v.name not in graph.initializers)
        outputs = tuple(signature(v) for v in graph.outputs)
        about: dict[str, Any] = {"model": str(source), "opset": graph.opset_imports.get("", 0)}
        try:
            compiled = compile_prepared(prepare(loaded, unchecked))
        except UnsupportedError as e:
            if not e.reasons:
                raise
            report = tuple(_refused(watch.nodes, e.reasons))
            method = method_of(unchecked)
            about["method"] = method.name
            about["composite"] = unchecked.composite or method.composite
            return Inspection(about, inputs, outputs, report, error=e)
    about |= _explained(compiled)
    path = path_graph(watch.nodes, compiled.report)
    report = tuple(compiled.report)
    return Inspection(about, inputs, outputs, report, compiled.warnings, path=path)


def _explained(compiled: Compiled) -> dict[str, Any]:
    """What is explained, of what, by what; the class axis where the rank leaves a choice."""
    told = compiled.graph.metadata_props
    about: dict[str, Any] = {
        key: told[f"{PREFIX}{key}"]
        for key in ("method", *METHODS[told[METHOD]].settings, "output", "target")
    }
    about["starts_at"] = WHERE[told[STARTS_AT]]
    if conditions := json.loads(told[CONDITIONS]):
        about["conditions"] = conditions
    # a ZipMap's tensor is no output itself
    output = next((v for v in compiled.graph.graph.outputs if v.name == about["output"]), None)
    several = output is not None and output.shape is not None and len(output.shape) > 2
    if several or told[CLASS_AXIS] == "0":
        about["class_axis"] = int(told[CLASS_AXIS])
    if sentence := entries(compiled):
        about["entries"] = sentence
    return {**about, "explained": json.loads(told[EXPLAINED])}


def explained_rows(compiled: Compiled) -> list[tuple[str, str]]:
    """The same as names and values: a line, and one more where the output is not [N, classes]."""
    sentence = entries(compiled)
    return [("explains", explains(compiled)), *([("entries", sentence)] if sentence else [])]


def explains(compiled: Compiled) -> str:
    """The same in one line."""
    about = _explained(compiled)
    told = stamp_of(compiled.graph.metadata_props)
    axis = f", class axis {about['class_axis']}" if "class_axis" in about else ""
    return (
        f"{about['target']} of {about['output']}{axis}, by {METHODS[told['method']].describe(told)}"
    )


def means(options: CompileOptions) -> str:
    """The same in short, of what is asked."""
    method = method_of(options)
    return options.composite or (method.composite if method.rules else method.name)


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _refused(nodes: Iterable[ir.Node], reasons: Mapping[str, str]) -> Iterator[NodeReport]:
    """A line for each node, and for those in bodies where one of them is refused."""
    for node in nodes:
        name, operator, outputs = name_of(node), find(node), outputs_of(node)
        if name in reasons:
            yield NodeReport(name, node.op_type, "unsupported", "", reasons[name], outputs)
        else:
            kinds = () if operator is None else operator.kinds or (operator.support,)
            yield NodeReport(name, node.op_type, ", ".join(kinds), "", "", outputs)
        if any(refused.startswith(f"{name}/") for refused in reasons):
            for body in bodies_of(node):
                yield from _refused(body, reasons)
