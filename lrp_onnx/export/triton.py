"""A model repository for NVIDIA Triton: the compiled model, and with pictures an ensemble.

    DIR/NAME/config.pbtxt, DIR/NAME/1/model.onnx          what explains
    DIR/NAME_prepare/…                                    pixels of any size  ->  its input
    DIR/NAME_picture/config.pbtxt                         both, one behind the other

Source: Triton's model_config.proto; `reshape` is for tensors that have nothing behind the batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import ModelError, OutputError
from lrp_onnx.export.preprocessing import PIXELS, preprocessing_model
from lrp_onnx.graph.annotations import has_batch, stamp_of
from lrp_onnx.graph.arrays import Dimension, Wanted
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.session import Runtime, dtype_of, runtime_form

__all__ = ["TritonModel", "write_repository"]

TYPES = {
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64", "bool": "TYPE_BOOL",
    "object": "TYPE_STRING", **{f"{u}int{n}": f"TYPE_{u.upper()}INT{n}" for u in ("", "u")
                                for n in (8, 16, 32, 64)},
}  # fmt: skip
DELAY = 1000
"""Microseconds that a request waits for others."""
Fields = Sequence[tuple[str, Any]]
"""Keys with their values: numbers, texts, words or fields again."""


class Word(str):
    """A value that stands without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class TritonModel:
    """A model to serve."""

    name: str
    compiled: Compiled
    picture: Wanted | None = None
    """The input that is a picture, where an ensemble prepares it."""
    preprocess: Preprocess | None = None
    batch: int = 32
    """How many samples run together at most, where the model leaves its batch open."""


def write_repository(model: TritonModel, out: Path) -> list[str]:
    """Write the repository and return the names of its models.

    Raises ModelError for an output that is no tensor, OutputError where the folder cannot be made,
    InputError where the picture cannot be prepared by a model.
    """
    with runtime_form(model.compiled.graph) as form:
        runtime = Runtime(form, ["CPUExecutionProvider"])
    outputs = [
        _output(value.name, value.type, value.shape) for value in runtime.session.get_outputs()
    ]
    batched = runtime.has_open_batch and has_batch(stamp_of(model.compiled.graph.metadata_props))
    batch = model.batch if batched else 0
    config = _config(model.name, batch, runtime.inputs, outputs)
    preparing = None
    if model.picture is not None and model.preprocess is not None:
        preparing = preprocessing_model(model.picture, model.preprocess)
    model.compiled.save(_version(out, model.name) / "model.onnx")
    _write(out, model.name, config)
    if preparing is None or model.picture is None:
        return [model.name]
    prepare, ensemble = f"{model.name}_prepare", f"{model.name}_picture"
    with atomic(_version(out, prepare) / "model.onnx") as temporary:
        temporary.write_bytes(preparing.SerializeToString())
    pixels = Wanted(PIXELS, dtype_of("uint8"), (None, None, 3))
    sizes = [d.dim_value for d in preparing.graph.output[0].type.tensor_type.shape.dim]
    prepared = Wanted(model.picture.name, model.picture.dtype, tuple(sizes))
    _write(out, prepare, _config(prepare, 0, [pixels], [prepared], warm=False))
    _version(out, ensemble)
    others = [_whole(w, batched) for w in runtime.inputs if w.name != model.picture.name]
    served = [_whole(want, batched) for want in outputs]
    _write(out, ensemble, _ensemble(ensemble, model, [pixels, *others], served))
    return [model.name, prepare, ensemble]


def _output(name: str, kind: str, shape: Sequence[Dimension]) -> Wanted:
    try:
        return Wanted(name, dtype_of(kind), tuple(shape))
    except TypeError as error:
        raise ModelError(
            f"output {name!r} is a {kind}, and Triton serves tensors. Export the classifier "
            "without ZipMap."
        ) from error


def _version(out: Path, name: str) -> Path:
    folder = out / name / "1"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output '{out}': {error.strerror}. Name another folder.") from error
    return folder


def _write(out: Path, name: str, config: Fields) -> None:
    with atomic(out / name / "config.pbtxt") as temporary:
        temporary.write_text(_text(config), encoding="utf-8")


def _config(
    name: str, batch: int, inputs: Sequence[Wanted], outputs: Sequence[Wanted], warm: bool = True
) -> Fields:
    """What Triton is told of an ONNX model.

    batch: how many samples at most; 0 where the model's first axis is none that Triton fills.
    """
    fields: list[tuple[str, Any]] = [
        ("name", name),
        ("backend", "onnxruntime"),
        ("max_batch_size", batch),
        *(("input", _tensor(want, bool(batch))) for want in inputs),
        *(("output", _tensor(want, bool(batch))) for want in outputs),
    ]
    if batch:
        fields.append(("dynamic_batching", [("max_queue_delay_microseconds", DELAY)]))
    if warm and all(isinstance(n, int) for w in inputs for n in _behind(w, bool(batch))):
        fields.append(("model_warmup", _warmup(inputs, bool(batch))))
    return fields


def _behind(want: Wanted, batched: bool) -> tuple[Dimension, ...]:
    return want.shape[1:] if batched else want.shape


def _whole(want: Wanted, batched: bool) -> Wanted:
    """A tensor of a batched model as it goes in and out there: with at least one axis behind."""
    if not batched or len(want.shape) > 1:
        return want
    return Wanted(want.name, want.dtype, (*want.shape, 1))


def _tensor(want: Wanted, batched: bool) -> Fields:
    sizes = [size if isinstance(size, int) else -1 for size in _behind(want, batched)]
    fields: list[tuple[str, Any]] = [
        ("name", want.name),
        ("data_type", Word(TYPES[str(want.dtype)])),
        *(("dims", size) for size in sizes or [1]),
    ]
    return [*fields, *([] if sizes else [("reshape", [])])]


def _warmup(inputs: Sequence[Wanted], batched: bool) -> Fields:
    """A request of zeros, so that the first of a user finds everything ready."""
    samples: list[tuple[str, Fields]] = []
    for want in inputs:
        dims = [("dims", size) for size in _behind(want, batched) or (1,)]
        value = [("data_type", Word(TYPES[str(want.dtype)])), *dims, ("zero_data", True)]
        samples.append(("inputs", [("key", want.name), ("value", value)]))
    return [("name", "zeros"), ("batch_size", int(batched)), *samples]


def _ensemble(
    name: str, model: TritonModel, inputs: Sequence[Wanted], outputs: Sequence[Wanted]
) -> Fields:
    """Without a batch of its own: pictures have different sizes."""
    assert model.picture is not None
    own = model.picture.name
    same: Mapping[str, str] = {want.name: want.name for want in inputs[1:]}
    steps: list[tuple[str, Fields]] = [
        ("step", _step(f"{model.name}_prepare", {PIXELS: PIXELS}, {own: "prepared"})),
        ("step", _step(model.name, {own: "prepared", **same}, {w.name: w.name for w in outputs})),
    ]
    return [
        ("name", name),
        ("platform", "ensemble"),
        ("max_batch_size", 0),
        *(("input", _tensor(want, False)) for want in inputs),
        *(("output", _tensor(want, False)) for want in outputs),
        ("ensemble_scheduling", steps),
    ]


def _step(name: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Fields:
    return [
        ("model_name", name),
        ("model_version", -1),
        *(("input_map", [("key", k), ("value", v)]) for k, v in inputs.items()),
        *(("output_map", [("key", k), ("value", v)]) for k, v in outputs.items()),
    ]


def _text(fields: Fields, indent: str = "") -> str:
    """Protobuf's text format."""
    lines = []
    for key, value in fields:
        if isinstance(value, Word | bool | int):
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"{indent}{key}: {shown}\n")
        elif isinstance(value, str):
            quoted = re.sub(r'(["\\])', r"\\\1", value)
            lines.append(f'{indent}{key}: "{quoted}"\n')
        else:
            lines.append(f"{indent}{key} {{\n{_text(value, indent + '  ')}{indent}}}\n")
    return "".join(lines)
