"""`--target top-K`: one forward pass, and for each of the K largest classes what it gives alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx import TargetError
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

CONVOLUTIONS = network(
    "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) "
    "p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) "
    "d = Conv<strides=[2,2]>(p, v) f = Flatten(d) z = Gemm<transB=1>(f, u) y = Softmax(z)",
    (2, 3, 8, 8), w=(4, 3, 3, 3), b=(4,), v=(6, 4, 2, 2), u=(5, 24),
)  # fmt: skip
MAP = network("y = Conv<pads=[1,1,1,1]>(x, w)", (2, 3, 4, 4), w=(4, 3, 3, 3))
TOKENS = network(
    "q = MatMul(x, w) k = MatMul(x, v) t = Transpose<perm=[0,2,1]>(k) s = MatMul(q, t) "
    "a = Softmax<axis=-1>(s) m = MatMul(a, x) y = MatMul(m, u)",
    (2, 4, 3), w=(3, 3), v=(3, 3), u=(3, 6),
)  # fmt: skip
BRANCHES = network(
    "m = ReduceMean(x) zero = Constant<value_float=0.0>() c = Greater(m, zero) r = If(c) "
    "<then_branch = a () => (float[axis0_2,3] p) { p = MatMul(x, w) }, "
    "else_branch = b () => (float[axis0_2,3] q) { q = Mul(x, x) }> y = MatMul(r, v)",
    (2, 3), w=(3, 3), v=(3, 4),
)  # fmt: skip
SHAPES = {
    "convolutions": (2, 3, 8, 8),
    "map": (2, 3, 4, 4),
    "tokens": (2, 4, 3),
    "branches": (2, 3),
}
LOGIT = {"start": "logit"}  # of a seed `auto` takes that, of classes it takes contrast
CASES = {
    "epsilon-plus-flat": (
        CONVOLUTIONS,
        "convolutions",
        {"composite": "epsilon-plus-flat", **LOGIT},
    ),
    "alpha2-beta1": (CONVOLUTIONS, "convolutions", {"composite": "alpha2-beta1", **LOGIT}),
    "start-one": (CONVOLUTIONS, "convolutions", {"start": "one"}),
    "inside": (CONVOLUTIONS, "convolutions", {"relevance_at": ("r",), **LOGIT}),
    "gradient": (CONVOLUTIONS, "convolutions", {"method": "input-x-gradient"}),
    "map": (MAP, "map", {"composite": "epsilon"}),
    "tokens": (TOKENS, "tokens", {"composite": "attnlrp"}),
    "tokens-axis-1": (TOKENS, "tokens", {"composite": "attnlrp", "class_axis": 1}),
    "branches": (BRANCHES, "branches", {"composite": "epsilon"}),
}
K = 3


def drawn(name):
    return {"x": np.random.default_rng(5).standard_normal(SHAPES[name]).astype(np.float32)}


@pytest.mark.parametrize(("model", "name", "request_"), CASES.values(), ids=CASES)
def test_each_is_what_its_class_compiled_alone_gives(model, name, request_):
    feeds = drawn(name)
    several = lrp_onnx.compile(model, target=f"top-{K}", **request_).model
    onnx.checker.check_model(several, full_check=True)
    found = run(several, feeds)
    y, classes = found["y"], found["y_topk_index"]
    axis = request_.get("class_axis", 1 if y.ndim != 3 else 2)
    expected = np.argsort(-y, axis=axis, kind="stable").take(range(K), axis)
    np.testing.assert_array_equal(classes, expected)
    alone = lrp_onnx.compile(model, target="seed", **request_).model
    for place in range(K):
        mask = np.zeros_like(y)
        np.put_along_axis(mask, classes.take([place], axis), 1, axis)
        single = run(alone, {**feeds, "y_seed": mask})
        for tensor in ("x", *request_.get("relevance_at", ())):
            r = found[f"{tensor}_relevance"]
            assert r.shape[:2] == (2, K)
            assert_close(r[:, place], single[f"{tensor}_relevance"])


def test_what_does_not_depend_on_relevance_is_computed_once():
    def convolutions(target):
        compiled = lrp_onnx.compile(CONVOLUTIONS, "epsilon-plus-flat", target=target, check=False)
        kinds = [node.op_type for node in compiled.model.graph.node]
        return kinds.count("Conv") + kinds.count("ConvTranspose")

    forward, one, four = 2, convolutions("top-1"), convolutions("top-4")
    backward = (four - one) / 3
    assert 0 < backward < one - forward


def test_an_axis_of_one_class_has_length_one():
    model = network("y = ReduceMean<keepdims=0>(x, a)", (2, 3), a=[1])
    found = run(
        lrp_onnx.compile(model, target="top-1").model, {"x": np.eye(2, 3, dtype=np.float32)}
    )
    assert found["x_relevance"].shape == (2, 1, 3)
    np.testing.assert_array_equal(found["y_topk_index"], [[0], [0]])


def test_a_condition_masks_every_class():
    compiled = lrp_onnx.compile(CONVOLUTIONS, target="top-2", conditions="r")
    explainer = lrp_onnx.Explainer(compiled)
    x = drawn("convolutions")
    whole = explainer(x).relevance["x"]
    parts = sum(explainer(x, conditions={"r": k}).relevance["x"] for k in range(4))
    assert_close(parts, whole)


def test_the_explainer_hands_the_classes_back_beside_the_outputs():
    explainer = lrp_onnx.Explainer(lrp_onnx.compile(CONVOLUTIONS, target="top-2"))
    result = explainer(drawn("convolutions"))
    assert list(result.outputs) == ["y", "y_topk_index"]
    assert {name: r.shape for name, r in result.relevance.items()} == {"x": (2, 2, 3, 8, 8)}


def test_verify_adds_up_the_accounts_of_all_classes():
    verdict = verify(CONVOLUTIONS, CompileOptions(target="top-3"))
    one = verify(CONVOLUTIONS, CompileOptions(target="argmax"))
    assert not verdict.problems
    assert [line.name for line in verdict.lines] == [line.name for line in one.lines]
    feeds = drawn("convolutions")
    verdict = verify(CONVOLUTIONS, CompileOptions(target="top-3"), feeds)
    z = lrp_onnx.compile(CONVOLUTIONS, target="top-3", relevance_at="y").model
    assert verdict.explained == pytest.approx(float(run(z, feeds)["y_relevance"].sum()), rel=1e-5)


def test_verify_adds_up_what_happens_in_bodies():
    feeds = drawn("branches")
    several, one = (
        verify(BRANCHES, CompileOptions("epsilon", target=t), feeds) for t in ("top-2", "all")
    )
    assert not several.problems
    assert [line.name for line in several.lines] == [line.name for line in one.lines]


def test_integrated_gradients_explain_one_class():
    with pytest.raises(TargetError, match="one class at a time"):
        lrp_onnx.compile(CONVOLUTIONS, method="integrated-gradients", target="top-2")


def test_explain_shows_a_picture_for_each_class(tmp_path, capsys):
    onnx.save(picture_net(), tmp_path / "model.onnx")
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    common = [tmp_path / "model.onnx", tmp_path / "x.npy", "--target", "top-2"]
    page, arrays = tmp_path / "why.html", tmp_path / "why.npz"
    shown = run_command(capsys, "explain", *common, "-o", page)
    assert shown.status == 0, shown.err
    assert shown.out.count("predicted") == 4
    # of each sample the input once, and overlay and heatmap of each class
    assert page.read_text().count("<img") == 2 * (1 + 2 * 2)
    y = run(picture_net(), {"image": x})["logits"]
    second = np.argsort(-y)[:, 1]
    assert f"explained: class {second[0]}" in shown.out
    assert [row in shown.out for row in ("sample 0, rank 1", "sample 1, rank 2")] == [True, True]
    run_command(capsys, "explain", *common, "-o", arrays)
    with np.load(arrays) as found:
        assert found["image_relevance"].shape == (2, 2, 1, 8, 8)
        np.testing.assert_array_equal(found["logits_topk_index"], np.argsort(-y)[:, :2])
