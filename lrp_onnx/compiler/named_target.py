"""A target that names classes in words: their numbers, by the labels that are given or that the
model has itself, in the ZipMap of a classifier.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.data.labels import class_named, classes_named, labels_in_metadata, labels_of
from lrp_onnx.errors import TargetError
from lrp_onnx.lrp.target import parse_target
from lrp_onnx.options import CompileOptions

__all__ = ["names_in_model", "with_class_numbers"]


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
    return names_in_model(model, options.output)


def names_in_model(model: ir.Model, output: object = None) -> dict[int, str]:
    """The classes that the file itself names: in its metadata, in a classifier's attributes, or in
    what scikit-learn's converter looks the label up in; none where it does not.

    output: the explained one, where it is named.
    """
    for node in model.graph:
        names = node.attributes.get("classlabels_strings")
        chosen = node.op_type != "ZipMap" or output in (None, node.outputs[0].name)
        if names is not None and chosen and names.as_strings():
            return dict(enumerate(names.as_strings()))
        if node.op_type == "ArrayFeatureExtractor" and node.inputs[0] is not None:
            table = ir.convenience.get_const_tensor(node.inputs[0])
            if table is not None and table.dtype == ir.DataType.STRING:
                texts = (t.decode() if isinstance(t, bytes) else str(t) for t in _texts(table))
                return dict(enumerate(texts))
    return labels_in_metadata(model.metadata_props) or {}


def _texts(table: ir.TensorProtocol) -> list[bytes | str]:
    return list(table.numpy().ravel().tolist())


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
