"""The value that a regression is compared with: what is explained is f - f_ref, not f.

LRP then starts with R₀ = m·(y - y_ref), so that relevance sums to f - f_ref but for what biases and
stabilizers take.  It is shared out as that of y is: in proportion to what each input contributes to
y.  Of one output with one number that is the map of f times (f - f_ref)/f; the reference says how
much there is to explain and with which sign, and not which features differ from those of another
input, for which there are integrated gradients from a baseline.  Cf. Letzgus et al. 2022, Toward
explainable AI for regression models, section "reference value".
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.compiler.judge import judge
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.data.second_input import read_second_input
from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.session import runtime_form
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["Reference", "read_reference", "reference_outputs"]


@dataclass(frozen=True)
class Reference:
    """A number for every output, or the outputs of a reference input."""

    said: str
    """In words."""
    value: float | None = None
    feeds: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def of(self, source: ModelSource, output: ir.Value) -> NDArray[Any]:
        """y_ref, shaped like one sample of the output or a number."""
        if self.value is not None:
            return np.array(self.value)
        with runtime_form(source) as form:
            outputs = judge(form).run(self.feeds)
        y = outputs.get(str(output.name))
        if y is None:
            raise TargetError(
                f"reference {self.said}: output {output.name!r} is made into maps, and has no "
                "number to compare with. Give the number itself."
            )
        size = None if output.shape is None or not len(output.shape) else output.shape[0]
        if np.ndim(y) and len(y) != 1 and len(y) != size:
            raise InputError(
                f"reference {self.said}: it holds {len(y)} samples. Give one, which is for all."
            )
        return np.asarray(y)


def read_reference(
    model: ir.Model, asked: object, preprocess: Preprocess | None = None
) -> Reference | None:
    """What the user gave: a number, or an input by file, array or name.

    Raises InputError where a file does not fit the model, TargetError for no finite number.
    """
    if asked is None or isinstance(asked, Reference):
        return asked
    if isinstance(asked, list | tuple) and len(asked) == 1:
        (asked,) = asked
    number = _number(asked)
    if number is None:
        feeds = read_second_input(model, asked, "reference", preprocess)
        files = asked if isinstance(asked, list | tuple) else [asked]
        named = all(isinstance(file, str | Path) for file in files)
        said = ", ".join(Path(str(file)).name for file in files) if named else "array"
        return Reference(said, feeds=feeds)
    if not np.isfinite(number):
        raise TargetError(f"reference {asked}: no finite number. Give the value to compare with.")
    return Reference(f"{number:g}", value=number)


def _number(asked: object) -> float | None:
    if isinstance(asked, int | float):
        return float(asked)
    with contextlib.suppress(ValueError):
        return float(asked) if isinstance(asked, str) else None
    return None


def reference_outputs(source: ModelSource, assignment: Assignment) -> dict[str, NDArray[Any]]:
    """y_ref of each explained output; nothing without a reference.

    Raises TargetError where an output is no regression, or relevance does not start at its value.
    """
    reference = assignment.options.reference
    if not isinstance(reference, Reference):
        return {}
    for one in assignment.each:
        name = one.output.name
        if one.logits is not one.output:
            raise TargetError(
                f"reference {reference.said}: relevance of output {name!r} starts at the logits "
                "before its softmax or sigmoid, which are no regression. Compare two classes with "
                "--target A-B, or leave the reference out."
            )
        runtime = one.target.kind in ("seed", "similarity")
        if one.start != "logit" or runtime:
            asked = f"target {one.target}" if runtime else f"start {one.start}"
            raise TargetError(
                f"reference {reference.said}: with {asked} relevance does not start at the "
                f"output's value, which could be compared. Leave --{asked.split()[0]} out."
            )
    return {str(one.output.name): reference.of(source, one.output) for one in assignment.each}
