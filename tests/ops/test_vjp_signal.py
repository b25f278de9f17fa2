"""The checks of test_vjp for the rows of `tables_signal`, and what is particular to them."""

from __future__ import annotations

import numpy as np
import pytest
import reference_signal  # noqa: F401 (adds forwards)
from models import Case, assert_close, run
from onnx import TensorProto, helper, numpy_helper
from reference import Network
from tables_signal import ROWS
from test_vjp import check_jacobian

import lrp_onnx

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    check_jacobian(case)


CONSERVING = [row for row in ROWS if "b" not in row.inputs and row.op != "ReduceLogSumExp"]


@pytest.mark.parametrize("case", CONSERVING, ids=str)
def test_relevance_is_conserved(case: Case) -> None:
    """Without a bias what arrives is shared out whole; the grids and masks take none of it."""
    compiled = lrp_onnx.compile(case.model(), composite="epsilon", target="seed", check=False)
    forward = Network(case.model()).forward(case.feeds())["y"]
    seed = np.random.default_rng(0).standard_normal(forward.shape).astype(np.float32)
    outputs = run(compiled.model, {**case.feeds(), "y_seed": seed})
    assert np.isfinite(outputs["x_relevance"]).all()
    total = sum(outputs[name].sum() for name in outputs if name.endswith("_relevance"))
    assert abs(total - (seed * forward).sum()) <= 2e-5 * np.abs(seed * forward).sum()


@pytest.mark.parametrize("axis", [0, 1, 2, -2, -3])
@pytest.mark.parametrize("kinds", [{}, {"onesided": 1}, {"inverse": 1}], ids=str)
@pytest.mark.parametrize("length", [None, 5], ids=str)
def test_transform_along_an_axis_computed_at_run_time(
    axis: int, kinds: dict[str, int], length: int | None
) -> None:
    """It gives what a constant axis gives."""
    row = Case("DFT", kinds, x=(2, 4, 3, 1), length=length, axis=axis, opset=20)
    known, computed = row.model(), row.model()
    (given,) = [t for t in computed.graph.initializer if t.name == "axis"]
    computed.graph.initializer.remove(given)
    computed.graph.input.append(helper.make_tensor_value_info("axis", INT64, []))
    sizes = [f"d{k}" for k in range(4)]
    computed.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, sizes))
    results = []
    for model in (known, computed):
        compiled = lrp_onnx.compile(model, "gradient", target="seed", start="one", check=False)
        feeds = {**row.feeds(), "axis": np.array(axis)}
        y = run(known, row.feeds())["y"]
        feeds["y_seed"] = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        wanted = {v.name for v in compiled.model.graph.input}
        results.append(run(compiled.model, {k: v for k, v in feeds.items() if k in wanted}))
    for name in ("y", "x_relevance"):
        assert_close(results[1][name], results[0][name], what=name)


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2)], ids=len)
def test_zeros_among_the_factors_of_a_product(zeros: tuple[int, ...]) -> None:
    row = Case("ReduceProd", x=(2, 3), axes=[1])
    x = np.array([[2.0, -3.0, 5.0], [1.0, 4.0, 0.5]], np.float32)
    x[0, list(zeros)] = 0
    compiled = lrp_onnx.compile(row.model(), "gradient", target="seed", start="one", check=False)
    feeds = {"x": x, "y_seed": np.ones((2, 1), np.float32)}
    others = [[np.delete(line, k).prod() for k in range(3)] for line in x.astype(float)]
    assert_close(run(compiled.model, feeds)["x_relevance"], np.array(others))


REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
              "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd"]  # fmt: skip


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_axes_computed_at_run_time(op: str, keepdims: int) -> None:
    """An input of axes gives what constant ones give; ties are in the data."""
    x = np.random.default_rng(1).integers(1, 4, (2, 3, 4)).astype(np.float32)
    node = helper.make_node(op, ["x", "axes"], ["y"], op, keepdims=keepdims)
    inputs = {"x": (FLOAT, (2, "n", 4)), "axes": (INT64, (2,))}
    open_shape = [None] * (3 if keepdims else 1)
    model = helper.make_model(
        helper.make_graph(
            [node], "g",
            [helper.make_tensor_value_info(k, t, s) for k, (t, s) in inputs.items()],
            [helper.make_tensor_value_info("y", FLOAT, open_shape)],
        ),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    constant = Case(op, {"keepdims": keepdims}, x=(2, 3, 4), axes=[2, -3])
    y = Network(constant.model()).forward({"x": x})["y"]
    seed = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    feeds = {"x": x, "y_seed": seed}
    found = []
    for source, given in ((model, {"axes": np.array([2, -3])}), (constant.model(), {})):
        compiled = lrp_onnx.compile(source, "gradient", explain="x", target="seed", start="one",
                                    check=False)  # fmt: skip
        found.append(run(compiled.model, {**feeds, **given})["x_relevance"])
    assert_close(*found)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("sizes", [(2, 12), ("N", "L")], ids=["sized", "open"])
def test_a_real_signal_without_an_axis_for_its_part(
    sizes: tuple[int | str, ...], onesided: int
) -> None:
    """Exporters of opset 17 leave it out, and runtimes take that: it is as with the axis."""
    x = np.random.default_rng(4).standard_normal((2, 12)).astype(np.float32)
    constants = {"two": np.array([2]), "three": np.array([3]), "step": np.array(3),
                 "window": np.float32([0.2, 1, 0.8, 0.3])}  # fmt: skip
    results = []
    for signal in ("x", "u"):
        nodes = [
            helper.make_node("Unsqueeze", ["x", "two"], ["u"], "unsqueeze"),
            helper.make_node("STFT", [signal, "step", "window"], ["s"], "stft", onesided=onesided),
            helper.make_node("Mul", ["s", "s"], ["p"], "power"),
            helper.make_node("ReduceSum", ["p", "three"], ["y"], "sum", keepdims=0),
        ]
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", FLOAT, sizes)],
            [helper.make_tensor_value_info("y", FLOAT, [None] * 3)],
            [numpy_helper.from_array(v, k) for k, v in constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        compiled = lrp_onnx.compile(model, method="gradient", target="all")
        results.append(run(compiled.model, {"x": x}))
    for name in ("y", "x_relevance"):
        assert_close(results[0][name], results[1][name], what=name)
