"""Graphs as lines of text, for golden files and examples."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from lrp_onnx.compiler.stages import run_stages
from lrp_onnx.options import CompileOptions

LEVELS = ("propagate", "rewrite", "lower")
"""The stages that write an explanation."""


def graphs_of(model, composite, parameters=None, **options) -> dict[str, str]:
    """The nodes of the graph behind each of LEVELS."""
    texts = {}

    def observe(stage, graph, seconds, result):
        if stage in LEVELS:
            texts[stage] = text_of(ir.to_proto(graph))

    parameters = {} if parameters is None else parameters
    chosen = CompileOptions(composite=composite, parameters=parameters, check=False, **options)
    run_stages(model, chosen, observe)
    return texts


def text_of(model: onnx.ModelProto) -> str:
    """One line per node: outputs, operator, attributes, inputs, name."""
    return "".join(f"{_line(node)}\n" for node in model.graph.node)


def _line(node: onnx.NodeProto) -> str:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    words = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
    attributes = ", ".join(f"{k}={words[k]}" for k in sorted(words))
    call = f"{node.op_type}<{attributes}>" if attributes else node.op_type
    return f"{', '.join(node.output)} = {call}({', '.join(node.input)})  # {node.name}"
