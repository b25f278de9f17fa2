"""Pixel flipping where the curves are known: a linear model's score is a sum over its units."""

from __future__ import annotations

import numpy as np
import pytest
from models import network

from lrp_onnx.errors import CompositeError, InputError, TargetError
from lrp_onnx.validate.evaluate import evaluate
from lrp_onnx.validate.flipping import Curve, Flipped, grid
from lrp_onnx.validate.map_statistics import complexity, rank_correlation

W = np.float32([[3], [-1], [2], [0.5], [-4], [1]])
X = np.float32([[1, 2, -1, 4, 0.5, 2], [2, 1, 1, -2, 1, 3]])
LINEAR = network("y = MatMul(x, w)", ("N", 6), w=W)


def expected(contributions: np.ndarray) -> np.ndarray:
    """The score of a sum when its terms are set to zero in this order."""
    return np.concatenate([[contributions.sum()], contributions.sum() - contributions.cumsum()])


def test_a_linear_model_falls_by_its_largest_terms_first() -> None:
    found = evaluate(LINEAR, X, ["epsilon"], replacement="zero", points=6)
    assert found.score == "value: argmax of 'y', in its own unit"
    for terms, flipped in zip(X * W[:, 0], found["epsilon"].flipped, strict=True):
        falling = expected(np.sort(terms)[::-1])
        assert np.allclose(flipped.morf.score, falling, atol=1e-6)
        assert np.allclose(flipped.lerf.score, expected(np.sort(terms)), atol=1e-6)
        assert np.allclose(flipped.morf.share, np.arange(7) / 6)
        gain = np.trapezoid(expected(np.sort(terms)) - falling) / 6
        assert flipped.srg == pytest.approx(gain, rel=1e-6)


def test_no_order_gains_more_than_that_of_the_terms() -> None:
    found = evaluate(LINEAR, X, ["epsilon", "flat"], replacement="zero", points=6, seed=3)
    assert (found["epsilon"].srg > found["random"].srg).all()
    assert np.allclose(found["flat"].srg, 0)  # says nothing: the same order both ways


def test_insertion_is_the_other_curve_read_backwards() -> None:
    terms = (X * W[:, 0])[0]
    found = evaluate(LINEAR, X[:1], ["epsilon"], replacement="zero", points=6)
    inserted = np.concatenate([[0], np.sort(terms)[::-1].cumsum()])
    assert np.allclose(found["epsilon"].flipped[0].lerf.score[::-1], inserted, atol=1e-6)


def test_a_class_is_scored_by_its_softmax() -> None:
    v = np.float32(np.random.default_rng(0).standard_normal((6, 3)))
    model = network("y = MatMul(x, v)", ("N", 6), v=v)
    found = evaluate(model, X, ["epsilon"], replacement="zero")
    powers = np.exp(X @ v)
    assert found.score == "probability: softmax of 'y', argmax"
    assert np.allclose(found.whole, (powers / powers.sum(1, keepdims=True)).max(1), atol=1e-6)
    assert np.allclose(found.replaced, 1 / 3)
    behind = network("z = MatMul(x, v) y = Softmax(z)", ("N", 6), v=v)
    assert np.allclose(evaluate(behind, X, ["epsilon"], replacement="zero").whole, found.whole)


@pytest.mark.parametrize(
    ("target", "score"),
    [
        (1, lambda p: p[:, 1]),
        ("0-2", lambda p: p[:, 0] - p[:, 2]),
        ("input", lambda p: p[[0, 1], [2, 0]]),
    ],
    ids=["a class", "a difference", "a class each"],
)
def test_the_explained_quantity_is_scored(target: object, score: object) -> None:
    v = np.float32(np.random.default_rng(0).standard_normal((6, 3)))
    model = network("y = MatMul(x, v)", ("N", 6), v=v)
    classes = [2, 0] if target == "input" else None
    found = evaluate(
        model, X, ["epsilon"], replacement="zero", target=target, classes=classes, start="one"
    )
    powers = np.exp(X @ v)
    assert callable(score)
    own = score(powers / powers.sum(1, keepdims=True))
    assert np.allclose(found.whole, own, atol=1e-6)


def test_embeddings_are_no_classes() -> None:
    model = network("n = LpNormalization<axis=1>(x) y = MatMul(n, w)", ("N", 6), w=np.eye(6))
    found = evaluate(model, X, ["epsilon"], replacement="zero")
    assert found.score == "value: argmax of 'y', in its own unit"
    assert np.allclose(found.whole, (X / np.linalg.norm(X, axis=1, keepdims=True)).max(1))
    assert found.other_class == ""


def test_an_embedding_is_compared_with_itself() -> None:
    v = np.float32(np.random.default_rng(0).standard_normal((6, 3)))
    model = network("z = MatMul(x, v) y = LpNormalization(z)", ("N", 6), v=v)
    found = evaluate(model, X, ["epsilon"], replacement="zero", points=6, target="similarity")
    assert found.score == "cosine of 'y' with that of the sample as it is"
    assert np.allclose(found.whole, 1)
    order = np.argsort(-(X * (X @ v @ v.T))[0])  # R of feature i is x_i·(v·z)_i over ‖z‖²
    changed = X[:1].copy()
    changed[0, order[:2]] = 0
    whole, left = X[:1] @ v, changed @ v
    cosine = (whole * left).sum() / np.linalg.norm(whole) / np.linalg.norm(left)
    assert found["epsilon"].flipped[0].morf.score[2] == pytest.approx(cosine, abs=1e-5)
    assert "Target similarity" in evaluate(model, X, ["epsilon"], replacement="zero").warnings[0]


def test_sizes_of_no_name_may_differ() -> None:
    body = "p = ReduceMean<keepdims=0>(x, places) y = MatMul(p, w)"
    model = network(body, (2, 6, 4, 8), w=W, places=[2, 3])
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "?"
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 8)).astype(np.float32)
    assert evaluate(model, x, ["epsilon"], points=2, redraw=0).samples == 2


def test_an_order_is_scored_once() -> None:
    alone = evaluate(LINEAR, X, ["epsilon"], replacement="zero", points=6)
    both = evaluate(LINEAR, X, ["epsilon", "attnlrp"], replacement="zero", points=6)
    assert both.clock.forward == alone.clock.forward
    assert np.array_equal(both["attnlrp"].srg, both["epsilon"].srg)


def test_batches_change_nothing() -> None:
    runs = [evaluate(LINEAR, X, ["epsilon"], batch=batch) for batch in (1, 2, 8)]
    for found in runs:
        assert np.allclose(found["epsilon"].srg, runs[0]["epsilon"].srg, atol=1e-6)
    for size in (1, 2, 3):  # that the model insists on
        fixed = network("y = MatMul(x, w)", (size, 6), symbolic=(), w=W)
        found = evaluate(fixed, X, ["epsilon"])
        assert found.samples == 2
        assert np.allclose(found["epsilon"].srg, runs[0]["epsilon"].srg, atol=1e-6)


def test_samples_that_meet_are_not_run_together() -> None:
    model = network("m = ReduceMean<keepdims=1>(x, a) c = Sub(x, m) y = MatMul(c, w)",
                    ("N", 6), a=[0], w=W)  # fmt: skip
    found = evaluate(model, X, ["epsilon"], replacement="zero", batch=8)
    assert np.allclose(found.whole, 0)  # each alone is its own mean


def test_the_grid_has_both_ends() -> None:
    assert grid(196, 20)[[0, 1, -1]].tolist() == [0, 10, 196]
    assert grid(3, 20).tolist() == [0, 1, 2, 3]
    assert len(grid(196, 20)) == 21


def test_the_area_is_the_mean_score() -> None:
    share = np.array([0, 0.25, 1])
    assert Curve(share, np.array([1, 1, 1.0])).area == pytest.approx(1)
    assert Curve(share, 1 - share).area == pytest.approx(0.5)
    flipped = Flipped(Curve(share, 1 - share), Curve(share, np.ones(3)))
    assert flipped.srg == pytest.approx(0.5)


def test_complexity_is_an_entropy() -> None:
    assert complexity({"x": np.full((1, 8), -3.0)}) == pytest.approx(np.log(8))
    assert complexity({"x": np.array([0, 5.0])}) == 0
    halves = {"x": np.array([1.0, -1]), "z": np.array([2.0])}
    assert complexity(halves) == pytest.approx(1.5 * np.log(2))
    assert np.isnan(complexity({"x": np.zeros(3)}))


def test_ranks_are_correlated() -> None:
    a = np.array([0.1, 5, -3, 2])
    assert rank_correlation({"x": a}, {"x": np.exp(a)}) == pytest.approx(1)
    assert rank_correlation({"x": a}, {"x": -(a**3)}) == pytest.approx(-1)
    ties = {"x": np.array([1.0, 1, 0, 0])}
    assert rank_correlation({"x": a}, ties) == pytest.approx(0.2**0.5)
    assert np.isnan(rank_correlation({"x": a}, {"x": np.ones(4)}))


WRONG = {
    "no such method": ({"methods": ["lime"]}, TargetError, "method 'lime' is unknown"),
    "no such composite": ({"composites": ["best"]}, CompositeError, "composite 'best'"),
    "one composite": ({"composite": "epsilon"}, CompositeError, "give a list"),
    "several quantities": ({"target": "top-2"}, TargetError, "maps of one quantity"),
    "a class each": ({"target": "input", "classes": [0]}, TargetError, "1 classes for 2 samples"),
    "blur of features": ({"replacement": "blur"}, InputError, "Choose mean or zero"),
    "an id": ({"replacement": 0}, InputError, "holds no ids"),
    "a condition": ({"conditions": ["y"]}, TargetError, "evaluate compares maps of the inputs"),
    "a parameter": (
        {"composites": ["epsilon"], "parameters": {"low": 1}},
        CompositeError,
        "no composite that is compared",
    ),
    "a point": ({"points": 1}, InputError, "from 2"),
    "an array": ({"replacement": np.zeros((1, 5), np.float32)}, InputError, "[1, 6]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_compared_is_said(name: str) -> None:
    arguments, error, text = WRONG[name]
    with pytest.raises(error) as caught:
        evaluate(LINEAR, X, **arguments)
    assert text in str(caught.value)
