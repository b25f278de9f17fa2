"""Running the command line inside the test's own process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model_of
from onnx import helper
from PIL import Image

from lrp_onnx.cli.main import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Capture = pytest.CaptureFixture[str]


def run_command(capsys: Capture, *arguments: object) -> Outcome:
    hook = sys.excepthook
    try:
        status = main([str(a) for a in arguments])
    finally:
        sys.excepthook = hook
    captured = capsys.readouterr()
    return Outcome(status, captured.out, captured.err)


def picture_net(
    channels: int = 1, size: int = 8, softmax: bool = False, scale: float = 1.0
) -> onnx.ModelProto:
    """Conv, Relu, Flatten, Gemm from `image` [N, channels, size, size] to `logits` [N, 4]."""
    rng = np.random.default_rng(7)
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["z"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["z"], ["h"], "relu"),
        helper.make_node("Flatten", ["h"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v", "c"], ["l" if softmax else "logits"], "fc"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["l"], ["logits"], "softmax"))
    weights = {
        "w": rng.standard_normal((3, channels, 3, 3)) * scale,
        "b": rng.standard_normal(3),
        "v": rng.standard_normal((3 * size * size, 4)) / size,
        "c": rng.standard_normal(4),
    }
    constants = {name: w.astype(np.float32) for name, w in weights.items()}
    shape = {"image": (1, channels, size, size)}
    return model_of(nodes, constants, shape, symbolic=(0,), output="logits")


def text_net() -> onnx.ModelProto:
    """Token ids [1, 6] to `logits` [1, 2] by Gather, ReduceMean and Gemm."""
    rng = np.random.default_rng(8)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        helper.make_node("ReduceMean", ["e", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Gemm", ["m", "v"], ["logits"], "fc"),
    ]
    constants = {
        "table": rng.standard_normal((20, 5)).astype(np.float32),
        "axes": np.array([1]),
        "v": rng.standard_normal((5, 2)).astype(np.float32),
    }
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, 6])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])
    weights = [onnx.numpy_helper.from_array(w, name) for name, w in constants.items()]
    graph = helper.make_graph(nodes, "text", [ids], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def size_and_text(path: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Size and metadata."""
    with Image.open(path) as image:
        return image.size, dict(image.info)
