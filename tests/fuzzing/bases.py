"""The models that are mutated: small, and of every operator that onnx has a case of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from conformance_cases import MODULES, cases
from onnx import ModelProto, numpy_helper, version_converter

import lrp_onnx.data.digits as digits

__all__ = ["bases"]

LARGEST = 20_000
"""Bytes of a model that is mutated."""


def bases() -> list[tuple[str, bytes]]:
    """The models that are mutated, by name."""
    operators = [
        (c.name, with_constants(c)) for module in MODULES for c in cases(module) if c.model
    ]
    small = [(name, data) for name, data in operators if len(data) < LARGEST]
    (own,) = Path(digits.__file__).parent.glob("*.onnx")
    exports = [*exported(), (own.stem, own.read_bytes())]
    return small + exports * max(1, len(small) // len(exports) // 3)


def with_constants(case: Any) -> bytes:
    """An operator's case whose integers are constants, as they are in exported models."""
    model = ModelProto.FromString(case.model.SerializeToString())
    for value, array in zip(case.model.graph.input, case.data_sets[0][0], strict=False):
        kind = value.type.tensor_type.elem_type
        if kind in (6, 7) and value.name:
            kept = [v for v in model.graph.input if v.name != value.name]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return bytes(model.SerializeToString())


def exported() -> Iterator[tuple[str, bytes]]:
    """Exports of PyTorch that come with onnx, at an opset of today."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for folder in ("pytorch-converted", "pytorch-operator"):
        for file in sorted((data / folder).glob("*/model.onnx")):
            model = onnx.load(file)
            if file.stat().st_size > LARGEST:
                continue
            try:
                model = version_converter.convert_version(model, 13)
            except (RuntimeError, version_converter.ConvertError):
                continue
            weights = {t.name for t in model.graph.initializer}
            kept = [v for v in model.graph.input if v.name not in weights]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            yield file.parent.name, model.SerializeToString()
