"""The stored cases of ../shared/referees as ONNX models with feeds and expected relevance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from models import model_of
from onnx import helper

Array = np.ndarray
ROOT = Path(__file__).resolve().parents[3] / "shared" / "referees"
ABSENT = f"{ROOT} is absent: no stored numbers to compare with"


@dataclass(frozen=True)
class Referee:
    """One stored case, ready to compile."""

    model: onnx.ModelProto
    feeds: dict[str, Array]
    expected: dict[str, Array]
    tolerance: float
    target: str | int
    composite: str
    parameters: dict[str, float]
    start: str = "logit"
    relevance_at: Sequence[str] = field(default=())


@lru_cache
def rows() -> dict[str, dict[str, object]]:
    """Every row by name; empty where the folder is absent."""
    if not ROOT.is_dir():
        return {}
    stored = json.loads((ROOT / "cases.json").read_text())
    return {row["name"]: row for part in ("innvestigate", "literal") for row in stored[part]}


def load(name: str) -> Referee:
    """The case of that name, of either list."""
    row = rows()[name]
    return _layer(row) if "file" in row else _net(row)


def _layer(row: dict) -> Referee:
    with np.load(ROOT / row["file"]) as arrays:
        layer, x = row["layer"], arrays["input"].astype(np.float32)
        weights = [arrays[k] for k in (f"{layer}/weight0", f"{layer}/weight1") if k in arrays]
        expected = arrays[f"{layer}/attribution"]
    nodes, constants = _nodes(layer, weights)
    return Referee(
        model_of(nodes, constants, {"x": x.shape}, symbolic=(0,)),
        {"x": x}, {"x": expected}, row["tolerance"], "argmax",
        row["composite"] or "gradient", row["parameters"], row["start"],
    )  # fmt: skip


def _nodes(layer: str, weights: list[Array]) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The layer on NHWC input as tf2onnx would spell it, then Relu where named, then Flatten."""
    kind = layer.removesuffix("_relu")
    constants = dict(zip("wb", weights, strict=False))
    if kind == "Dense":
        nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], "matmul"),
                 helper.make_node("Add", ["p", "b"], ["z"], "bias")]  # fmt: skip
    else:
        op = {"Conv2D": "Conv", "AveragePooling2D": "AveragePool", "MaxPooling2D": "MaxPool"}[kind]
        if op == "Conv":
            constants["w"] = constants["w"].transpose(3, 2, 0, 1)
        attributes = {} if op == "Conv" else {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes = [helper.make_node("Transpose", ["x"], ["nchw"], "in", perm=[0, 3, 1, 2]),
                 helper.make_node(op, ["nchw", *constants], ["p"], "layer", **attributes),
                 helper.make_node("Transpose", ["p"], ["z"], "out", perm=[0, 2, 3, 1])]  # fmt: skip
    if layer.endswith("_relu"):
        nodes.append(helper.make_node("Relu", ["z"], ["a"], "relu"))
    nodes.append(helper.make_node("Flatten", [nodes[-1].output[0]], ["y"], "flatten"))
    return nodes, constants


def _net(row: dict) -> Referee:
    feeds = {k: np.array(v, np.float32) for k, v in row["inputs"].items()}
    constants = {k: np.array(v, np.float32) for k, v in row["initializers"].items()}
    nodes = [
        helper.make_node(n["op"], n["inputs"], n["outputs"], f"node{i}", **n["attributes"])
        for i, n in enumerate(row["nodes"])
    ]
    shapes = {k: v.shape for k, v in feeds.items()}
    return Referee(
        model_of(nodes, constants, shapes, symbolic=(0,), output=row["output"]),
        feeds, {k: np.array(v, float) for k, v in row["expected"].items()}, row["tolerance"],
        row["target"], row["composite"], row["parameters"], "logit", tuple(row["relevance_at"]),
    )  # fmt: skip
