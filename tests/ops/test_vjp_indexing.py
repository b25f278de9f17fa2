"""Operators that index, order and contract: vector-Jacobian products against central differences.

The rows go through the checks of `test_vjp`; those with integers or conditions have them as
constants and, once more, as inputs of the run.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from indexing import ROWS
from models import Case, assert_close, network, run
from reference import Network, finite_difference
from test_vjp import differences

import lrp_onnx
from lrp_onnx.errors import UnsupportedError


def at_run_time(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its integer and truth constants as inputs of any size but of known rank."""
    graph = model.graph
    moved = [t for t in graph.initializer if t.data_type not in (1, 10, 11)]
    for tensor in moved:
        graph.initializer.remove(tensor)
        last = tensor.dims[-1:] if tensor.name == "indices" else []  # of tuples
        shape = [f"{tensor.name}_{k}" for k in range(len(tensor.dims) - len(last))]
        graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, [*shape, *last])
        )
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    """With sizes that are known and with unknown ones, and with what indexes as a weight and at run
    time.
    """
    feeds, network = case.feeds(), Network(case.model())
    forward = network.forward(feeds)["y"]
    seed = np.random.default_rng(0).standard_normal(forward.shape).astype(np.float32)
    expected = differences(network, feeds, seed)
    indices = {k: v for k, v in case.constants().items() if v.dtype.kind in "ib"}
    for row in case.with_unknown():
        models = {"a weight": (row.model(), {})}
        if case.attributes.get("reduction") == "mul" and "d" in case.inputs:
            with pytest.raises(UnsupportedError, match="may meet in one element"):
                lrp_onnx.compile(at_run_time(row.model()), composite="gradient")
        else:
            models["at run time"] = (at_run_time(row.model()), indices)
        for model, given in models.values():
            compiled = lrp_onnx.compile(
                model, composite="gradient", target="seed", start="one", check=False,
                explain=list(case.activations),
            )  # fmt: skip
            outputs = run(compiled.model, {**feeds, **given, "y_seed": seed})
            assert_close(outputs["y"], forward)
            for name, gradient in expected.items():
                assert_close(outputs[f"{name}_relevance"], gradient)


@pytest.mark.parametrize("operator", ["TopK", "Unique"])
def test_places_that_an_operator_chose_carry_none(operator: str) -> None:
    """What reads by them is explained: x at the places of its largest elements."""
    body = "v, i = TopK<axis=0>(x, k) y = Gather(x, i)"
    if operator == "Unique":
        body = "v, i = Unique<sorted=0>(x) y = Gather(x, i)"
    model = network(body, (3,), (), k=[2])
    x = np.array([0.5, -1.0, 2.0], np.float32)
    outputs = run(lrp_onnx.compile(model, composite="gradient", target="all").model, {"x": x})
    assert np.isfinite(outputs["x_relevance"]).all()


ALL_ACTIVE = [
    row for row in ROWS if all(k[0] == "x" for k, v in row.inputs.items() if isinstance(v, tuple))
]


@pytest.mark.parametrize("case", ALL_ACTIVE, ids=str)
def test_relevance_is_conserved(case: Case) -> None:
    """With no constant that absorbs, what is explained is what the inputs get."""
    compiled = lrp_onnx.compile(case.model(), composite="epsilon", target="all", check=False)
    outputs = run(compiled.model, case.feeds("positive"))
    total = sum(v.sum(dtype=float) for k, v in outputs.items() if k.endswith("_relevance"))
    y = outputs["y"].astype(float)
    # started at the output, the stabilizer 1e-6 of a sum keeps at most that of each element
    assert abs(total - y.sum()) <= 1e-5 * np.abs(y).sum() + 1e-6 * y.size


def test_only_the_last_of_several_updates_of_an_element_counts() -> None:
    model = network("y = ScatterElements(d, i, x)", (3,), (), d=[0.0, 0.0], i=[1, 0, 1])
    compiled = lrp_onnx.compile(model, composite="epsilon", target="all")
    outputs = run(compiled.model, {"x": np.array([5, 7, 3], np.float32)})
    assert_close(outputs["x_relevance"], np.array([0, 7, 3], np.float32))


def test_of_equals_the_data_wins_then_the_first_update() -> None:
    model = network('y = ScatterElements<reduction="max">(d, i, x)', (4,), (),
                    d=[2.0, 0.0], i=[0, 1, 1, 1])  # fmt: skip
    compiled = lrp_onnx.compile(model, composite="epsilon", target="all")
    outputs = run(compiled.model, {"x": np.array([2, 1, 4, 4], np.float32)})
    assert_close(outputs["x_relevance"], np.array([0, 0, 4, 0], np.float32))


def test_a_zero_factor_of_several_is_differentiated() -> None:
    model = network("u = Gather(x, k) y = ScatterElements<reduction=\"mul\">(x, i, u)", (3,), (),
                    k=[1, 2], i=[0, 0])  # fmt: skip
    compiled = lrp_onnx.compile(model, composite="gradient", target="all", start="one")
    outputs = run(compiled.model, {"x": np.array([2, 0, 3], np.float32)})
    assert_close(outputs["x_relevance"], np.array([0, 1 + 6, 1], np.float32))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("chosen", [0, 3], ids=["nothing", "something"])
def test_how_many_are_written_only_the_run_knows(reduction: str, chosen: int) -> None:
    """Longformer writes where a token attends globally: often nowhere."""
    model = network(
        f"f = Greater(x, high)\n n = NonZero(f)\n i = Transpose<perm=[1,0]>(n)\n v = GatherND(x, i)"
        f"\n t = Tanh(v)\n u = Mul(t, t)\n y = ScatterND<reduction=\"{reduction}\">(x, i, u)",
        (3, 4), (0, 1), high=np.float32(2),
    )  # fmt: skip
    x = np.random.default_rng(2).uniform(-1, 1, (3, 4)).astype(np.float32)
    x.ravel()[: 2 * chosen : 2] += 4
    seed = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
    compiled = lrp_onnx.compile(model, method="gradient", target="seed", start="one", check=False)
    found = run(compiled.model, {"x": x, "y_seed": seed})["x_relevance"]
    expected = finite_difference(
        lambda v: Network(model).forward({"x": v})["y"], x.astype(float), seed, 1e-5
    )
    assert_close(found, expected, 1e-4)


def test_axes_of_emitted_reductions_count_from_the_first() -> None:
    """ONNX Runtime 1.31 ignores others where a tensor is empty."""
    model = network("s = Softmax<axis=-1>(x)\n y = ReduceMax<keepdims=0>(s, a)", (2, 3, 4), (0, 1),
                    a=[-1])  # fmt: skip
    graph = lrp_onnx.compile(model, "attnlrp").graph.graph
    emitted = [
        n for n in graph if n.op_type.startswith("Reduce") and "lrp.rule" in n.metadata_props
    ]
    assert emitted
    for node in emitted:
        assert (node.inputs[1].const_value.numpy() >= 0).all()
