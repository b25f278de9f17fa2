"""Re-drawn weights: from the output downwards, of the spread they had, the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import network

from lrp_onnx import digits
from lrp_onnx.compiler.comparison import Comparison
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.validate.candidate import Opened, Redrawn
from lrp_onnx.validate.evaluate import evaluate
from lrp_onnx.validate.evaluation import Clock
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Candidate, Question
from lrp_onnx.validate.randomization import layers_of, redrawn, stages_of

MODEL, IMAGES, _ = digits.load()
LAYERS = ("conv1", "conv2", "conv3", "dense4", "dense5")


def arrays(model: ir.Model) -> dict[str, np.ndarray]:
    return {str(n): v.const_value.numpy() for n, v in model.graph.initializers.items()}


def test_layers_are_found_in_order() -> None:
    names = [{str(v.name) for v in layer} for layer in layers_of(load_original(MODEL).model)]
    assert names == [{f"{name}.weight", f"{name}.bias"} for name in LAYERS]


@pytest.mark.parametrize("count", range(1, 6))
def test_the_last_layers_are_redrawn(count: int) -> None:
    model = load_original(MODEL).model
    before, after = arrays(model), arrays(redrawn(model, count, seed=1))
    for name in LAYERS:
        for part in ("weight", "bias"):
            changed = not np.array_equal(before[f"{name}.{part}"], after[f"{name}.{part}"])
            assert changed == (name in LAYERS[-count:])
    assert all(np.array_equal(arrays(model)[name], array) for name, array in before.items())
    weights = [values["dense4.weight"] for values in (before, after)]
    assert weights[0].std() == pytest.approx(weights[1].std(), rel=0.05)
    more = arrays(redrawn(model, 5, seed=1))
    assert np.array_equal(more["dense5.weight"], after["dense5.weight"])  # cascading
    assert not np.array_equal(arrays(redrawn(model, count, 2))["dense5.bias"], after["dense5.bias"])


TEXTS = {
    "a weight behind a Transpose": (
        "t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)", {"w": (2, 4)}, ["w"]
    ),
    "a shared weight": ("h = MatMul(x, w) y = MatMul(h, w)", {"w": (4, 4)}, ["w"]),
    "a mask is none": ("h = Add(x, m) y = MatMul(h, w)", {"m": (1, 4), "w": (4, 2)}, ["w"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_a_weight(name: str) -> None:
    text, constants, weights = TEXTS[name]
    model = load_original(network(text, (1, 4), **constants)).model
    assert [str(v.name) for layer in layers_of(model) for v in layer] == weights
    before, after = arrays(model), arrays(redrawn(model, 1, 0))
    assert {n for n in before if not np.array_equal(before[n], after[n])} == set(weights)
    assert after[weights[0]].dtype == before[weights[0]].dtype


def test_a_quantized_weight_is_redrawn() -> None:
    text = "<ir_version: 8, opset_import: ['': 18]> g (float[1, 4] x) => (float[1, 2] y)"
    text = text.replace("'", '"') + " { d = DequantizeLinear(w, s) y = MatMul(x, d) }"
    proto = onnx.parser.parse_model(text)
    w = np.int8([[-9, 8], [1, 120], [-100, 5], [7, 7]])
    constants = {"w": w, "s": np.float32(0.1)}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    model = load_original(proto).model
    drawn = arrays(redrawn(model, 1, 0))["w"]
    assert drawn.dtype == np.int8
    assert not np.array_equal(drawn, w)


def test_stages_go_from_the_last_layer_to_all() -> None:
    assert [stages_of(count) for count in (0, 1, 2, 5, 50)] == [
        *((), (1,), (1, 2), (1, 3, 5), (1, 26, 50))
    ]


@pytest.mark.parametrize(("asked", "stages"), [(0, []), (1, [5]), (2, [1, 5]), (9, [*range(1, 6)])])
def test_stages_are_as_many_as_asked_for(asked: int, stages: list[int]) -> None:
    x = (IMAGES[:1, None] / 255).astype(np.float32)
    assert (
        list(evaluate(MODEL, x, ["epsilon"], points=2, redraw=asked)["epsilon"].redrawn) == stages
    )


def test_a_map_of_the_weights_changes_and_one_of_the_input_does_not() -> None:
    x = np.float32([[1, 2, -1, 4]])
    model = network("y = MatMul(x, w)", ("N", 4), w=(4, 3))
    found = evaluate(model, x, ["epsilon", "flat"])
    assert list(found["epsilon"].redrawn) == [1]
    assert found["epsilon"].redrawn[1][0] < 0.9
    assert np.isnan(found["flat"].redrawn[1][0])  # one value everywhere has no ranks


def test_the_class_stays_that_of_the_trained_network() -> None:
    """The largest class of re-drawn weights may be another, whose map would be compared else."""
    x = (IMAGES[:3, None] / 255).astype(np.float32)
    found = evaluate(MODEL, x, ["epsilon"], points=2)
    fixed = [evaluate(MODEL, x[k : k + 1], ["epsilon"], points=2, target=int(c)) for k, c in
             enumerate(_classes(x))]  # fmt: skip
    for stage, values in found["epsilon"].redrawn.items():
        alone = [one["epsilon"].redrawn[stage][0] for one in fixed]
        assert np.allclose(values, alone, atol=1e-6)


def _classes(x: np.ndarray) -> np.ndarray:
    from lrp_onnx import Explainer, compile

    return Explainer(compile(MODEL))(x).outputs["logits"].argmax(1)


NORMED = """
    h = Conv<pads=[1,1,1,1]>(x, v, q) n = BatchNormalization(h, s, b, m, d) a = Relu(n)
    g = GlobalAveragePool(a) f = Flatten(g) z = Gemm(f, w, c) y = Softmax<axis=-1>(z)
"""
RECURRENT = """
    t, h, e = LSTM<hidden_size=3>(x, w, r, b) s = Squeeze(t, one) p = Transpose<perm=[1,0,2]>(s)
    y = ReduceSum<keepdims=0>(p, one)
"""
RNG = np.random.default_rng(0)
WEIGHTS = {"v": (4, 2, 3, 3), "q": (4,), "s": (4,), "b": (4,), "m": (4,), "w": (4, 3), "c": (3,)}
NETWORKS = {
    "a folded norm and a centered layer": (
        NORMED, (1, 2, 6, 6), {**WEIGHTS, "d": np.float32([1, 2, 3, 4])}
    ),
    "an LSTM": (
        RECURRENT, (5, 1, 4), {"w": (1, 12, 4), "r": (1, 12, 3), "b": (1, 24), "one": np.int64([1])}
    ),
}  # fmt: skip


def original_of(question: Question) -> Original:
    return Original(question, Clock(), Comparison(question.source, question.options))


@pytest.mark.parametrize("name", NETWORKS)
def test_one_graph_explains_all_stages(name: str) -> None:
    """The maps of weights that are drawn anew are those of a model that has these weights."""
    text, shape, constants = NETWORKS[name]
    model, x = network(text, shape, **constants), RNG.standard_normal(shape).astype(np.float32)
    candidates = [Candidate("epsilon"), Candidate("zplus"), Candidate(method="input-x-gradient")]
    question = Question(model, [{"x": x}], candidates=candidates)
    original = original_of(question)
    assert original.clock.compiled == 0  # the output tells which class is the largest
    Opened(candidates, question, original)
    every, loaded = Redrawn(candidates, question, original), load_original(model).model
    for stage in reversed(stages_of(len(layers_of(loaded)))):
        other = redrawn(loaded, stage, 0)
        for candidate, maps in zip(candidates, every.maps(other.clone(), [0]), strict=True):
            own = replace(question, source=other)
            apart = original_of(own)
            apart.classes = original.classes
            [alone] = Opened([candidate], own, apart).maps()
            assert np.allclose(maps[0]["x"], alone[0]["x"], atol=1e-5 * abs(alone[0]["x"]).max())
    assert original.clock.compiled == 2
