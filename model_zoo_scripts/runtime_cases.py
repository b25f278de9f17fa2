"""What runtimes.py shows each runtime: compiled files, their originals, the input, and what ONNX
Runtime computes in float32, in a folder that runners in any language can read.

An array is a file of its bytes, and `tensors.json` beside it says name, element type and shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from feeds import feed
from numpy.typing import NDArray
from obtain import TABLE, model
from onnx import TensorProto, helper, numpy_helper
from sweep import explained_output, outputs_of

import lrp_onnx
from lrp_onnx.data import digits

__all__ = ["CASES", "Case", "difference", "make", "read_arrays", "write_arrays"]

Array = NDArray[Any]
Arrays = dict[str, Array]

STEPS = 4
"""Of integrated gradients."""
SHOWN = 2
"""Samples of the input, where it has more: some runtimes take a second each."""


@dataclass(frozen=True)
class Case:
    """A model under one composite, or one method that has none."""

    model: str
    composite: str | None
    method: str = "lrp"
    precision: str = "float32"

    @property
    def how(self) -> str:
        """The composite, or the method, and the precision where it is another."""
        half = "" if self.precision == "float32" else f" {self.precision}"
        return f"{self.composite or self.method}{half}"


def _cases(model: str, *composites: str) -> list[Case]:
    return [
        Case(model, None, c) if c == "integrated-gradients" else Case(model, c) for c in composites
    ]


CASES = (
    *_cases("digits", "auto", "epsilon-plus-flat", "epsilon-gamma-box", "epsilon-alpha2-beta1"),
    *_cases("digits", "integrated-gradients"),
    Case("digits", "auto", precision="float16"),
    *_cases("digits_float16", "auto", "epsilon-alpha2-beta1"),
    *_cases("efficientnet_lite0_legacy_bn", "auto", "epsilon-gamma-box", "epsilon-alpha2-beta1"),
    Case("efficientnet_lite0_legacy_bn", "auto", precision="float16"),
    *_cases("opennsfw_resnet50", "auto", "epsilon-alpha2-beta1"),
    *_cases("minilm_l6_fp32_legacy", "attnlrp", "integrated-gradients"),
    *_cases("nudenet_yolov8n", "auto", "epsilon-gamma-box"),
    *_cases("ppocr_det_fpn", "auto"),
    *_cases("silero_vad_sequence", "auto", "integrated-gradients"),
    *_cases("silero_vad_if", "auto"),
    *_cases("ddddocr_old_int8", "auto", "epsilon-alpha2-beta1"),
)


@dataclass(frozen=True)
class Made:
    """A case on disk."""

    case: Case
    folder: Path
    """Of the model: `original.onnx`, `feeds/`, and a file for each case."""
    path: Path
    """The compiled file."""
    outputs: tuple[str, ...]
    """The outputs of the original."""
    wanted: Arrays
    """Every output of the compiled file."""
    unoptimized: Arrays
    """The same as ONNX Runtime computes it with its optimization off."""


def make(case: Case, work: Path) -> Made:
    """Compile one case. Raises LrpError, or Unavailable where the model cannot be had."""
    folder = work / case.model
    folder.mkdir(parents=True, exist_ok=True)
    source, row = _source(case.model), TABLE["models"].get(case.model, {})
    original = source if isinstance(source, onnx.ModelProto) else onnx.load(source)
    onnx.save(original, folder / "original.onnx")
    feeds = _shown(case.model, original)
    write_arrays(folder / "feeds", feeds)
    output = explained_output(original.graph, row) if row else "logits"
    compiled = lrp_onnx.compile(
        original,
        composite=case.composite,
        method=case.method,
        output=output,
        explain=row.get("explain"),
        target=row.get("target", "argmax"),
        class_axis=row.get("class_axis"),
        steps=STEPS if case.method == "integrated-gradients" else None,
        precision=case.precision,
        parameters=_range_of(feeds) if case.how.endswith("-box") else {},
    )
    path = folder / f"{case.how}.onnx"
    compiled.save(path)
    wanted, unoptimized = (outputs_of(path, feeds, plain) for plain in (False, True))
    outputs = tuple(value.name for value in original.graph.output)
    return Made(case, folder, path, outputs, wanted, unoptimized)


def _source(name: str) -> Path | onnx.ModelProto:
    if name == "digits":
        return onnx.load_from_string(digits.load()[0])
    if name == "digits_float16":
        return _in_half(onnx.load_from_string(digits.load()[0]))
    return model(name)


def _shown(name: str, original: onnx.ModelProto) -> Arrays:
    if name.startswith("digits"):
        pictures = digits.load()[1][:SHOWN, None] / 255
        (image,) = original.graph.input
        return {image.name: pictures.astype(_dtype(image))}
    row = TABLE["models"][name]
    found = feed(name, original)
    alike = row["feed"] in ("imagenet", "text_line", "page_turned")  # a batch of samples
    return {k: v[:SHOWN] if alike else v for k, v in found.items()}


def _range_of(feeds: Arrays) -> dict[str, float]:
    """What a rule for bounded input has to know."""
    (shown,) = feeds.values()
    return {"low": float(np.floor(shown.min())), "high": float(np.ceil(shown.max()))}


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float32 tensor in float16."""
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return proto


def difference(
    wanted: Mapping[str, Array], found: Mapping[str, Array], names: Iterable[str]
) -> float:
    """max|Δ| / max|R|, the largest of these outputs; infinity where one is not finite."""
    worst = 0.0
    for name in names:
        want, have = wanted[name].astype(np.float64), found[name].astype(np.float64)
        if want.shape != have.shape:
            return float("inf")
        scale = max(float(np.abs(want).max(initial=0)), float(np.finfo(np.float32).tiny))
        gap = float(np.abs(have - want).max(initial=0))
        worst = max(worst, gap / scale if np.isfinite(gap) else float("inf"))
    return worst


def write_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as runners read them."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for k, (name, array) in enumerate(arrays.items()):
        (folder / f"{k}.bin").write_bytes(np.ascontiguousarray(array).tobytes())
        about = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
        listed.append(about | {"file": f"{k}.bin"})
    (folder / "tensors.json").write_text(json.dumps(listed))


def read_arrays(folder: Path) -> Arrays:
    """Read what a runner wrote."""
    return {
        row["name"]: np.frombuffer((folder / row["file"]).read_bytes(), dtype=row["dtype"]).reshape(
            row["shape"]
        )
        for row in json.loads((folder / "tensors.json").read_text())
    }
