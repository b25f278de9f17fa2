"""Small networks, and their gradients by differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from models import network, run
from onnx import helper
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx import Explainer

RNG = np.random.default_rng(5)
SMOOTH = network(
    "h = Gemm(x, w, b)\n t = Tanh(h)\n y = Gemm(t, v, c)",
    (3, 4), w=(4, 6), b=(6,), v=(6, 5), c=(5,),
)  # fmt: skip

X = RNG.standard_normal((3, 4)).astype(np.float32)


def explain(model: onnx.ModelProto, x: Any, given: Any = None, **request: Any) -> Any:
    """The relevance of every explained tensor; `given` is what target input or seed wants."""
    return Explainer(lrp_onnx.compile(model, check=False, **request))(x, given).relevance


def gradient_of(model: onnx.ModelProto, feeds: dict[str, np.ndarray], name: str, seed: np.ndarray):
    """By central differences in float64."""
    net = Network(model)
    return finite_difference(
        lambda v: net.forward({**feeds, name: v})["y"], feeds[name].astype(float), seed
    )


IDS = np.array([[3, 1, 4, 1, 5, 9]])


def bytes_net() -> onnx.ModelProto:
    """A uint8 picture, reshaped, cast and scaled."""
    model = network(
        "r = Reshape(x, shape)\n f = Cast<to=1>(r)\n s = Mul(f, scale)\n t = Tanh(s)\n"
        "y = Gemm(t, w)",
        (2, 2, 3), shape=[0, 6], scale=np.full(6, 0.01, np.float32), w=(6, 4),
    )  # fmt: skip
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del model.graph.value_info[:]
    return model


def pair_net() -> onnx.ModelProto:
    """Token ids and features, two outputs of a float type."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        helper.make_node("ReduceMean", ["e", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Mul", ["m", "f"], ["p"], "gate"),
        helper.make_node("Tanh", ["p"], ["t"], "tanh"),
        helper.make_node("Gemm", ["t", "v"], ["a"], "head"),
        helper.make_node("Gemm", ["t", "u"], ["b"], "tail"),
    ]
    rng = np.random.default_rng(8)
    constants = {"table": rng.standard_normal((20, 5)), "v": rng.standard_normal((5, 3)),
                 "u": rng.standard_normal((5, 2))}  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "pair",
        [info("ids", 7, ["N", "T"]), info("f", 1, ["N", 5])],
        [info("a", 1, ["N", 3]), info("b", 1, ["N", 2])],
        [*(onnx.numpy_helper.from_array(c.astype(np.float32), k) for k, c in constants.items()),
         onnx.numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


PAIR = {"ids": np.array([[1, 2, 3], [7, 7, 0]]),
        "f": RNG.standard_normal((2, 5)).astype(np.float32)}  # fmt: skip


def reference(
    model: onnx.ModelProto,
    x: np.ndarray,
    x0: Any,
    steps: int,
    mask: np.ndarray,
    target: Any,
    apart: bool,
) -> np.ndarray:
    """The same sum, one compiled gradient after the other; for each sample or for all together the
    nearest that is complete.
    """
    given = mask if target == "seed" else None
    explainer = Explainer(lrp_onnx.compile(model, method="gradient", check=False, target=target))
    edges = (np.arange(steps + 1) / steps) ** 3
    total = np.zeros(x.shape)
    for before, behind in itertools.pairwise(edges):
        point = x0 + (before + behind) / 2 * (x - x0)
        total += (behind - before) * explainer(point.astype(np.float32), given).relevance["x"]
    here, there = (run(model, {"x": v.astype(np.float32)})["y"] for v in (x, x0 + 0 * x))
    rows = len(x) if apart else 1
    gone, way, mean = (v.reshape(rows, -1) for v in (mask * (here - there), x - x0, total))
    lacking = gone.sum(1, keepdims=True) - (way * mean).sum(1, keepdims=True)
    return (way * (mean + way * lacking / (way**2).sum(1, keepdims=True))).reshape(x.shape)
