"""Winners on ties, pools, parts that get none, and ids.

The forward of these rows is linear in x or picks one winner, so that the expected relevance under
the composite `gradient` is exact: the runtime's own Jacobian, or a search by loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from models import Case, assert_close, model_of, run, session
from onnx import TensorProto, helper, numpy_helper

import lrp_onnx
from lrp_onnx.errors import ModelError, UnsupportedError

Array = np.ndarray


def explained(model: onnx.ModelProto, feeds: Mapping[str, Array], seed: Array) -> dict[str, Array]:
    """Vector-Jacobian product of `seed` by the compiled model, which the checker accepts."""
    compiled = lrp_onnx.compile(
        model, composite="gradient", explain=["x"], target="seed", start="one", check=False
    )
    onnx.checker.check_model(compiled.model, full_check=True)
    return run(compiled.model, {**feeds, "y_seed": seed})


def seed_of(shape: Sequence[int]) -> Array:
    """Whole numbers, so that sums of them are exact."""
    return np.random.default_rng(1).integers(-8, 9, tuple(shape)).astype(np.float32)


def first_winner(x: Array, s: Array, attributes: Mapping[str, list[int]]) -> Array:
    """Each window's s at its first maximum in row-major order; padding does not take part, and
    a window of nothing else gives its s to nobody.
    """
    n = x.ndim - 2
    kernel = attributes["kernel_shape"]
    stride, dilation = (attributes.get(k, [1] * n) for k in ("strides", "dilations"))
    begin = attributes.get("pads", [0] * 2 * n)[:n]
    c = np.zeros_like(x)
    for place in np.ndindex(s.shape):
        first = np.multiply(place[2:], stride) - begin
        window = [tuple(first + np.multiply(k, dilation)) for k in np.ndindex(*kernel)]
        inside = [
            place[:2] + p for p in window if min(p) >= 0 and (p < np.array(x.shape[2:])).all()
        ]
        if inside:
            c[inside[int(np.argmax([x[p] for p in inside]))]] += s[place]
    return c


WINDOWS = [
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, x=(1, 2, 6, 6)),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
         x=(1, 2, 6, 7)),
    Case("MaxPool", {"kernel_shape": [3, 5], "strides": [2, 2], "pads": [1, 2, 1, 2]},
         x=(1, 2, 1, 2)),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, x=(1, 1, 6, 6)),
    Case("MaxPool", {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1]}, x=(2, 1, 5, 4)),
    Case("MaxPool", {"kernel_shape": [2, 3], "strides": [3, 1], "dilations": [2, 2]},
         x=(1, 1, 8, 7)),
    Case("MaxPool", {"kernel_shape": [2], "strides": [3], "dilations": [2]}, x=(1, 1, 9)),
    Case("MaxPool", {"kernel_shape": [1, 1], "strides": [2, 2]}, x=(1, 1, 5, 4)),
    Case("MaxPool", {"kernel_shape": [2, 2], "dilations": [3, 1], "pads": [1, 0, 1, 1]},
         x=(2, 1, 2, 3)),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [1, 2], "dilations": [1, 3],
                     "pads": [0, 1, 0, 1]}, x=(2, 1, 3, 2)),
    Case("MaxPool", {"kernel_shape": [2, 2, 2], "strides": [1, 2, 1]}, x=(1, 1, 3, 4, 3)),
]  # fmt: skip

TIES = {
    "few values": lambda rng, shape: rng.integers(-1, 2, shape),
    "zeros behind Relu": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0),
    "all equal": lambda rng, shape: np.full(shape, -3.0),
    "mostly masked": lambda rng, shape: np.where(rng.random(shape) < 0.1, -1e4, -1e30),
    "masked by the lowest": lambda rng, shape: np.where(
        rng.random(shape) < 0.1, -1e4, np.finfo(np.float32).min
    ),
}


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("case", [*WINDOWS, *[row.unknown() for row in WINDOWS]], ids=str)
def test_maximum_goes_to_the_first_winner(case: Case, ties: str) -> None:
    x = TIES[ties](np.random.default_rng(0), case.activations["x"]).astype(np.float32)
    y = run(case.model(), {"x": x})["y"]
    s = seed_of(y.shape)
    found = explained(case.model(), {"x": x}, s)["x_relevance"]
    np.testing.assert_array_equal(found, first_winner(x, s, case.attributes))


@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_windows_of_known_sizes_are_read_without_a_slice_with_steps(kernel: int) -> None:
    pads = [kernel // 2 if kernel % 2 else 0] * 4
    attributes = {"kernel_shape": [kernel] * 2, "strides": [2, 2], "pads": pads}
    model = Case("MaxPool", attributes, x=(1, 2, 8, 8)).model()
    compiled = lrp_onnx.compile(model, composite="gradient", check=False).model
    slices = [len(node.input) for node in compiled.graph.node if node.op_type == "Slice"]
    assert all(inputs < 5 for inputs in slices)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "GlobalMaxPool"])
@pytest.mark.parametrize("ties", ["few values", "all equal"])
def test_reduction_goes_to_the_first_winner(op: str, ties: str) -> None:
    axes = {} if op == "GlobalMaxPool" else {"axes": [-1, 2]}
    case = Case(op, x=(2, 3, 4, 5), **axes)
    x = TIES[ties](np.random.default_rng(0), (2, 3, 4, 5)).astype(np.float32)
    s = seed_of((2, 3, 1, 1))
    winner = (-x if op == "ReduceMin" else x).reshape(2, 3, -1).argmax(-1)
    expected = np.zeros((2, 3, 20), np.float32)
    np.put_along_axis(expected, winner[..., None], s[..., 0], -1)
    for row in (case, case.unknown()):
        found = explained(row.model(), {"x": x}, s)["x_relevance"]
        np.testing.assert_array_equal(found, expected.reshape(x.shape))


def jacobian_product(model: onnx.ModelProto, feeds: Mapping[str, Array], seed: Array) -> Array:
    """Σ seed·(f(unit) - f(0)) for each unit vector, on the runtime; f is affine in x."""
    forward = session(model)
    x = feeds["x"]
    zero = forward({**feeds, "x": np.zeros_like(x)})["y"]
    out = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        unit = np.zeros_like(x)
        unit[index] = 1
        out[index] = np.sum(seed * (forward({**feeds, "x": unit})["y"] - zero.astype(float)))
    return out


def test_split_with_outputs_that_get_none() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b", "c"], "split", axis=-1, num_outputs=3),
        helper.make_node("Neg", ["b"], ["y"], "neg"),
    ]
    for symbolic in ((), (0,), (0, 1)):
        model = model_of(nodes, {}, {"x": (2, 7)}, symbolic)
        seed = seed_of((2, 3))
        found = explained(model, {"x": np.ones((2, 7), np.float32)}, seed)["x_relevance"]
        np.testing.assert_array_equal(found, np.pad(-seed, [(0, 0), (3, 1)]))


def test_relevance_of_token_ids_is_the_sum_over_their_embedding() -> None:
    table = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["h"], "embed"),
         helper.make_node("ReduceSum", ["h", "axes"], ["y"], "sum", keepdims=0)],
        "ids",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    compiled = lrp_onnx.compile(model, composite="epsilon", target=1, check=False)
    ids = np.array([[0, 4, 4, 1], [3, 3, 2, 0]])
    outputs = run(compiled.model, {"ids": ids})
    assert_close(outputs["ids_relevance"], table[ids][..., 1], 1e-4)  # epsilon of a small sum


@pytest.mark.parametrize("opset", [18, 19, 21])
@pytest.mark.parametrize("symbolic", [(), (0, 2, 3)], ids=["static", "symbolic"])
def test_average_takes_maxpool_as_average(opset: int, symbolic: tuple[int, ...]) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1],
                  "dilations": [1, 1], "storage_order": 0}  # fmt: skip
    case = Case("MaxPool", attributes, x=(1, 2, 6, 5), symbolic=symbolic, opset=opset)
    rules = {"MaxPool": "average"}
    compiled = lrp_onnx.compile(case.model(), "gradient", rules=rules, target="all", check=False)
    x = case.feeds("positive")["x"]
    outputs = run(compiled.model, {"x": x})
    del attributes["dilations"], attributes["storage_order"]
    mean = Case("AveragePool", attributes, x=(1, 2, 6, 5))
    average = run(mean.model(), {"x": x})["y"]
    expected = x * jacobian_product(mean.model(), {"x": x}, outputs["y"] / (average + 1e-6))
    assert_close(outputs["x_relevance"], expected)


@pytest.mark.parametrize(
    ("case", "named"),
    [
        (Case("MaxPool", {"kernel_shape": [2], "dilations": [2]}, x=(1, 1, 5)), "dilations"),
        (Case("GlobalMaxPool", x=(1, 1, 5)), "kernel_shape"),
    ],
    ids=str,
)
def test_average_refuses_what_has_no_average(case: Case, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        lrp_onnx.compile(case.model(), "gradient", rules={case.op: "average"}, check=False)


def test_same_padding_that_runtimes_read_differently_is_refused() -> None:
    attributes = {"kernel_shape": [1], "strides": [3], "auto_pad": "SAME_UPPER"}
    with pytest.raises(UnsupportedError, match="auto_pad"):
        lrp_onnx.compile(
            Case("MaxPool", attributes, x=(1, 1, 6)).model(), composite="gradient", check=False
        )


# the last window would start behind the input: left out, though shape inference counts it
LEFT_OUT = [
    {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [1, 3], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 1},
]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("attributes", "symbolic"),
    [(LEFT_OUT[0], ()), (LEFT_OUT[0], (0, 3)), (LEFT_OUT[1], ())],
    ids=["both axes", "both axes, one unknown", "first axis"],
)
def test_ceil_mode_leaves_out_a_window_of_padding(
    op: str, attributes: dict[str, object], symbolic: tuple[int, ...]
) -> None:
    shape = (1, 2, 7, 9) if attributes["kernel_shape"] == [2, 2] else (1, 2, 6, 6)
    model = Case(op, attributes, x=shape, symbolic=symbolic).model()
    del model.graph.value_info[:]
    for size in model.graph.output[0].type.tensor_type.shape.dim:
        size.Clear()
    x = seed_of(shape)
    s = seed_of(run(model, {"x": x})["y"].shape)
    found = explained(model, {"x": x}, s)["x_relevance"]
    if op == "MaxPool":
        np.testing.assert_array_equal(found, first_winner(x, s, attributes))
    else:
        assert_close(found, jacobian_product(model, {"x": x}, s))


@pytest.mark.parametrize(
    ("attributes", "symbolic"),
    [
        ({**LEFT_OUT[1], "pads": [0, 1, 0, 1], "count_include_pad": 1}, ()),
        ({**LEFT_OUT[1], "dilations": [1, 2], "pads": [0, 2, 0, 2]}, ()),  # pads of a whole kernel
        (LEFT_OUT[1], (3,)),
    ],
    ids=["counts the padding", "wider than the kernel", "unknown size"],
)
def test_ceil_mode_without_another_spelling_is_refused(
    attributes: dict[str, object], symbolic: tuple[int, ...]
) -> None:
    case = Case("AveragePool", attributes, x=(1, 2, 6, 6), symbolic=symbolic, opset=19)
    model = case.model()
    with pytest.raises(ModelError, match="ceil_mode"):
        lrp_onnx.compile(model, composite="gradient", check=False)


def test_first_winner_is_not_any_winner() -> None:
    x = np.zeros((1, 1, 2), np.float32)
    attributes = {"kernel_shape": [2]}
    expected = np.array([[[1.0, 0.0]]])
    np.testing.assert_array_equal(
        first_winner(x, np.ones((1, 1, 1), np.float32), attributes), expected
    )


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_of_many_equal_inputs_a_constant_wins_else_the_first(op: str) -> None:
    rng = np.random.default_rng(0)
    x, k = (rng.integers(-1, 2, shape).astype(np.float32) for shape in ((6, 4, 5), (4, 5)))
    names = [f"x{j}" for j in range(5)]
    node = helper.make_node(op, [*names[:2], "k", *names[2:]], ["y"])
    model = model_of([node], {"k": k}, dict.fromkeys(names, (4, 5)))
    compiled = lrp_onnx.compile(model, "gradient", target="seed", start="one", check=False)
    feeds = dict(zip(names, x, strict=False))
    found = run(compiled.model, {**feeds, "y_seed": np.ones((4, 5), np.float32)})
    extremum = np.argmax if op == "Max" else np.argmin
    winner = extremum([k, *x[:5]], 0)  # the first of equals, the constant before all
    for j, name in enumerate(names):
        np.testing.assert_array_equal(found[f"{name}_relevance"], winner == j + 1)


def test_a_maximum_of_many_takes_nodes_in_proportion() -> None:
    names = [f"x{j}" for j in range(40)]
    model = model_of([helper.make_node("Max", names, ["y"])], {}, dict.fromkeys(names, (1, 5)))
    compiled = lrp_onnx.compile(model, "gradient", explain=names, check=False)
    assert len(compiled.model.graph.node) < 10 * len(names)
