"""The metadata of a compiled model: where it comes from and what was asked."""

from __future__ import annotations

import json

import onnx_ir as ir

from lrp_onnx.compiler.reference import Reference
from lrp_onnx.gradients.baseline import described
from lrp_onnx.graph import annotations as notes
from lrp_onnx.graph.model_file import ModelSource, sha256_of
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.version import version

__all__ = ["said_of", "stamp"]


def said_of(assignment: Assignment) -> dict[str, str]:
    """What a compiled model would say of its target, without the prefix."""
    explained = json.dumps([v.name for v in assignment.inputs])
    own = {notes.TARGET: str(assignment.target), notes.EXPLAINED: explained}
    return notes.stamp_of({**own, **_output_metadata(assignment)})


def stamp(model: ir.Model, source: ModelSource, assignment: Assignment) -> None:
    """Record in the model's metadata where it comes from and what was asked."""
    options = assignment.options
    model.metadata_props.update(
        {
            notes.VERSION: version(),
            notes.SOURCE_SHA256: sha256_of(source),
            notes.TARGET: str(assignment.target),
            notes.METHOD: assignment.method.name,
            notes.RUNTIME: options.runtime,
            notes.PRECISION: options.precision,
            notes.OPTIMIZED: str(options.optimize).lower(),
            notes.CONDITIONS: json.dumps(list(options.conditions)),
            **_output_metadata(assignment),
            notes.EXPLAINED: json.dumps(
                [f"{one.prefix}{v.name}" for one in assignment.each for v in one.inputs]
            ),
        }
    )
    if assignment.others:
        each = [_one_of_several(model, one) for one in assignment.each]
        model.metadata_props[notes.OUTPUTS] = json.dumps(each)


def _output_metadata(assignment: Assignment) -> dict[str, str]:
    """What is said of each output by itself."""
    return {
        **_method_metadata(assignment),
        notes.COMPOSITE: assignment.composite_name,
        **_reference_metadata(assignment),
        notes.START: assignment.start,
        notes.OUTPUT: assignment.output.name or "",
        notes.STARTS_AT: "output" if assignment.logits is assignment.output else "logits",
        notes.CLASS_AXIS: "" if assignment.class_axis is None else str(assignment.class_axis),
        **({} if (head := assignment.target.head) is None else {notes.HEAD: head.stamp()}),
    }


def _one_of_several(model: ir.Model, assignment: Assignment) -> dict[str, str]:
    """One entry of OUTPUTS."""
    names = (*(str(v.name) for v in assignment.inputs), *assignment.options.relevance_at)
    present = {v.name for v in model.graph.outputs}
    relevance = [n for n in names if f"{assignment.prefix}{n}{notes.RELEVANCE}" in present]
    own = {
        notes.HEAD: "",  # of this output, whatever the first one has
        **_output_metadata(assignment),
        notes.EXPLAINED: json.dumps([v.name for v in assignment.inputs]),
    }
    return {
        **notes.stamp_of(own),
        "prefix": assignment.prefix,
        "relevance": json.dumps(list(dict.fromkeys(relevance))),
    }


def _reference_metadata(assignment: Assignment) -> dict[str, str]:
    reference = assignment.options.reference
    return {notes.REFERENCE: reference.said} if isinstance(reference, Reference) else {}


def _method_metadata(assignment: Assignment) -> dict[str, str]:
    """What only some methods are set by."""
    if assignment.layer is not None:
        return {notes.LAYER: tensor_name(assignment.layer)}
    if assignment.method.integrates:
        return {
            notes.STEPS: str(assignment.steps),
            notes.BASELINE: described(assignment.options.baseline),
        }
    if assignment.method.samples:
        return {notes.SAMPLES: str(assignment.samples), notes.NOISE: f"{assignment.noise:g}"}
    if assignment.chosen_because:
        return {notes.CHOSEN_BECAUSE: assignment.chosen_because}
    return {}
