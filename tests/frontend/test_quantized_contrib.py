"""LSTM and attention that quantize on the way: relevance of the float operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, run
from onnx import helper, numpy_helper

import lrp_onnx

RNG = np.random.default_rng(4)
STEPS, BATCH, INPUTS, HIDDEN = 3, 2, 4, 5
SCALES = {
    "one scale": np.array([0.01], np.float32),
    "one a column": np.full((1, 20), 0.01, np.float32),
}


def model(node: onnx.NodeProto, feed: Array, constants: dict[str, Array]) -> onnx.ModelProto:
    """One operator, x to y."""
    element = helper.np_dtype_to_tensor_dtype(feed.dtype)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", element, feed.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def relevance(proto: onnx.ModelProto, feed: Array) -> Array:
    compiled = lrp_onnx.compile(proto, composite="epsilon", target="seed", start="one", check=False)
    shape = run(proto, {"x": feed})["y"].shape
    seed = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = run(compiled.model, {"x": feed, "y_seed": seed})
    assert_close(outputs["y"], run(proto, {"x": feed})["y"])
    return outputs["x_relevance"]


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_lstm_with_quantized_weights(scale: Array) -> None:
    x = RNG.standard_normal((STEPS, BATCH, INPUTS)).astype(np.float32)
    w, r = (RNG.integers(-90, 90, (1, n, 4 * HIDDEN)).astype(np.int8) for n in (INPUTS, HIDDEN))
    zero = np.zeros(scale.shape, np.int8)
    b = RNG.standard_normal((1, 8 * HIDDEN)).astype(np.float32)
    own = {"w": w, "r": r, "b": b, "s": scale, "t": 2 * scale, "z": zero}
    inputs = ["x", "w", "r", "b", "", "", "", "", "s", "z", "t", "z"]
    quantized = helper.make_node(
        "DynamicQuantizeLSTM", inputs, ["y"], "n", domain="com.microsoft", hidden_size=HIDDEN
    )
    weights = {"w": (w * np.float32(0.01)).transpose(0, 2, 1),
               "r": (r * np.float32(0.02)).transpose(0, 2, 1)}  # fmt: skip
    float_node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], "n", hidden_size=HIDDEN)
    expected = relevance(model(float_node, x, {**weights, "b": b}), x)
    assert_close(relevance(model(quantized, x, own), x), expected, 2e-5)


def test_attention_of_integers() -> None:
    x = RNG.integers(0, 256, (2, 3, 8)).astype(np.uint8)
    w = RNG.integers(0, 256, (8, 24)).astype(np.uint8)
    b = RNG.standard_normal(24).astype(np.float32)
    own = {"w": w, "b": b, "xs": np.float32(0.02), "ws": np.float32(0.01),
           "xz": np.uint8(128), "wz": np.uint8(120)}  # fmt: skip
    inputs = ["x", "w", "b", "xs", "ws", "", "xz", "wz"]
    quantized = helper.make_node(
        "QAttention", inputs, ["y"], "n", domain="com.microsoft", num_heads=2
    )
    constants = {name: np.asarray(value) for name, value in own.items()}
    real = (x.astype(np.float32) - 128) * np.float32(0.02)
    weight = (w.astype(np.float32) - 120) * np.float32(0.01)
    float_node = helper.make_node(
        "Attention", ["x", "w", "b"], ["y"], "n", domain="com.microsoft", num_heads=2
    )
    expected = relevance(model(float_node, real, {"w": weight, "b": b}), real)
    assert_close(relevance(model(quantized, x, constants), x), expected, 2e-5)
