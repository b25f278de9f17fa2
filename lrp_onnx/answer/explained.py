"""What is explained, in words: entries of which output, by what, and where that needs saying."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.data.samples import is_added
from lrp_onnx.graph.annotations import each_output, stamp_of
from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.shapes import dimensions
from lrp_onnx.lrp.methods import METHODS, method_of
from lrp_onnx.options import CompileOptions

__all__ = [
    "by_what",
    "explained_entries",
    "explained_facts",
    "explained_line",
    "explained_rows",
]

STARTS_AT = {
    "output": "the output's own values",
    "logits": "the logits before the final softmax or sigmoid",
}
LESS_MEAN = ", less the mean of all classes"
OTHERWISE = "--class-axis and --output choose otherwise"


def explained_facts(compiled: Compiled) -> dict[str, Any]:
    """What is explained, of what, by what; the class axis where the rank leaves a choice. What
    differs between several outputs is a dictionary by output.
    """
    outputs = each_output(stamp_of(compiled.graph.metadata_props))
    first, *others = parts = [_facts(compiled, one) for one in outputs]
    if not others:
        return first
    names = [part.pop("output") for part in parts]
    merged: dict[str, Any] = {"method": first["method"], "output": names}
    for key in dict.fromkeys(key for part in parts for key in part):
        values = [part.get(key) for part in parts]
        known = {n: v for n, v in zip(names, values, strict=True) if v is not None}
        merged[key] = values[0] if all(v == values[0] for v in values) else known
    return merged


def _facts(compiled: Compiled, one: Mapping[str, str]) -> dict[str, Any]:
    keys = ("method", *METHODS[one["method"]].settings, "output", "target")
    facts: dict[str, Any] = {key: one[key] for key in keys}
    facts["starts_at"] = STARTS_AT[one["starts_at"]] + LESS_MEAN * (one["start"] == "contrast")
    if "chosen_because" in one:
        facts["chosen_because"] = one["chosen_because"]
    if "reference" in one:
        facts["reference"] = one["reference"]
    if conditions := json.loads(one["conditions"]):
        facts["conditions"] = conditions
    output = _output(compiled, one)
    several = output is not None and output.shape is not None and len(output.shape) > 2
    named = one["class_axis"] and "," not in one["target"]
    if named and (several or one["class_axis"] == "0"):
        facts["class_axis"] = int(one["class_axis"])
    if entries := explained_entries(compiled, one):
        facts["entries"] = entries
    return {**facts, "explained": json.loads(one["explained"])}


def explained_rows(compiled: Compiled) -> list[tuple[str, str]]:
    """The same as names and values: a line for each output, one more where `auto` chose the
    composite, and one where the output is not [N, classes].
    """
    rows = []
    for one in each_output(stamp_of(compiled.graph.metadata_props)):
        rows.append(("explains", _line(compiled, one)))
        if because := one.get("chosen_because"):
            rows.append(("composite", f"auto took {one['composite']}: {because}"))
        if entries := explained_entries(compiled, one):
            rows.append(("entries", entries))
    return rows


def explained_line(compiled: Compiled) -> str:
    """The same in one line."""
    outputs = each_output(stamp_of(compiled.graph.metadata_props))
    return "; ".join(_line(compiled, one) for one in outputs)


def _line(compiled: Compiled, one: Mapping[str, str]) -> str:
    facts = _facts(compiled, one)
    axis = f", class axis {facts['class_axis']}" if "class_axis" in facts else ""
    what = METHODS[one["method"]].describe(one)
    less = LESS_MEAN * (one["start"] == "contrast")
    less += f", less {one['reference']}" if "reference" in one else ""
    logit = "the logit of " if one["starts_at"] == "logits" else ""
    return f"{logit}{facts['target']} of {facts['output']}{axis}{less}, by {what}"


def by_what(options: CompileOptions) -> str:
    """The composite or method that is asked for."""
    method = method_of(options)
    return options.composite or (method.composite if method.rules else method.name)


def explained_entries(compiled: Compiled, one: Mapping[str, str]) -> str:
    """`output0 has shape [N, 22, 5376]: argmax along axis 2 at each of 22 places, summed; …`.

    Empty for an output [N, classes], such as a ZipMap's. one: what is said of the output.
    """
    output = _output(compiled, one)
    if output is None or output.shape is None or one["target"] in ("seed", "similarity"):
        return ""
    shape = dimensions(output.shape)
    axis = int(one["class_axis"]) if one["class_axis"] else None
    batched = bool(shape) and axis != 0 and _is_batch(shape, compiled.graph)
    plain = not one.get("head") and "," not in one["target"]
    if len(shape) == 2 and axis == 1 and shape[1] != 1 and batched and plain:
        return ""
    head = json.loads(one.get("head") or "null")
    if "," in one["target"]:
        entries = _one_entry(one["target"], len(shape))
    elif head is not None:
        entries = _sought(one["target"], head)
    else:
        entries = _entries(one["target"], shape, axis, batched)
    return f"{output.name} has shape {describe_shape(shape)}: {entries}"


def _output(compiled: Compiled, one: Mapping[str, str]) -> ir.Value | None:
    """The explained output; None for a ZipMap's tensor, which is no output itself."""
    outputs = compiled.graph.graph.outputs
    return next((v for v in outputs if v.name == one["output"]), None)


def _is_batch(shape: Sequence[Dimension], model: ir.Model) -> bool:
    """Whether an input may have the same size along axis 0; one sample is a batch."""
    size, *others = shape
    inputs = [v for v in model.graph.inputs if not v.is_initializer() and not is_added(model, v)]
    shapes = [[None] if v.shape is None else dimensions(v.shape) for v in inputs]
    firsts = [own[0] for own in shapes if own]
    if any(isinstance(name, str) and name != size and name in others for name in firsts):
        return False  # the samples are counted along another axis
    return size in (1, *firsts) or not all(isinstance(n, int) for n in (size, *firsts))


def _entries(target: str, shape: Sequence[Dimension], axis: int | None, batched: bool) -> str:
    """What the target takes of an output of that shape."""
    each = " of each sample" if batched else ""
    if not shape:
        return "one number, which is explained"
    if axis is None:
        if not isinstance(shape[0], int):
            return "one number a sample, which is explained"
        otherwise = "--class-axis 0 if these are the classes of one sample"
        return f"one number for each of {shape[0]} samples, which is explained; {otherwise}"
    if target == "all":
        return f"all entries{each}, summed"
    if target == "max":
        first = "" if batched or axis == 0 else f" along each of the {shape[0]} of axis 0, summed"
        return f"the largest entry{each or first}; {OTHERWISE}"
    others = [k for k, size in enumerate(shape) if k != axis and size != 1]
    others = [k for k in others if k or not batched]
    one, chosen = shape[axis] == 1, f"{_chosen(target)} along axis {axis}"
    if not others:
        if one:
            return "one number a sample, which is explained"
        whose = "of each sample (axis 0)" if batched else "of one sample"
        return f"{'' if batched else 'no batch axis, '}{chosen} {whose}"
    places = f"at {_places(shape, others)}, summed; {OTHERWISE}"
    return f"{f'the only entry of axis {axis}' if one else chosen} {places}"


def _sought(target: str, head: Mapping[str, Any]) -> str:
    """Which of a detector's scores, or of another output's entries, is explained."""
    each = " of each sample" if head["batch"] else ""
    if head["kind"] not in ("mixed", "scores"):
        return f"the largest entry{each}"
    among = "class scores"
    if head["scores"] is not None:
        first, last = head["scores"][0], head["scores"][1] - 1
        among += f" at {first} to {last}" if last > first else f" at {first}"
    among += f" of axis {head['axis']}" if head["axis"] is not None else ""
    more = [f"times the one at {head['objectness']}"] * (head["objectness"] is not None)
    more += ["less the mean of its class over all places"] * head["compared"]
    rest = f", {' and '.join(more)}" if more else ""
    kind, _, count = target.partition("-")
    if kind == "top":
        return f"of each of the {count} classes with the largest score the largest{each}{rest}"
    own = "" if target == "argmax" else f", {_chosen(target)}"
    return f"the largest of the {among}{own}{each}{rest}"


def _one_entry(target: str, rank: int) -> str:
    """An entry by its indices, and the axes over which it is a sum."""
    places = target.rstrip(",").split(",")
    first = rank - len(places)
    axes = [str(axis) for axis, place in enumerate(places, first) if place == ":"]
    over = f", summed over ax{'es' if len(axes) > 1 else 'is'} {' and '.join(axes)}" if axes else ""
    return f"entry {','.join(places)}{' of each sample' if first else ''}{over}"


def _chosen(target: str) -> str:
    """The entries along the class axis that a target takes, in words."""
    if target == "input":
        return "the class that the input 'target' names"
    first, _, second = target.partition("-")
    if second and first.isdigit():
        return f"class {first} against {second}"
    return f"class {target}" if target.isdigit() else target


def _places(shape: Sequence[Dimension], axes: Sequence[int]) -> str:
    """The places along the axes: `each of 22 places`, or `every place of axes 2 and 3`."""
    known = [size for k in axes if isinstance(size := shape[k], int)]
    if len(known) == len(axes):
        return f"each of {math.prod(known)} places"
    *first, last = map(str, axes)
    return f"every place of ax{'es ' if first else 'is '}" + (
        f"{', '.join(first)} and {last}" if first else last
    )
