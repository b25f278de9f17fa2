"""What is compared, on what, and how; and who watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import onnx_ir as ir

from lrp_onnx.arguments import shown
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.fitting import AUTO, fitted
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.replacement import Replacement

__all__ = ["Candidate", "Compared", "Nobody", "Question", "Watch"]


class Redraw(Protocol):
    """Explanations of a model for many weights."""

    def at(self, model: ir.Model) -> tuple[Compiled | None, dict[str, Array]]:
        """The graph, None where it is the last one still, and its inputs that are the weights."""


class Compared(Protocol):
    """What `lrp_onnx.compiler.comparison.Comparison` is."""

    options: CompileOptions
    metadata: dict[str, str]
    has_batch: bool
    operators: set[str]
    largest_class: bool

    def explained(self, every: Sequence[CompileOptions], ranges: Ranges | None) -> Compiled:
        """One graph of explanations."""

    def redrawn(self, every: Sequence[CompileOptions], ranges: Ranges | None) -> Redraw:
        """The same for other weights."""

    def mask(self) -> ir.Model:
        """What relevance starts with."""


@dataclass(frozen=True)
class Candidate:
    """A composite of LRP, None for the default, or another method."""

    composite: str | None = None
    method: str = "lrp"

    def __post_init__(self) -> None:
        if self.composite == AUTO:  # which is the default
            object.__setattr__(self, "composite", None)

    @property
    def name(self) -> str:
        """As it is given: the composite or the method."""
        return (self.composite or AUTO) if self.method == "lrp" else self.method

    def options(self, base: CompileOptions) -> CompileOptions:
        """The options of a compilation, those of the base as far as they fit."""
        return fitted(base, self.composite, self.method)


class Watch(Protocol):
    """Whoever is told how far the work is."""

    def begin(self, description: str, total: int) -> None:
        """A new piece of work starts, of so many steps."""

    def tick(self) -> None:
        """A step is done."""


class Nobody:
    """Nobody watches."""

    def begin(self, description: str, total: int) -> None:
        """Say nothing."""

    def tick(self) -> None:
        """Say nothing."""


LARGEST = 2**31
RANGES = {
    "points": (2, 10**6),
    "batch": (1, LARGEST),
    "seed": (0, 2**64 - 1),
    "redraw": (0, 100),
}
"""The least and the largest value of a number."""


@dataclass(frozen=True)
class Question:
    """What is compared, on what, and how."""

    source: ModelSource
    inputs: Sequence[Mapping[str, Array]]
    """Arrays by input name, each entry one sample or several."""
    names: Sequence[str] | None = None
    """Of each entry where it comes from files: then a sample without a score is left out."""
    left_out: tuple[str, ...] = ()
    """What was left out already, and why."""
    options: CompileOptions = field(default_factory=CompileOptions)
    """What is explained, and what all candidates have in common."""
    candidates: Sequence[Candidate] | None = None
    """None takes the default and a few others, by the kind of model and input."""
    ranges: Ranges | None = None
    """Of inputs where they are known, as `prepare` has them."""
    classes: Sequence[int] | None = None
    """Of target `input` the class of each sample."""
    replacement: Replacement | None = None
    """What units are replaced by; None chooses by the kind of input."""
    unit: Sequence[int] | None = None
    """The size of a unit along each spatial axis, or along all; None chooses."""
    points: int = 20
    """In so many steps all units are replaced: the points of a curve behind the first."""
    batch: int = 8
    seed: int = 0
    """Of the random reference and of the re-drawn weights."""
    redraw: int = 3
    """In how many stages weights are re-drawn; 0 leaves that out."""

    @property
    def knows_range(self) -> bool:
        """Whether the least and the largest value of the input are known, as `zbox` needs."""
        set_by_user = {name.rpartition(".")[2] for name in self.options.parameters}
        return bool(self.ranges) or set_by_user >= {"low", "high"}

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{name} {value}: give a number from {least} to {most}.")
        if not all(0 <= k < LARGEST for k in self.classes or ()):
            raise InputError(
                f"classes {shown(self.classes)}: none below 0. Give numbers of classes."
            )
        if self.options.target == "seed" or str(self.options.target).startswith("top-"):
            raise TargetError(
                f"target {self.options.target}: evaluate compares maps of one quantity. Give "
                "argmax, a class, or another target that explains one quantity."
            )
        if len(self.options.output or ()) > 1:
            names = ", ".join(map(repr, self.options.output or ()))
            raise TargetError(
                f"outputs {names}: evaluate compares maps of one output. Give one --output."
            )
        for what in ("relevance_at", "conditions"):
            if tensors := getattr(self.options, what):
                raise TargetError(
                    f"{what} {tensors[0]!r}: evaluate compares maps of the inputs. Leave it out."
                )
        if self.unit is not None and not all(0 < side <= LARGEST for side in self.unit or (0,)):
            raise InputError(
                f"unit {shown(self.unit)}: a unit has at least one place. Give 1 or more."
            )
