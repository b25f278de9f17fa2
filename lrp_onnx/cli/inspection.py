"""What `inspect` finds out about a model, also where it cannot be explained."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import networkx as nx
import onnx_ir as ir
from rich.table import Table

from lrp_onnx.answer.explained import explained_facts
from lrp_onnx.answer.inputs import ranges_of
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.path_drawing import path_graph
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.cli.tables import facts, signature, table_of
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.data.preprocess import load_preprocess
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.subgraphs import bodies_of
from lrp_onnx.graph.tensors import outputs_of
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.lrp.report import NodeReport
from lrp_onnx.ops.registry import find

__all__ = ["Inspection", "inspect_model"]


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
        about = [(key.replace("_", " "), _words(value)) for key, value in self.about.items()]
        return facts([*about, *ends]), (_tensors_table if tensors else _nodes_table)(self.report)

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            **self.about,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "nodes": [asdict(line) for line in self.report],
            "unsupported": [] if self.error is None else list(self.error.reasons),
            "warnings": self.warnings,
        }


def inspect_model(
    source: str | os.PathLike[str],
    options: Options,
    quiet: bool = False,
    preprocess: str | None = None,
) -> Inspection:
    """Compile as far as it goes and report on every node.

    Raises LrpError where it stops for another reason than unsupported nodes.
    """
    prepared = None if preprocess is None else load_preprocess(preprocess)
    unchecked = replace(options.compile, check=False)
    with StageProgress(options, quiet) as progress:
        loaded = load_original(source, progress)
        graph = loaded.model.graph
        inputs = tuple(signature(v) for v in graph.inputs if v.name not in graph.initializers)
        outputs = tuple(signature(v) for v in graph.outputs)
        about: dict[str, Any] = {"model": str(source), "opset": graph.opset_imports.get("", 0)}
        try:
            ranges = ranges_of(loaded.model, prepared)
            compiled = compile_prepared(prepare(loaded, unchecked, ranges))
        except UnsupportedError as e:
            if not e.reasons:
                raise
            report = tuple(_refused(progress.nodes, e.reasons))
            method = method_of(unchecked)
            about["method"] = method.name
            about["composite"] = unchecked.composite or method.composite
            return Inspection(about, inputs, outputs, report, error=e)
    about |= explained_facts(compiled)
    path = path_graph(progress.nodes, compiled.report)
    report = tuple(compiled.report)
    return Inspection(about, inputs, outputs, report, compiled.warnings, path=path)


def _nodes_table(report: Sequence[NodeReport]) -> Table:
    """Every node: kind, rule and why."""
    rows = ((r.name, r.op_type, r.kind or "-", r.rule or "-", r.reason) for r in report)
    return table_of(["node", "operator", "kind", "rule", "why"], rows)


def _tensors_table(report: Sequence[NodeReport]) -> Table:
    """Every node and the tensors that it computes."""
    rows = ((r.name, r.op_type, ", ".join(r.outputs)) for r in report)
    return table_of(["node", "operator", "computes the tensors"], rows)


def _words(value: Any) -> str:
    if isinstance(value, dict):  # by output
        return "; ".join(f"{name}: {_words(each)}" for name, each in value.items())
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
