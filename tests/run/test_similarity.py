"""Similarity: the cosine of two embeddings, explained on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, text_net
from gradient_models import PAIR, pair_net
from models import Array, assert_close, network, run
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx import Explainer, InputError, LrpError
from lrp_onnx.graph.arrays import cosines
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

# no bias: all relevance arrives
MODEL = network("h = Gemm(x, w)\n r = Relu(h)\n y = Gemm(r, v)", (3, 4), w=(4, 6), v=(6, 5))
SMOOTH = network("h = Gemm(x, w, b)\n t = Tanh(h)\n y = Gemm(t, v)", (3, 4), w=(4, 6), b=(6,),
                 v=(6, 5))  # fmt: skip
UNIT = network("h = Gemm(x, w)\n r = Relu(h)\n e = Gemm(r, v)\n n = ReduceL2<keepdims=1>(e, axes)\n"
               "y = Div(e, n)", (3, 4), w=(4, 6), v=(6, 5), axes=[1])  # fmt: skip
SOFTMAX = network("h = Gemm(x, w)\n y = Softmax(h)", (2, 4), w=(4, 3))
TOKENS = network("h = MatMul(x, w)\n r = Relu(h)\n y = MatMul(r, v)", (2, 3, 4), w=(4, 6), v=(6, 5))
RNG = np.random.default_rng(3)
X, OTHER = (RNG.standard_normal((3, 4)).astype(np.float32) for _ in range(2))


def explainer(model: onnx.ModelProto, **request: Any) -> Explainer:
    return Explainer(lrp_onnx.compile(model, target="similarity", **request))


def cosine(model: onnx.ModelProto, x: Array, other: Array) -> Array:
    e, o = (Network(model).forward({"x": v})["y"] for v in (x, other))
    axes = tuple(range(1, e.ndim))
    return (e * o).sum(axes) / np.sqrt((e**2).sum(axes) * (o**2).sum(axes))


@pytest.mark.parametrize("model", [MODEL, UNIT, TOKENS], ids=["plain", "unit", "tokens"])
@pytest.mark.parametrize("optimize", [True, False])
def test_relevance_of_both_sides_sums_to_the_cosine(model: Any, optimize: bool) -> None:
    shape = (2, 3, 4) if model is TOKENS else (3, 4)
    rng = np.random.default_rng(11)
    x, other = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    both = lrp_onnx.similarity(explainer(model, composite="epsilon", optimize=optimize), x, other)
    expected = cosine(model, x, other)
    assert np.abs(expected).min() > 1e-3
    for side, result in zip((x, other), both, strict=True):
        relevance = result.relevance["x"]
        assert relevance.shape == side.shape
        assert_close(relevance.sum(tuple(range(1, x.ndim))), expected, 1e-4)
    assert_close(cosines(*(result.outputs["y"] for result in both)), expected)


def test_it_is_the_formula_in_a_linear_network() -> None:
    """R_i = Σ_k x_i·w_ik / e_k · u_k·v_k."""
    linear = network("y = Gemm(x, w)", (3, 4), w=(4, 5))
    w = Network(linear).constants["w"]
    first, second = lrp_onnx.similarity(explainer(linear, composite="epsilon"), X, OTHER)
    for own, with_, result in ((X, OTHER, first), (OTHER, X, second)):
        e, o = own.astype(float) @ w, with_.astype(float) @ w
        u, v = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (e, o))
        assert_close(result.relevance["x"], own * ((u * v / e) @ w.T), 1e-4)
        with pytest.raises(AssertionError, match="max"):
            assert_close(result.relevance["x"], 1.01 * own * ((u * v / e) @ w.T), 1e-4)


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "saliency"])
def test_gradients_are_those_of_the_cosine(method: str) -> None:
    both = lrp_onnx.similarity(explainer(SMOOTH, method=method), X, OTHER)
    for own, with_, result in ((X, OTHER, both[0]), (OTHER, X, both[1])):
        g = finite_difference(
            lambda v, o=with_: cosine(SMOOTH, v, o), own.astype(float), np.ones(3)
        )
        made = {"gradient": g, "input-x-gradient": own * g, "saliency": np.abs(g)}[method]
        assert_close(result.relevance["x"], made, 2e-5)


def test_one_other_for_all() -> None:
    compared = explainer(MODEL, composite="epsilon")
    first, second = lrp_onnx.similarity(compared, X, OTHER[:1])
    for k in range(3):
        one, other = lrp_onnx.similarity(compared, X[k : k + 1], OTHER[:1])
        assert_close(first.relevance["x"][k : k + 1], one.relevance["x"])
        assert_close(second.relevance["x"][k : k + 1], other.relevance["x"])


def test_the_other_is_an_input_of_the_graph() -> None:
    compiled = lrp_onnx.compile(MODEL, target="similarity")
    assert [v.name for v in compiled.graph.graph.inputs] == ["x", "y_other"]
    e = run(MODEL, {"x": OTHER})["y"]
    found = Explainer(compiled)(X, e).relevance["x"]
    assert_close(found, lrp_onnx.similarity(Explainer(compiled), X, OTHER)[0].relevance["x"])
    assert_close(found, Explainer(compiled)(X, 7 * e).relevance["x"])  # lengths do not count


def test_an_embedding_of_zeros_is_like_nothing() -> None:
    found = explainer(MODEL)(np.zeros((1, 4), np.float32), np.ones((1, 5), np.float32))
    assert not found.relevance["x"].any()


def test_several_outputs() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", 1, [batch, 6]))
    first, _ = lrp_onnx.similarity(explainer(model, composite="epsilon", output=["y", "r"]),
                                   X, OTHER)  # fmt: skip
    assert_close(first.relevance["y_x"].sum(1), cosine(MODEL, X, OTHER), 1e-4)
    r, o = (run(model, {"x": x})["r"].astype(float) for x in (X, OTHER))
    assert_close(first.relevance["r_x"].sum(1), cosines(r, o), 1e-4)


def test_verify_and_token_ids() -> None:
    assert verify(MODEL, CompileOptions(target="similarity")).problems == ()
    ids = np.array([[3, 1, 4, 1, 5, 9]])
    compared = explainer(text_net(), composite="epsilon")
    first, second = lrp_onnx.similarity(compared, ids, ids[:, ::-1].copy())
    assert_close(first.relevance["ids"].sum(), np.float32(1.0), 1e-4)  # the same words
    assert_close(second.relevance["ids"].sum(), np.float32(1.0), 1e-4)


@pytest.mark.parametrize(
    ("model", "request_", "fact"),
    [
        (SOFTMAX, {}, "ends in a softmax or sigmoid, and is no embedding"),
        (MODEL, {"start": "one"}, "not at one. Leave --start out"),
        (MODEL, {"method": "integrated-gradients"}, "linear in the output, and the cosine is not"),
        (MODEL, {"method": "smooth-grad"}, "linear in the output, and the cosine is not"),
        (MODEL, {"reference": 1.0}, "Leave --target out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_refuses(model: onnx.ModelProto, request_: dict[str, Any], fact: str) -> None:
    with pytest.raises(LrpError, match=fact):
        lrp_onnx.compile(model, target="similarity", **request_)


def test_another_target_has_no_similarity() -> None:
    with pytest.raises(InputError, match="compiled for target 'argmax'"):
        lrp_onnx.similarity(Explainer(lrp_onnx.compile(MODEL)), X, OTHER)


@pytest.mark.parametrize("ending", ["png", "html", "npz"])
@pytest.mark.parametrize("method", ["lrp", "gradient"])
def test_explain(
    ending: str, method: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(picture_net(), "model.onnx")
    for name in "ab":
        rng = np.random.default_rng(ord(name))
        np.save(f"{name}.npy", rng.standard_normal((1, 1, 8, 8)).astype(np.float32))
    for target in ("b.npy", "similarity=b.npy"):
        outcome = run_command(capsys, "explain", "model.onnx", "a.npy", "--target", target,
                              "--method", method, "-o", f"why.{ending}")  # fmt: skip
        assert (outcome.status, outcome.err) == (0, "")
        e = [run(picture_net(), {"image": np.load(f"{n}.npy")})["logits"] for n in "ab"]
        said = f"cosine {cosines(*e)[0]:.4g} with"
        assert f"{said} b.npy" in outcome.out
        assert f"{said} a.npy" in outcome.out
        files = sorted(file.name for file in Path().glob("why*"))
        assert files == [f"why.first.{ending}", f"why.second.{ending}"]


def test_a_folder_has_no_other(tmp_path: Path, capsys: Any) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((1, 1, 8, 8), np.float32))
    outcome = run_command(capsys, "explain", tmp_path / "model.onnx", tmp_path / "in", "-o",
                          tmp_path / "out", f"--target={tmp_path / 'in' / 'a.npy'}")  # fmt: skip
    assert outcome.status == 2
    assert "its value is for one file, and a folder is given" in outcome.err


def test_a_file_holds_all_inputs_of_a_model(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(pair_net(), "model.onnx")
    np.savez("a.npz", **PAIR)
    np.savez("b.npz", **{name: values[::-1] for name, values in PAIR.items()})
    asked = ["model.onnx", "ids=a.npz", "f=a.npz", "--target=b.npz", "--explain=ids", "-o", "w.npz"]
    outcome = run_command(capsys, "explain", *asked, "--output=a")
    assert outcome.status == 0, outcome.err
    assert Path("w.second.npz").exists()
    outcome = run_command(capsys, "explain", *asked, "--output=a", "--output=b")
    assert outcome.status == 2
    assert "explain compares one embedding" in outcome.err
