"""The digits quantized in five ways: ranks of the float network, and what runtimes fuse."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from test_quantized import Row, model, ort_run

import lrp_onnx
from lrp_onnx.compiler.compiled import Compiled


class Digits:
    """Calibration and test: the digits that come with the package."""

    def __init__(self) -> None:
        folder = resources.files("lrp_onnx.data.digits")
        self.path = str(folder / "digits.onnx")
        with (folder / "digits.npz").open("rb") as file:
            self.images = np.load(file)["images"].astype(np.float32)[:, None]
        self.name = onnx.load(self.path).graph.input[0].name
        self.rest = iter(self.images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """One calibration sample after the other."""
        image = next(self.rest, None)
        return None if image is None else {self.name: image[None]}


FORMS = ("qdq-uint8", "qdq-int8", "qdq-per-channel", "qoperator", "dynamic")


@cache
def quantized_digits(form: str) -> onnx.ModelProto:
    from onnxruntime import quantization as q

    digits = Digits()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        if form == "dynamic":
            q.quantize_dynamic(digits.path, path, weight_type=q.QuantType.QUInt8)
        else:
            signed = form == "qdq-int8"
            q.quantize_static(
                digits.path, path, digits, per_channel=form == "qdq-per-channel",
                quant_format=q.QuantFormat.QOperator if form == "qoperator" else q.QuantFormat.QDQ,
                activation_type=q.QuantType.QInt8 if signed else q.QuantType.QUInt8,
            )  # fmt: skip
        return onnx.load(path)


@cache
def compiled_digits(form: str, composite: str = "epsilon-plus-flat") -> Compiled:
    source = Digits().path if form == "float" else quantized_digits(form)
    return lrp_onnx.compile(source, composite=composite)


def relevance(form: str, composite: str) -> np.ndarray:
    digits = Digits()
    outputs = ort_run(compiled_digits(form, composite).model, {digits.name: digits.images})
    return outputs[f"{digits.name}_relevance"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-plus", "alpha2-beta1"])
def test_ranks_are_those_of_the_float_network(form: str, composite: str) -> None:
    pairs = zip(relevance(form, composite), relevance("float", composite), strict=True)
    assert np.mean([rank_correlation(a, b) for a, b in pairs]) >= 0.95


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, equal values sharing theirs."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def ranks(a: np.ndarray) -> np.ndarray:
    _, group, sizes = np.unique(a, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - sizes / 2)[group.ravel()]


def test_rank_correlation_is_spearmans() -> None:
    a, b = np.array([1.0, 2, 2, 5, 9]), np.array([3.0, 1, 4, 4, 8])
    assert rank_correlation(a, b) == pytest.approx(29 / 38)  # scipy.stats.spearmanr's
    assert rank_correlation(a, -a) == pytest.approx(-1)


def fused(proto: onnx.ModelProto) -> Counter[str]:
    """Integer operators in what ONNX Runtime makes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    integer = ("QLinear", "QGemm", "ConvInteger", "DynamicQuantize", "MatMulInteger", "MatMulNBits")
    return Counter(node.op_type for node in nodes if node.op_type.startswith(integer))


@pytest.mark.parametrize("form", FORMS)
def test_runtimes_fuse_as_before(form: str) -> None:
    before = fused(quantized_digits(form))
    assert before.total() >= 5
    assert fused(compiled_digits(form).model) == before


@pytest.mark.parametrize("dtype", [onnx.TensorProto.INT4, onnx.TensorProto.UINT8])
def test_weight_only_layers_fuse_as_before(dtype: int) -> None:
    """DequantizeLinear → MatMul becomes MatMulNBits, and so it stays."""
    rng = np.random.default_rng(5)
    w8 = helper.make_tensor("w8", dtype, (64, 32), rng.integers(0, 8, 64 * 32).tolist())
    constants = {"ws": rng.uniform(0.01, 0.05, (2, 32)).astype(np.float32), "w8": np.zeros(1)}
    row = Row("", "", "", (2, 64), constants=constants, opset=21)
    text = "f = DequantizeLinear<axis=0, block_size=32>(w8, ws) y = MatMul(x, f)"
    proto = model(text, row, {"x": np.zeros((2, 64), np.float32)})
    next(t for t in proto.graph.initializer if t.name == "w8").CopyFrom(w8)
    assert fused(proto) == {"MatMulNBits": 1}
    assert fused(lrp_onnx.compile(proto, composite="zplus").model) == {"MatMulNBits": 1}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_not_copied_as_floats(form: str) -> None:
    stored = {t.name: t.data_type for t in quantized_digits(form).graph.initializer}
    large = [t for t in compiled_digits(form).model.graph.initializer if len(t.raw_data) > 4096]
    assert large
    assert all(t.data_type == stored.get(t.name) for t in large)
