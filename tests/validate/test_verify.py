"""`verify` closes its accounts on right graphs, and fails on wrong ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from commands import picture_net, text_net
from models import network

from lrp_onnx import CheckError, InputError, UnsupportedError
from lrp_onnx.compiler import check
from lrp_onnx.compiler import stages as compiler
from lrp_onnx.compiler.check import check_compiled
from lrp_onnx.compiler.differences import relative_difference
from lrp_onnx.compiler.stages import run_stages
from lrp_onnx.data.samples import random_feeds
from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.arrays import Wanted
from lrp_onnx.graph.limits import Budget, OverBudget
from lrp_onnx.ops.registry import REGISTRY
from lrp_onnx.options import CompileOptions
from lrp_onnx.rewrites.product import Relevance
from lrp_onnx.rewrites.rewrite import LINEAR
from lrp_onnx.validate import bench
from lrp_onnx.validate.verdict import CLOSES, Line
from lrp_onnx.validate.verify import verify

COMPOSITES = [
    "epsilon-plus-flat",
    "epsilon",
    "zplus",
    "gamma",
    "alpha2-beta1",
    "wsquare",
    "flat",
    "deep-taylor",
    "guided-backprop",
]


def residual_net(dtype: type = np.float32) -> onnx.ModelProto:
    """Two branches that fan out from one Relu and meet again in a sum."""
    body = """z = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, w, b)
              h = Relu(z) p = Conv<kernel_shape=[1, 1]>(h, u, c) s = Add(h, p) r = Relu(s)
              f = Flatten(r) y = Gemm(f, v, d)"""
    shapes = {"w": (4, 2, 3, 3), "b": (4,), "u": (4, 4, 1, 1), "c": (4,), "v": (100, 3), "d": (3,)}
    return network(body, (2, 2, 5, 5), **shapes)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_holds_on_a_residual_net(composite: str) -> None:
    verdict = verify(residual_net(), CompileOptions(composite=composite))
    assert verdict.problems == ()
    assert len(verdict.lines) == 7
    assert all(line.finite for line in verdict.lines)


def attention_net() -> onnx.ModelProto:
    """One head of attention over three tokens, its scores scaled, behind a LayerNorm."""
    body = """n = LayerNormalization(x, g, b) q = MatMul(n, wq) k = MatMul(n, wk) v = MatMul(n, wv)
              t = Transpose<perm=[0, 2, 1]>(k) s = MatMul(q, t) p = Softmax(s) m = MatMul(p, v)
              a = Add(x, m) f = Flatten(a) y = Gemm(f, u, c)"""
    shapes = {
        "g": (4,),
        "b": (4,),
        "wq": (4, 4),
        "wk": (4, 4),
        "wv": (4, 4),
        "u": (12, 3),
        "c": (3,),
    }
    return network(body, (2, 3, 4), **shapes)


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp", "epsilon-plus-flat"])
def test_holds_on_attention(composite: str) -> None:
    verdict = verify(attention_net(), CompileOptions(composite=composite))
    assert verdict.problems == ()
    assert all(line.finite for line in verdict.lines)


def test_holds_on_token_ids() -> None:
    assert verify(text_net(), CompileOptions(composite="epsilon")).problems == ()


def test_the_first_line_starts_with_the_explained_value() -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    verdict = verify(picture_net(), CompileOptions(target=2), {"image": x})
    feeds, y = {"image": x}, compiler.run_stages(picture_net(), CompileOptions(target=2))
    expected = check.judge(y.model.SerializeToString()).run(feeds)["logits"][0, 2]
    assert verdict.explained == pytest.approx(float(expected), rel=1e-5)
    assert verdict.lines[0].name == "fc"


Vjp = Callable[..., ir.Value]


def _scaled(vjp: Vjp, factor: float) -> Vjp:
    def wrong(emit: Any, node: ir.Node, *given: Any) -> ir.Value:
        return emit.op("Mul", vjp(emit, node, *given), factor)

    return wrong


def _only_positive(vjp: Vjp, factor: float) -> Vjp:
    def wrong(emit: Any, node: ir.Node, *given: Any) -> ir.Value:
        return emit.op("Relu", vjp(emit, node, *given))

    return wrong


@pytest.mark.parametrize("change", [_scaled, _only_positive])
@pytest.mark.parametrize("operator", ["Conv", "Gemm", "Flatten"])
def test_a_wrong_vjp_fails(
    operator: str, change: Callable[[Vjp, float], Vjp], monkeypatch: pytest.MonkeyPatch
) -> None:
    op = REGISTRY["", operator]
    assert op.vjp is not None
    wrong = dataclasses.replace(op, vjp=change(op.vjp, 1.01))
    monkeypatch.setitem(REGISTRY, ("", operator), wrong)
    verdict = verify(residual_net(), CompileOptions(composite="epsilon"))
    named = [problem for problem in verdict.problems if f"({operator})" in problem]
    assert named
    assert "account is off" in named[0]


def test_a_forgotten_branch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from lrp_onnx.propagation import backward_pass as backward

    def first_only(emit: Any, pending: Any, value: ir.Value, masks: Any) -> ir.Value | None:
        return pending[value][0] if value in pending else None

    monkeypatch.setattr(backward, "_total", first_only)
    problems = verify(residual_net(), CompileOptions(composite="epsilon")).problems
    assert any("lost between nodes" in problem for problem in problems)


def test_a_changed_forward_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: ir.Model) -> None:
        weight = model.graph.initializers["w"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.01))

    monkeypatch.setattr(compiler, "canonize", wrong)
    monkeypatch.setattr(Prediction, "put_back", lambda *_: None)
    assert "differs from the original" in verify(residual_net(), CompileOptions()).problems[0]
    with pytest.raises(CheckError, match="'y'"):
        run_stages(residual_net(), CompileOptions())


def _line(**sums: float) -> Line:
    zero = dict.fromkeys(("out", "magnitude", "received", "bias", "stabilizer", "dropped"), 0.0)
    return Line("n", "Conv", "epsilon", **{**zero, **sums}, conserves=True)


def test_a_line_closes_within_a_ten_thousandth_of_its_magnitude() -> None:
    assert _line(out=1, magnitude=2, received=1 - 1.9 * CLOSES).closes
    assert not _line(out=1, magnitude=2, received=1 - 2.1 * CLOSES).closes
    assert not _line(out=1, magnitude=2, received=1.01).closes
    assert _line(out=1, magnitude=2, received=0.5, bias=0.25, dropped=0.25).closes
    assert not _line(out=float("nan"), magnitude=2).closes
    assert _line().closes


def test_alpha_beta_reports_its_leak() -> None:
    """A neuron without negative contributions passes on alpha times its relevance."""
    model = network("y = Gemm(x, w)", (1, 3), w=np.float32([[1], [2], [3]]))
    feeds = {"x": np.float32([[1, 2, 3]])}
    request = CompileOptions(composite="alpha2-beta1", target="all")
    verdict = verify(model, request, feeds)
    assert verdict.problems == ()
    assert verdict.explained == pytest.approx(14)
    assert verdict.relevance["x"] == pytest.approx(28, rel=1e-4)
    assert verdict.lines[0].dropped == pytest.approx(-14, rel=1e-4)


def test_nan_and_infinity_must_stay_where_they_were() -> None:
    y = np.float32([1, np.nan, np.inf])
    assert relative_difference(y, y) == (0.0, 1e-5)
    assert relative_difference(np.float32([1, 2, np.inf]), y)[0] == np.inf
    assert relative_difference(np.float32([1.01, np.nan, np.inf]), y)[0] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("a", "b", "holds"),
    [
        (np.float32([1, 2]), np.float32([1, 2]) * np.float32(1 + 4e-6), True),
        (np.float32([1, 2]), np.float32([1.01, 2.02]), False),
        (np.float16([1, 2]), np.float16([1, 2.001]), True),
        (np.float16([1, 2]), np.float16([1.01, 2.02]), False),
        (np.array([1, 2]), np.array([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.float32([1, 2]), np.float32([[1, 2]]), False),
        (np.float32([1, 2]), np.float64([1, 2]), False),
    ],
)
def test_relative_difference(a: np.ndarray, b: np.ndarray, holds: bool) -> None:
    difference, allowed = relative_difference(a, b)
    assert (difference <= allowed) == holds


def test_a_double_convolution_is_judged_in_single_precision() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (double[N,1,4,4] x) => (double[N,1,3,3] y)
        <double[1,1,2,2] w = {1, -2, 3, 0.5}> { y = Conv(x, w) }"""
    )
    request = CompileOptions(composite="epsilon", target="all")
    assert verify(model, request).problems == ()
    assert (
        check_compiled(
            model, run_stages(model, CompileOptions(composite="epsilon", target="all", check=False))
        )
        == ()
    )


def test_an_input_nobody_can_make_up_is_a_warning() -> None:
    body = "s = Gather(table, i) y = Mul(x, s)"
    model = network(body, (1, 3), table=np.float32([[1, 2, 3]]), i=[0])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    model.graph.node[0].input[1] = "index"
    model.graph.input.append(onnx.helper.make_tensor_value_info("index", 7, [1]))
    table = next(t for t in model.graph.initializer if t.name == "table")
    table.CopyFrom(onnx.numpy_helper.from_array(np.zeros((0, 3), np.float32), "table"))
    request = CompileOptions(composite="epsilon", explain=["x"])
    compiled = run_stages(model, request)
    assert any("verify MODEL INPUT" in warning for warning in compiled.warnings)
    with pytest.raises(InputError, match=r"NAME=FILE\.npy"):
        verify(model, request)


def test_open_sizes_are_guessed_alike_for_the_same_name() -> None:
    inputs = [
        Wanted("a", np.dtype(np.float32), ("N", 3, "H", "W")),
        Wanted("b", np.dtype(np.int64), ("N", "L")),
        Wanted("c", np.dtype(bool), (5, "L")),
    ]
    tried = list(random_feeds(inputs))
    assert len({tuple(v.shape for v in feeds.values()) for feeds in tried}) > 4
    for feeds in tried:
        assert feeds["a"].shape[0] == feeds["b"].shape[0]
        assert feeds["b"].shape[1] == feeds["c"].shape[1]
    again = next(random_feeds(inputs))
    assert all(np.array_equal(tried[0][name], again[name]) for name in again)


def test_a_model_that_the_runtimes_settings_change_is_told() -> None:
    """A large mean is taken off in float32: of what is left, roundings decide much."""
    ones = np.ones(4, np.float32)
    body = "c = Conv(x, w, b) n = BatchNormalization(c, g, g, m, g) y = Relu(n)"
    for mean, told in ((3e6, True), (3.0, False)):
        mean_of = np.full(4, mean, np.float32)
        model = network(body, (1, 4, 6, 6), w=(4, 4, 3, 3), b=mean_of, g=ones, m=mean_of)
        warnings = verify(model, CompileOptions(target="all")).warnings
        assert any("by whether ONNX Runtime optimizes it" in text for text in warnings) is told


@pytest.mark.usefixtures("memory_unmeasured")
def test_bench_measures_both() -> None:
    model = picture_net()
    costs = bench.bench(model, run_stages(model, CompileOptions(check=False)), runs=4)
    assert costs.runs == 4
    assert 0 < costs.forward.quartiles[0] <= costs.forward.median <= costs.forward.quartiles[1]
    assert costs.ratio == costs.explanation.median / costs.forward.median
    assert costs.shapes == {"image": (1, 1, 8, 8)}


def test_the_simplified_graph_is_compared_with_the_rules_as_they_stand():
    model = residual_net()
    found = verify(model, CompileOptions(composite="epsilon-plus")).simplified
    assert found is not None
    assert 0 <= max(found.values()) < 1e-5
    plain = CompileOptions(composite="epsilon-plus", optimize=False)
    assert verify(model, plain).simplified is None


def test_a_simplification_that_changes_relevance_is_told(monkeypatch):
    def doubled(rewrite):
        def wrong(linear):
            right = rewrite(linear)
            pairs = {i: (linear.emit.op("Mul", r.coefficient, 2.0), r) for i, r in right.items()}
            return {i: Relevance(twice, r.factor) for i, (twice, r) in pairs.items()}

        return wrong

    for name, rewrite in LINEAR.items():
        monkeypatch.setitem(LINEAR, name, doubled(rewrite))
    verdict = verify(residual_net(), CompileOptions(composite="epsilon-plus"))
    assert any("differs from the rules as they stand" in text for text in verdict.problems)
    assert any("--no-optimize" in text for text in verdict.problems)
    wrong = [line for line in verdict.lines if not line.closes]
    assert wrong, "the accounts are of the graph that ships"
    assert all(line.residual == pytest.approx(-line.received / 2, rel=1e-3) for line in wrong)


def test_what_cannot_be_explained_is_told_and_not_accounted_for():
    model = network("r = Conv<pads=[1,1,1,1]>(x, w) y = Relu(r)", (1, 3, 8, 8), w=(6, 3, 3, 3))
    del model.graph.node[0].attribute[0].ints[2:]
    with pytest.raises(UnsupportedError, match="2 pads for 2 axes"):
        verify(model, CompileOptions(composite="epsilon-plus"))


def test_a_score_that_is_masked_by_infinity_is_accounted_for():
    model = network(
        "h = MatMul(x, w) m = Add(h, b) y = Tanh(m)",
        (2, 3), w=(3, 4), b=np.array([0, -np.inf, 0, 0], np.float32),
    )  # fmt: skip
    verdict = verify(model, CompileOptions(composite="epsilon", target="all"))
    assert np.isfinite([line.bias for line in verdict.lines]).all()
    assert not verdict.problems


def test_a_model_that_does_not_run_is_refused_in_the_words_of_a_compilation() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[1,4,4,4] x) => (float[1,4,4,4] y)
        <float[4,4,1,1] w = {1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4}> { y = Conv<group=3>(x, w) }"""
    )
    with pytest.raises(ModelError, match="the model does not run: ONNX Runtime cannot run"):
        verify(model, CompileOptions(target="max"))


def test_a_large_account_runs_under_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same verdict; what takes too long is an error that says so."""
    usual = verify(residual_net(), CompileOptions())
    monkeypatch.setattr("lrp_onnx.validate.verify.MOST_NODES", 0)
    limited = verify(residual_net(), CompileOptions())
    assert (limited.problems, limited.differences) == (usual.problems, usual.differences)
    np.testing.assert_equal(limited.parts[0].maps, usual.parts[0].maps)
    short = Budget(1e-3, 4 * 10**9, 10)
    monkeypatch.setattr("lrp_onnx.validate.verify.budget_of", lambda model: short)
    with pytest.raises(OverBudget, match="larger --budget"):
        verify(residual_net(), CompileOptions())
