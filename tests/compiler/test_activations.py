"""Inner tensors as outputs: the model's own, bit for bit, wherever the canonical view goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from commands import picture_net, run_command, text_net
from models import Array, network
from onnx import helper

import lrp_onnx
from lrp_onnx import Explainer, TargetError
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

HEAD = "g = GlobalAveragePool(t)\n f = Flatten(g)\n y = Gemm(f, v)"
FOLDED = network(
    "z = Conv(x, w)\n n = BatchNormalization(z, s, b, m, d)\n t = Relu(n)\n" + HEAD, (2, 3, 5, 6),
    w=(4, 3, 3, 3), s=(4,), b=(4,), m=(4,), d=np.ones(4), v=(4, 3),
)  # fmt: skip
SPELLED = network(
    "e = Exp(x)\n k = ReduceSum<keepdims=1>(e, axes)\n p = Div(e, k)\n h = Gemm(p, w)\n"
    "a = Tanh(h)\n i = ArgMax<axis=1, keepdims=1>(a)\n c = Cast<to=1>(i)\n q = Add(a, c)\n"
    "y = Gemm(q, v)", (2, 4), axes=[1], w=(4, 5), v=(5, 3),
)  # fmt: skip
RNG = np.random.default_rng(4)


def original(model: onnx.ModelProto, names: list[str], feeds: dict[str, Array]) -> list[Array]:
    """What ONNX Runtime computes at inner tensors of the original, nothing optimized."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    own.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return session(own).run(names, feeds)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("model", "names", "x"),
    [
        (FOLDED, ["z", "n", "t", "f"], RNG.standard_normal((2, 3, 5, 6))),
        (SPELLED, ["e", "k", "p", "h", "a", "i", "q"], RNG.standard_normal((2, 4))),
        (picture_net(softmax=True), ["z", "l"], RNG.standard_normal((3, 1, 8, 8))),
        (text_net(), ["e", "m"], np.array([[3, 1, 4, 1, 5, 9]])),
    ],
    ids=["folded", "spelled", "picture", "text"],
)
@pytest.mark.parametrize("optimize", [True, False])
def test_they_are_the_originals(
    model: onnx.ModelProto, names: list[str], x: Array, optimize: bool
) -> None:
    x = x if x.dtype.kind == "i" else x.astype(np.float32)
    compiled = lrp_onnx.compile(model, activation_at=names, optimize=optimize)
    outputs = [v.name for v in compiled.graph.graph.outputs]
    assert outputs[2:] == [f"{name}_activation" for name in names]
    feeds = {model.graph.input[0].name: x}
    found = session(compiled.model).run([f"{name}_activation" for name in names], feeds)
    expected = original(model, names, feeds)
    for name, a, b in zip(names, found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.array_equal(a, b), name
    by_explainer = Explainer(compiled)(x).outputs
    assert {f"{name}_activation" for name in names} < set(by_explainer)


def test_with_every_method_and_several_outputs() -> None:
    for method in ("gradient", "integrated-gradients", "smooth-grad", "grad-cam"):
        compiled = lrp_onnx.compile(FOLDED, method=method, activation_at="z")
        assert compiled.graph.graph.outputs[-1].name == "z_activation"


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("x", "activation at 'x': that is an input of the model already"),
        ("y", "activation at 'y': that is an output of the model already"),
        ("w", "tensor 'w': the model has none"),
        ("nowhere", "tensor 'nowhere': the model has none"),
        ("lrp_1", "tensor 'lrp_1': the model has none"),
    ],
)
def test_what_is_none(name: str, fact: str) -> None:
    with pytest.raises(TargetError, match=fact):
        lrp_onnx.compile(FOLDED, activation_at=name)


def test_a_name_that_is_taken() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(FOLDED)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z_activation"], "last"))
    model.graph.output.append(helper.make_tensor_value_info("z_activation", 1, [batch, 3]))
    with pytest.raises(TargetError, match="output 'z_activation': the model already has"):
        lrp_onnx.compile(model, output="y", activation_at="z")


def test_infinities_of_the_model_are_no_problem() -> None:
    masked = network("h = Gemm(x, w)\n k = Add(h, mask)\n s = Softmax(k)\n y = Mul(s, h)", (2, 4),
                     w=(4, 4), mask=np.array([0, 0, -np.inf, 0], np.float32))  # fmt: skip
    verdict = verify(masked, CompileOptions(activation_at="k", target="all"))
    assert not [problem for problem in verdict.problems if "activation" in problem]


def test_explain(tmp_path: Path, capsys: Any) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 1, 8, 8), np.float32))
    out = tmp_path / "out.npz"
    outcome = run_command(capsys, "explain", tmp_path / "model.onnx", tmp_path / "x.npy", "-o", out,
                          "--activation-at", "z", "--activation-at", "h")  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    with np.load(out) as arrays:
        assert {"z_activation", "h_activation"} < set(arrays)
        assert np.array_equal(np.maximum(arrays["z_activation"], 0), arrays["h_activation"])
