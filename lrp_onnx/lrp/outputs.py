"""Several outputs explained in one file: one forward, and for each a path, rules and a start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.lrp.assignment import Assignment, assign, check_used
from lrp_onnx.lrp.composite import Override
from lrp_onnx.options import CompileOptions

__all__ = ["assign_outputs"]


def assign_outputs(
    model: ir.Model, options: CompileOptions, implied: Mapping[str, Override] | None = None
) -> Assignment:
    """What `assign` finds for the first output, with the `others` beside it.

    Raises as `assign` does, TargetError for an output that is given twice, and CompositeError for a
    rule or parameter that no node takes on the way to any of them.
    """
    names = options.output or (None,)
    for name, count in Counter(names).items():
        if count > 1:
            raise TargetError(f"output {name!r} is given {count} times. Give it once.")
    assignments = [assign(model, replace(options, output=name), implied) for name in names]
    check_used(options, assignments)
    if len(assignments) > 1:
        assignments = [replace(one, prefix=f"{one.output.name}_") for one in assignments]
    first, *others = assignments
    return replace(first, others=tuple(others))
