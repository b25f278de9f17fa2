"""Where relevance starts: the explained output, the entries of it, and their starting relevance R₀
= m·y or m.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.emit import Emit, known_rank, make_room
from lrp_onnx.errors import TargetError
from lrp_onnx.maps import unzipped

__all__ = [
    "STARTS",
    "Target",
    "choose_output",
    "class_axis_of",
    "graph_input",
    "largest_classes",
    "parse_target",
    "starting_relevance",
]

STARTS = ("logit", "one")
NAMED = ("argmax", "all", "max", "input", "seed")


@dataclass(frozen=True)
class Target:
    """Which entries of the output are explained: `kind` is one of NAMED, "index", "difference" or
    "top", which explains the `count` largest classes one by one.
    """

    kind: str
    classes: tuple[int, ...] = ()
    count: int = 1

    def __str__(self) -> str:
        if self.kind == "top":
            return f"top-{self.count}"
        return "-".join(map(str, self.classes)) if self.classes else self.kind


def parse_target(text: str | int) -> Target:
    """`argmax`, a class, `A-B`, `all`, `max`, `top-K`, `input` or `seed`; TargetError for anything
    else.
    """
    if str(text) in NAMED:
        return Target(str(text))
    if match := re.fullmatch(r"top-([1-9]\d*)", str(text)):
        return Target("top", count=int(match[1]))
    if match := re.fullmatch(r"(\d+)(?:-(\d+))?", str(text)):
        classes = tuple(int(g) for g in match.groups() if g is not None)
        if len(classes) > len(set(classes)):
            raise TargetError(
                f"target {text!r}: the difference is zero. Give two different classes."
            )
        return Target("difference" if len(classes) == 2 else "index", classes)
    raise TargetError(
        f"target {text!r} is unknown. Give a class such as 3, a difference such as 3-5, top-5 for "
        f"the five largest classes, or one of {', '.join(NAMED)}."
    )


def choose_output(graph: ir.Graph, name: str | None) -> ir.Value:
    """The output of that name; without a name the only float one; of maps the tensor that they are
    made of. TargetError lists the outputs otherwise.
    """
    listing = "; ".join(f"{v.name!r} {v.dtype} {v.shape}" for v in graph.outputs)
    if name is not None:
        for value in graph.outputs:
            if value.name == name:
                return unzipped(value)
        raise TargetError(f"output {name!r}: the model has no such output. Its outputs: {listing}.")
    tensors = [unzipped(v) for v in graph.outputs]
    floats = [v for v in tensors if v.dtype is not None and v.dtype.is_floating_point()]
    if len(floats) != 1:
        many = "several outputs are" if floats else "no output is"
        raise TargetError(f"{many} of a float type. Choose one with --output: {listing}.")
    return floats[0]


def class_axis_of(
    y: ir.Value, given: int | None, inputs: Sequence[ir.Value] = (), target: Target | None = None
) -> int | None:
    """The class axis: 1 for rank 2, 4, 5, the last for rank 3; None for an output of rank 0, and of
    rank 1 where that axis is the batch: one class. Axis 0 is that of an output without a batch.

    inputs: the model's, whose axis 0 tells whether an output of rank 1 has a batch. Raises
    TargetError where that cannot be told and `target` depends on it.
    """
    rank = known_rank(y)
    if given is None:
        if rank < 2:
            return _only_axis(y, inputs, target) if rank else None
        return 1 if rank in (2, 4, 5) else rank - 1
    if not -rank <= given < rank:
        fact = f"class axis {given}: output {y.name!r} of shape {y.shape} has {rank} axes."
        raise TargetError(f"{fact} Give one from {-rank} to {rank - 1}." if rank else
                          f"{fact} Leave it out.")  # fmt: skip
    return given % rank


def _only_axis(y: ir.Value, inputs: Sequence[ir.Value], target: Target | None) -> int | None:
    """0 where y [K] cannot have the batch there, since no input has; None where it may."""
    assert y.shape is not None
    size, known = y.shape[0], [v.shape for v in inputs if v.shape is None or len(v.shape)]
    firsts = [None if shape is None else shape[0] for shape in known]
    if not isinstance(size, int) or size == 1 or size in firsts or not firsts:
        return None
    if all(isinstance(first, int) for first in firsts):
        return 0
    if target is not None and target.kind in ("all", "seed"):
        return None
    listing = ", ".join(f"{v.name!r} {v.shape}" for v in inputs)
    raise TargetError(
        f"output {y.name!r} of shape {y.shape}: nothing says whether its axis holds the samples of "
        f"a batch, which the inputs {listing} do not fix, or the classes of one sample. Give "
        "--class-axis 0 for classes, or give the model a batch axis: an output [N, classes]."
    )


def starting_relevance(
    emit: Emit,
    graph: ir.Graph,
    y: ir.Value,
    output: ir.Value,
    target: Target,
    axis: int | None,
    start: str,
    place: int = 0,
) -> ir.Value:
    """R₀, shaped like y: m·y for start "logit", m for "one".

    place: of target `top`, which of the largest classes. `y` is where relevance starts (the logits
    behind a final softmax in the output's layout), `output` the model's output that names a `seed`.
    Adds the graph input of `input` and `seed`.
    """
    if start not in STARTS:
        raise TargetError(f"start {start!r} is unknown. Give one of {', '.join(STARTS)}.")
    mask = _mask(emit, graph, y, output, target, axis, place)
    r = emit.op("Mul", mask, y) if start == "logit" else emit.op("Cast", mask, to=int(emit.dtype))
    r.shape = y.shape
    return r


def _mask(
    emit: Emit,
    graph: ir.Graph,
    y: ir.Value,
    output: ir.Value,
    target: Target,
    axis: int | None,
    place: int,
) -> ir.Value:
    if target.kind == "all":
        return emit.expand_like(1.0, y)
    if target.kind == "seed":
        return graph_input(graph, f"{output.name}_seed", emit.dtype, y.shape)
    if axis is None:
        if any(target.classes) or target.count > 1:
            raise TargetError(
                f"target {target}: output {output.name!r} of shape {y.shape} has one class"
                f"{_remedy_of_rank(known_rank(y))}"
            )
        return emit.expand_like(0.0 if target.kind == "difference" else 1.0, y)
    if target.kind == "max":
        return _largest_of_sample(emit, y, axis)
    classes = _class_numbers(emit, y, axis)
    if target.kind == "argmax":
        chosen = emit.op("ArgMax", y, axis=axis, keepdims=1)
    elif target.kind == "top":
        largest = largest_classes(emit, y, output, target, axis)
        chosen = emit.op("Gather", largest, emit.ints(place), axis=axis)
    elif target.kind == "input":
        chosen = _target_input(emit, graph, y, axis)
    else:
        return _constant_mask(emit, y, output, target, axis, classes)
    return _one_hot(emit, classes, chosen)


def _remedy_of_rank(rank: int) -> str:
    if not rank:
        return ". Use 0 or argmax."
    return " a sample. Use 0 or argmax; or --class-axis 0, if these are the classes of one sample."


def largest_classes(
    emit: Emit, y: ir.Value, output: ir.Value, target: Target, axis: int | None
) -> ir.Value:
    """The numbers of the `target.count` largest classes at every position of the other axes, along
    the class axis; the lower of equal ones comes first. Without a class axis class 0, [..., 1].

    Raises TargetError where there are fewer classes.
    """
    if axis is None:
        zero = emit.constant(0, ir.DataType.INT64)
        return emit.op("Unsqueeze", emit.op("Expand", zero, emit.shape_of(y)), emit.ints(-1))
    _check_size(y, output, target, axis, target.count)
    given = (emit.at_least_float(y), emit.ints(target.count))
    return emit.outputs("TopK", given, {"axis": axis}, 2)[1]


def _check_size(y: ir.Value, output: ir.Value, target: Target, axis: int, needed: int) -> None:
    """Raise TargetError where the output is known to have fewer classes than are needed."""
    size = None if y.shape is None else y.shape[axis]
    if isinstance(size, int) and needed > size:
        raise TargetError(
            f"target {target}: output {output.name!r} has {size} classes, 0 to {size - 1}. "
            f"{'Choose one of them' if target.kind != 'top' else f'Choose top-{size} or less'}."
        )


def _one_hot(emit: Emit, classes: ir.Value, chosen: ir.Value) -> ir.Value:
    return emit.op("Cast", emit.op("Equal", classes, chosen), to=int(emit.dtype))


def _class_numbers(emit: Emit, y: ir.Value, axis: int) -> ir.Value:
    """0, 1, 2, … along the class axis, shaped to broadcast against y."""
    assert y.shape is not None
    size, rank = y.shape[axis], known_rank(y)
    shape = [-1 if k == axis else 1 for k in range(rank)]
    if isinstance(size, int):
        return emit.constant(np.arange(size).reshape(shape), ir.DataType.INT64)
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    count = emit.op("Squeeze", emit.dimension(y, axis), emit.ints(0))
    return emit.op("Reshape", emit.op("Range", zero, count, one), emit.ints(*shape))


def _constant_mask(
    emit: Emit, y: ir.Value, output: ir.Value, target: Target, axis: int, classes: ir.Value
) -> ir.Value:
    _check_size(y, output, target, axis, max(target.classes) + 1)
    numbers = [emit.constant(c, ir.DataType.INT64) for c in target.classes]
    mask = _one_hot(emit, classes, numbers[0])
    if len(numbers) == 2:
        mask = emit.op("Sub", mask, _one_hot(emit, classes, numbers[1]))
    return emit.expand_like(mask, y)


def _largest_of_sample(emit: Emit, y: ir.Value, axis: int) -> ir.Value:
    """One-hot at the largest entry of each sample, over all its axes but the first; over that too
    if it is the class axis, for then all is one sample.
    """
    rows = emit.op("Flatten", y, axis=1 if axis else 0)
    size = emit.op("Squeeze", emit.op("Shape", rows, start=1), emit.ints(0))
    zero, one = (emit.constant(v, ir.DataType.INT64) for v in (0, 1))
    mask = _one_hot(
        emit, emit.op("Range", zero, size, one), emit.op("ArgMax", rows, axis=1, keepdims=1)
    )
    return emit.reshape_like(mask, y)


def _target_input(emit: Emit, graph: ir.Graph, y: ir.Value, axis: int) -> ir.Value:
    """The graph input `target`, one class per sample, shaped to broadcast against y."""
    assert y.shape is not None
    batch_axis = 0 if axis else None
    batch = y.shape[0] if batch_axis == 0 else 1
    value = graph_input(graph, "target", ir.DataType.INT64, ir.Shape([batch]))
    return emit.op("Reshape", value, emit.ints(-1, *[1] * (known_rank(y) - 1)))


def graph_input(graph: ir.Graph, name: str, dtype: ir.DataType, shape: ir.Shape | None) -> ir.Value:
    """Add an input to the graph; TargetError where another one has its name."""
    if any(v.name == name for v in (*graph.inputs, *graph.outputs)):
        raise TargetError(
            f"input {name!r}: the model already has an input or output of that name. Rename it."
        )
    make_room(graph, name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
    graph.inputs.append(value)
    return value
