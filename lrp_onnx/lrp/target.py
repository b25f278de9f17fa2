"""What is explained: the output, its class axis, and which of its entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.analysis.head import Head
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.map_outputs import unzipped
from lrp_onnx.graph.ranks import known_rank

__all__ = [
    "Target",
    "check_entries",
    "choose_output",
    "class_axis_of",
    "parse_target",
]

Entry = tuple[int | None, ...]
NAMED = ("argmax", "all", "max", "input", "seed", "similarity")


@dataclass(frozen=True)
class Target:
    """Which entries of the output are explained: `kind` is one of NAMED, "index", "difference",
    "top", which explains the `count` largest classes one by one, or "entry".
    """

    kind: str
    classes: tuple[int, ...] = ()
    count: int = 1
    entry: Entry = ()
    """The index along each axis behind the batch; None sums over an axis."""
    first: int = 1
    """The axis of the first of these indices: 0 of an output without a batch."""
    head: Head | None = None
    """Of an output that is no scores of classes alone: where the explained entry is sought."""

    def __str__(self) -> str:
        if self.kind == "top":
            return f"top-{self.count}"
        if self.kind == "entry":
            return _listed([":" if k is None else str(k) for k in self.entry])
        return "-".join(map(str, self.classes)) if self.classes else self.kind


def parse_target(asked: str | int | Sequence[object]) -> Target:
    """`argmax`, a class, `A-B`, `all`, `max`, `top-K`, an entry such as `5,1689`, `1,:` or, of one
    axis, `5,`, also as a tuple of numbers and slices, `input` or `seed`; TargetError for anything
    else.
    """
    text = asked if isinstance(asked, str | int) else _joined(asked)
    if str(text) in NAMED:
        return Target(str(text))
    if re.fullmatch(r"\s*(\d+|:)(\s*,\s*(\d+|:))*\s*,?\s*", str(text)) and "," in str(text):
        places = (part.strip() for part in str(text).strip().rstrip(",").split(","))
        return Target("entry", entry=tuple(None if p == ":" else int(p) for p in places))
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
        f"target {text!r} is unknown. Give a class such as 3 (by its name only with --labels "
        "FILE), a difference such as 3-5, top-5 for the five largest classes, an entry such as "
        f"5,1689, or one of {', '.join(NAMED)}."
    )


def _joined(places: Sequence[object]) -> str:
    """A tuple of indices as text: an index, or `:` for a slice of everything."""
    return _listed([":" if place == slice(None) else str(place) for place in places])


def _listed(places: Sequence[str]) -> str:
    """With a comma behind a single one, as a tuple has it: without, it would be a class."""
    return ",".join(places) if len(places) > 1 else f"{places[0]}," if places else ""


EXPLAINED = (*(ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16),)
"""Float types that runtimes compute with, those of 8 bits and less are only stored."""


def choose_output(
    graph: ir.Graph, name: str | None, of_scores: Callable[[], Sequence[ir.Value]]
) -> ir.Value:
    """The output of that name; without a name the only float one, of several the only one that has
    scores of detections; of maps the tensor that they are made of. TargetError lists the outputs
    otherwise.

    of_scores: finds those that have scores of detections.
    """
    listing = "; ".join(map(_described, graph.outputs))
    if name is not None:
        for value in graph.outputs:
            if value.name == name:
                return unzipped(value)
        raise TargetError(f"output {name!r}: the model has no such output. Its outputs: {listing}.")
    made_of = {v: unzipped(v) for v in graph.outputs}  # ZipMap takes no other type than float
    floats = list(
        dict.fromkeys(
            v
            for y, v in made_of.items()
            if _is_tensor(v) and (v.dtype in EXPLAINED or (v is not y and not v.dtype))
        )
    )
    if not floats:
        outputs = f"is a tensor of floats: {listing}" if graph.outputs else "is declared"
        raise TargetError(f"no output {outputs}. Export the model with one that is.")
    if len(floats) == 1:
        return floats[0]
    scored = of_scores()
    if len(scored) == 1:
        return scored[0]
    many = "several outputs are of a float type"
    if scored:
        many += f", and several have scores ({', '.join(repr(v.name) for v in scored)})"
    raise TargetError(f"{many}. Choose one with --output: {listing}.")


def _described(value: ir.Value) -> str:
    kind = f"{value.dtype} {value.shape}" if _is_tensor(value) else value.type
    return f"{value.name!r} {kind}"


def _is_tensor(value: ir.Value) -> bool:
    """Whether it is no sequence and no optional; what has no type may be one."""
    return isinstance(value.type, ir.TensorType | None)


def class_axis_of(
    y: ir.Value, axis: int | None, inputs: Sequence[ir.Value] = (), target: Target | None = None
) -> int | None:
    """The class axis: 1 for rank 2, 4, 5, the last for rank 3; None for an output of rank 0, and of
    rank 1 where that axis is the batch: one class. Axis 0 is that of an output without a batch.

    inputs: the model's, whose axis 0 tells whether an output of rank 1 has a batch. Raises
    TargetError where that cannot be told and `target` depends on it.
    """
    rank = known_rank(y)
    if axis is None:
        if rank < 2:
            return _only_axis(y, inputs, target) if rank else None
        return 1 if rank in (2, 4, 5) else rank - 1
    if not -rank <= axis < rank:
        fact = f"class axis {axis}: output {y.name!r} of shape {y.shape} has {rank} axes."
        raise TargetError(f"{fact} Give one from {-rank} to {rank - 1}." if rank else
                          f"{fact} Leave it out.")  # fmt: skip
    return axis % rank


def check_entries(y: ir.Value, axis: int | None, target: Target) -> None:
    """Raise TargetError where the largest entry is asked for along a class axis without any."""
    if axis is not None and target.kind in ("argmax", "max") and y.shape and y.shape[axis] == 0:
        raise TargetError(
            f"output {y.name!r} of shape {y.shape} has no entry along its class axis {axis}: "
            "nothing is the largest. Export the model with entries there, or give --target all."
        )


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
