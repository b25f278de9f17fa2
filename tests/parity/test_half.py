"""onnxconverter-common makes a compiled model float16 with its default options."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxconverter_common import float16

import lrp_onnx

rng = np.random.default_rng(0)
WEIGHTS = {
    "w": rng.standard_normal((4, 3, 3, 3)) / 4, "b": rng.standard_normal(4) / 4,
    "v": rng.standard_normal((5, 64)) / 8, "q": rng.standard_normal((8, 8)) / 3,
    "g": 1 + rng.random(8), "c": rng.standard_normal(8) / 4, "last": np.array([1]),
}  # fmt: skip
CONVOLUTION = (
    "z = Conv<pads=[1, 1, 1, 1]>(x, w, b) a = Relu(z) "
    "p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(a) f = Flatten(p) y = Gemm<transB=1>(f, v)"
)
ATTENTION = (
    "h = LayerNormalization(x, g, c) k = MatMul(h, q) t = Transpose<perm=[0, 2, 1]>(h) "
    "s = MatMul(k, t) p = Softmax(s) o = MatMul(p, h) r = Add(o, x) "
    "y = ReduceMean<keepdims=0>(r, last)"
)
NETWORKS = {"convolution": (CONVOLUTION, (2, 3, 8, 8)), "attention": (ATTENTION, (2, 6, 8))}
HOW = (
    {"composite": "epsilon"},
    {"composite": "gamma", "target": "top-2"},
    {"composite": "alpha2-beta1", "optimize": False},
    {"composite": "attnlrp", "runtime": "cuda"},
    {"method": "gradient"},
    {"method": "integrated-gradients", "steps": 4},
)


def network(name: str) -> onnx.ModelProto:
    body, shape = NETWORKS[name]
    nodes = onnx.parser.parse_graph(f"g (float q) => (float y) {{ {body} }}").node
    used = {n: a for n, a in WEIGHTS.items() if any(n in node.input for node in nodes)}
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", 1, ["N", *shape[1:]])],
        [helper.make_tensor_value_info("y", 1, ["N", None])],
        [numpy_helper.from_array(a if n == "last" else a.astype(np.float32), n)
         for n, a in used.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def relevance(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    return session.run(["x_relevance"], {"x": x.astype(kind)})[0].astype(np.float32)


@pytest.mark.parametrize("keep", [False, True], ids=["float16", "float32 outside"])
@pytest.mark.parametrize(
    ("name", "how"),
    list(itertools.product(NETWORKS, HOW)),
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_a_compiled_model_becomes_float16(name, how, keep):
    compiled = lrp_onnx.compile(network(name), **how).model
    x = rng.standard_normal(NETWORKS[name][1])
    expected = relevance(compiled, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 1e30, where the sign alone counts, becomes 1e4
        half = float16.convert_float_to_float16(compiled, keep_io_types=keep)
    found = relevance(half, x)
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
