"""The check stage: how far a forward may be off, how long that takes to tell, finite relevance."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import network
from onnx import TensorProto, helper, numpy_helper

import lrp_onnx
from lrp_onnx.compiler import check, differences, judge, stages
from lrp_onnx.errors import CheckError
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.session import OutOfMemory

WIDE = "c = Conv(x, w, m)\n n = BatchNormalization(c, s, m, m, s)\n r = Relu(n)\n f = Flatten(r)"
SIZES = {"w": (4, 2, 3, 3), "s": np.full(4, 1.7, np.float32), "m": np.full(4, 0.3, np.float32)}


def mixed(inside: int, where: str) -> onnx.ModelProto:
    """float32 outside, another float type inside: of everything, or in the branch of an If."""
    model = network(f"{WIDE}\n y = Gemm(f, v)", (2, 2, 8, 8), (), v=(144, 5), **SIZES)
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(inside))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    first, last = model.graph.node[0], model.graph.node[-1]
    first.input[0], last.output[0] = "half", "result"
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["half"], "in", to=inside))
    model.graph.node.append(helper.make_node("Cast", ["result"], ["y"], "out", to=1))
    if where == "in a body":
        inner = helper.make_graph(
            list(model.graph.node), "body", [], [helper.make_tensor_value_info("y", 1, [2, 5])]
        )
        other = helper.make_graph(
            [helper.make_node("Identity", ["zeros"], ["z"])], "other", [],
            [helper.make_tensor_value_info("z", 1, [2, 5])],
        )  # fmt: skip
        del model.graph.node[:]
        model.graph.node.append(
            helper.make_node("If", ["yes"], ["y"], "if", then_branch=inner, else_branch=other)
        )
        model.graph.input.append(helper.make_tensor_value_info("yes", TensorProto.BOOL, []))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 5), "f"), "zeros"))
    return model


@pytest.mark.parametrize("method", ["lrp", "gradient", "integrated-gradients"])
@pytest.mark.parametrize("where", ["all", "in a body"])
def test_half_precision_inside(where: str, method: str) -> None:
    compiled = lrp_onnx.compile(mixed(TensorProto.FLOAT16, where), method=method)
    assert not [text for text in compiled.warnings if "forward" in text]


@pytest.mark.parametrize("inside", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_what_is_allowed_follows_from_what_is_inside(inside: int) -> None:
    model = mixed(inside, "all")
    graph = lrp_onnx.compile(model, "epsilon", check=False).graph
    feeds, expected = check.judged_on_random(model, graph)
    ((difference, allowed),) = differences.forward_differences(
        model, graph, feeds, expected
    ).values()
    assert allowed == (1e-5 if inside == TensorProto.FLOAT else 1e-3)
    assert difference <= allowed


@pytest.mark.parametrize(("factor", "holds"), [(1, True), (1.001, False)])
def test_what_the_original_differs_from_itself_is_allowed_twice(monkeypatch, factor, holds) -> None:
    layers = [
        f"z{k} = Conv<pads=[1,1,1,1]>(a{k}, w) n{k} = BatchNormalization(z{k}, g, b, b, g) "
        f"a{k + 1} = Tanh(n{k})"
        for k in range(8)
    ]
    body = " ".join(["a0 = Relu(x)", *layers, "y = GlobalAveragePool(a8)"])
    g = np.linspace(0.5, 2, 16).astype(np.float32)
    w = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
    model = network(body, (1, 16, 8, 8), w=w, g=g, b=g - 1)
    monkeypatch.setattr(Prediction, "put_back", lambda *_: None)
    graph = lrp_onnx.compile(model, "epsilon", check=False).graph
    feeds, expected = check.judged_on_random(model, graph)
    for name, value in graph.graph.initializers.items():
        if len(value.shape) == 4:
            array = (value.const_value.numpy() * factor).astype(np.float32)
            value.const_value = ir.tensor(array, name=name)
    monkeypatch.setitem(differences.TOLERANCES, "float32", 1e-9)
    found = differences.forward_differences(model, graph, feeds, expected).values()
    ((difference, allowed),) = found
    assert 1e-9 < allowed < 1e-5
    assert (difference <= allowed) is holds


def broken(monkeypatch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Let canonization change the weights of the last layer, and the prediction be the view's."""
    monkeypatch.setattr(Prediction, "put_back", lambda *_: None)
    canonize = stages.canonize

    def wrong(model: object) -> None:
        canonize(model)
        weight = model.graph.initializers["v"]  # type: ignore[attr-defined]
        array = change(weight.const_value.numpy().astype(np.float32))
        dtype = weight.const_value.dtype.numpy()
        weight.const_value = lrp_onnx.graph.constants.loose_constant(
            "v", array.astype(dtype), weight.dtype
        ).const_value

    monkeypatch.setattr(stages, "canonize", wrong)


def test_an_error_of_one_percent_in_half_precision_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda v: v * 1.01)
    with pytest.raises(CheckError, match="differs"):
        lrp_onnx.compile(mixed(TensorProto.FLOAT16, "all"))


def doubles(size: int) -> onnx.ModelProto:
    model = network(f"{WIDE}\n g = Mul(f, v)\n y = ReduceMean(g)", (1, 2, size, size), (),
                    v=np.full(1, 2, np.float32), **SIZES)  # fmt: skip
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


@pytest.mark.parametrize("method", ["lrp", "integrated-gradients"])
def test_doubles_take_no_evaluator(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than a few times what float32 takes."""
    monkeypatch.setattr(judge, "_Reference", None)
    began = time.perf_counter()
    lrp_onnx.compile(doubles(224), method=method, target="all")
    assert time.perf_counter() - began < 2


def test_a_changed_forward_of_doubles_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, lambda v: v * 1.001)
    with pytest.raises(CheckError, match="differs"):
        lrp_onnx.compile(doubles(8), target="all")


def with_bias(value: float) -> onnx.ModelProto:
    return network("z = Gemm(x, w, b)\n y = Sigmoid(z)", (2, 4), w=(4, 1),
                   b=np.full(1, value, np.float32))  # fmt: skip


@pytest.mark.parametrize("method", ["lrp", "integrated-gradients"])
def test_relevance_that_is_not_finite_is_told(method: str) -> None:
    """The prediction is 0, its logit −∞."""
    compiled = lrp_onnx.compile(with_bias(-np.inf), method=method)
    (told,) = (text for text in compiled.warnings if "NaN or infinity" in text)
    assert "'x_relevance'" in told
    assert "weight 'b'" in told
    finite = lrp_onnx.compile(with_bias(-1.0), method=method)
    assert not [text for text in finite.warnings if "infinity" in text]


@pytest.mark.parametrize("composite", ["attnlrp", "epsilon", "gradient"])
def test_a_causal_mask_is_no_broken_weight(composite: str) -> None:
    model = network(
        "q = MatMul(x, w)\n k = Transpose<perm=[0,2,1]>(x)\n a = MatMul(q, k)\n m = Add(a, mask)\n"
        " s = Softmax<axis=-1>(m)\n y = MatMul(s, x)",
        (1, 4, 4), (), w=(4, 4), mask=np.triu(np.full((4, 4), -np.inf, np.float32), 1),
    )  # fmt: skip
    assert lrp_onnx.compile(model, composite).warnings == ()


def test_a_smaller_input_is_taken_where_memory_does_not_last() -> None:
    sizes: list[int] = []

    def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.append(feeds["x"].size)
        if feeds["x"].size > 2:
            raise OutOfMemory("none left.")
        return {"y": feeds["x"]}

    original = SimpleNamespace(run=run)
    candidates = [{"x": np.ones(n)} for n in (4, 8, 3, 5, 2, 1)]
    feeds, _ = check._first_accepted(original, candidates)
    assert (len(feeds["x"]), sizes) == (2, [4, 3, 2])


def test_a_run_without_memory_for_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise OutOfMemory("ONNX Runtime cannot run the model on this input: none left.")

    model = network("y = MatMul(x, w)", (1, 4), w=(4, 3))
    monkeypatch.setattr(check, "run_plain", run)
    (warning,) = lrp_onnx.compile(model).warnings
    assert "whether relevance is finite was not seen: ONNX Runtime cannot" in warning
    monkeypatch.setattr(check, "forward_differences", run)
    (warning,) = lrp_onnx.compile(model).warnings
    assert "the forward was not compared with the original's: ONNX Runtime cannot" in warning
