"""Sizes of inputs that the user fixes: all that follows from them is known when it is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from lrp_onnx.errors import ModelError

__all__ = ["fix_sizes"]


def fix_sizes(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Declare these shapes of inputs by name, in place. A size that has a name is the same wherever
    an input or output has that name.

    Raises ModelError for an input that the model lacks, or sizes that it cannot have.
    """
    inputs = {str(v.name): v for v in model.graph.inputs if v.name not in model.graph.initializers}
    known: dict[str, int] = {}
    for name, sizes in shapes.items():
        if name not in inputs:
            raise ModelError(
                f"shape of {name!r}: the model has no such input. It has "
                f"{', '.join(map(repr, inputs))}."
            )
        _fix(inputs[name], list(sizes), known)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([_size(d, known) for d in value.shape])


def _fix(value: ir.Value, sizes: list[int], known: dict[str, int]) -> None:
    declared = value.shape
    wrong = not all(size > 0 for size in sizes)
    if declared is not None:
        wrong |= len(declared) != len(sizes)
        for d, size in zip(declared, sizes, strict=False):
            if isinstance(d, int):
                wrong |= d != size
            elif d.value is not None:
                wrong |= known.setdefault(d.value, size) != size
    if wrong:
        raise ModelError(
            f"shape of {value.name!r}: {sizes} was given, and the model declares {declared}. Give "
            "a size from 1 on for each axis, the declared one where it is a number, and one size "
            "for each name."
        )
    value.shape = ir.Shape(sizes)


def _size(d: int | ir.SymbolicDim, known: Mapping[str, int]) -> int | ir.SymbolicDim:
    return d if isinstance(d, int) or d.value is None else known.get(d.value, d)
