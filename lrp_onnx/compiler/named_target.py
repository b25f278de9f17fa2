"""A target that names classes in words: their numbers, by the labels that are given or that the
model has itself, in the ZipMap of a classifier.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.data.labels import class_named, classes_named, labels_of
from lrp_onnx.errors import TargetError
from lrp_onnx.lrp.target import parse_target
from lrp_onnx.options import CompileOptions

__all__ = ["with_class_numbers"]


def with_class_numbers(options: CompileOptions, model: ir.Model) -> CompileOptions:
    """The options with numbers in place of names, of `A-B` too, where the target is none of those
    that need no labels. Raises TargetError for a name that no class has, or several have.
    """
    target, labels = options.target, _labels(options, model)
    if not labels or not isinstance(target, str):
        return options
    try:
        parse_target(target)
    except TargetError:
        return replace(options, target=_numbers(labels, target))
    return options


def _labels(options: CompileOptions, model: ir.Model) -> dict[int, str]:
    if options.labels is not None:
        return labels_of(options.labels)
    for node in model.graph:
        names = node.attributes.get("classlabels_strings")
        chosen = options.output in (None, node.outputs[0].name)
        if node.op_type == "ZipMap" and names is not None and chosen:
            return dict(enumerate(names.as_strings()))
    return {}


def _numbers(labels: dict[int, str], target: str) -> str:
    """A class of that name, else the difference of two."""
    if not classes_named(labels, target):
        for k in (k for k, sign in enumerate(target) if sign == "-"):
            pair = [_class(labels, part.strip()) for part in (target[:k], target[k + 1 :])]
            if None not in pair:
                return "-".join(map(str, pair))
    return str(class_named(labels, target))


def _class(labels: dict[int, str], part: str) -> int | None:
    """The class of a number or of a name that only one has."""
    if part.isdecimal():
        return int(part)
    numbers = classes_named(labels, part)
    return numbers[0] if len(numbers) == 1 else None
