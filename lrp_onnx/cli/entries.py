"""Which entries of the output are explained, in a sentence, where it is not [N, classes]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.data.samples import is_added
from lrp_onnx.graph.annotations import CLASS_AXIS, OUTPUT, TARGET
from lrp_onnx.graph.session import Dimension

__all__ = ["entries"]

OTHERWISE = "--class-axis and --output choose otherwise"
LONGEST = 16
"""Characters of a name of a size."""


def entries(compiled: Compiled) -> str:
    """`output0 has shape [N, 22, 5376]: argmax along axis 2 at each of 22 places, summed; …`.

    Empty for an output [N, classes], such as a ZipMap's.
    """
    told, model = compiled.graph.metadata_props, compiled.graph
    output = next((v for v in model.graph.outputs if v.name == told[OUTPUT]), None)
    if output is None or output.shape is None or told[TARGET] == "seed":
        return ""
    shape = _sizes(output)
    axis = int(told[CLASS_AXIS]) if told[CLASS_AXIS] else None
    batched = bool(shape) and axis != 0 and _is_batch(shape[0], model)
    if len(shape) == 2 and axis == 1 and shape[1] != 1 and batched:
        return ""
    what = _explained(told[TARGET], shape, axis, batched)
    return f"{output.name} has shape {describe_shape([*map(_readable, shape)])}: {what}"


def _sizes(value: ir.Value) -> list[Dimension]:
    return [d if isinstance(d, int) else d.value for d in value.shape or ()]


def _readable(size: Dimension) -> Dimension:
    """Without the formulas and names that shape inference makes up."""
    if not isinstance(size, str):
        return size
    plain = size.replace("_", "").isalnum() and "__" not in size and len(size) <= LONGEST
    return size if plain else None


def _is_batch(size: Dimension, model: ir.Model) -> bool:
    """Whether an input may have the same size along axis 0; one sample is a batch."""
    inputs = [v for v in model.graph.inputs if not v.is_initializer() and not is_added(model, v)]
    firsts = [None if v.shape is None else _sizes(v)[0] for v in inputs if v.shape is None or
              len(v.shape)]  # fmt: skip
    return size in (1, *firsts) or not all(isinstance(n, int) for n in (size, *firsts))


def _explained(target: str, shape: Sequence[Dimension], axis: int | None, batched: bool) -> str:
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
