"""The oracle against numbers of other systems, hand-worked rows and finite differences."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import referees
from models import TOLERANCE, Case, assert_close, run
from oracle_walk import explain, linear_of, spread, steps_of
from reference import Network
from tables import LINEAR

NAMES = list(referees.rows()) or [pytest.param("", marks=pytest.mark.skip(reason=referees.ABSENT))]


def rules_of(case: referees.Referee) -> dict[str, oracle.Rule]:
    """A uniform composite as the oracle's rules: the one rule for every linear operator."""
    beta = {"alpha1-beta0": 0.0, "alpha2-beta1": 1.0}
    if case.composite in beta:
        return {"*": ("alpha-beta", {"beta": beta[case.composite]})}
    if case.composite == "gradient":
        plain = ("gradient", {})
        return {"*": plain, "Relu": plain, "AveragePool": plain}
    return {"*": (case.composite, dict(case.parameters))}


def start(case: referees.Referee, y: np.ndarray) -> np.ndarray:
    """R0 = m·y, or m where the row starts at one."""
    mask = np.ones_like(y)
    if case.target != "all":
        index = y.argmax(1) if case.target == "argmax" else case.target
        mask = np.zeros_like(y)
        mask[np.arange(len(y)), index] = 1
    return mask * (y if case.start == "logit" else 1)


@pytest.mark.parametrize("name", NAMES)
def test_stored_numbers(name: str) -> None:
    case = referees.load(name)
    feeds = {k: v[-1:] for k, v in case.feeds.items()}  # one sample keeps the matrices small
    outputs = Network(case.model).forward(feeds)
    R = start(case, outputs[case.model.graph.output[0].name])
    found = explain(case.model, feeds, R, rules_of(case))
    for tensor, expected in case.expected.items():
        # on the scale of all samples, as the rows' tolerances are meant
        error = np.abs(found[tensor] - expected[-1:]).max() / np.abs(expected).max()
        assert error <= case.tolerance, f"{tensor}: {error:.2e}"


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_reference_forward_agrees_with_the_runtime(case: Case) -> None:
    feeds = case.feeds()
    ours = Network(case.model()).forward(feeds)["y"]
    assert_close(run(case.model(), feeds)["y"], ours)


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_matrix_reproduces_the_forward(case: Case) -> None:
    network, feeds = Network(case.model()), case.feeds()
    values = network.forward(feeds)
    (step,) = steps_of(network, ["x"])
    layer = linear_of(network, step, values)
    y = layer.weight @ values["x"].ravel() + layer.bias
    assert_close(y.reshape(values["y"].shape), values["y"], TOLERANCE["float64"])
    assert set(np.unique(layer.connected)) <= {0.0, 1.0}
    assert not layer.weight[layer.connected == 0].any()


ONE = oracle.Linear(np.array([[2.0, -1.0, 0.0]]), np.array([1.0]), lambda: np.ones((1, 3)))
X = np.array([3.0, 2.0, -1.0])  # z = 6 − 2 + 1 = 5
BY_HAND = [
    ("epsilon", {"epsilon": 0.0}, [6.0, -2.0, 0.0]),
    ("epsilon", {"epsilon": 5.0}, [3.0, -1.0, 0.0]),
    ("norm", {"epsilon": 0.0}, [6.0, -2.0, 0.0]),
    ("zplus", {"epsilon": 0.0}, [6 * 5 / 7, 0.0, 0.0]),
    ("alpha-beta", {"beta": 1.0, "epsilon": 0.0}, [2 * 6 * 5 / 7, -5.0, 0.0]),
    ("alpha-beta", {"beta": 0.5, "epsilon": 0.0}, [1.5 * 6 * 5 / 7, -2.5, 0.0]),
    ("gamma", {"gamma": 1.0, "epsilon": 0.0}, [12 * 5 / 12, -2 * 5 / 12, 0.0]),
    # z = 4 + 2·2 (low −2 through w⁺ = 2) + 4 (high 4 through w⁻ = −1) = 12: the bias cancels
    ("zbox", {"low": -2.0, "high": 4.0, "epsilon": 0.0}, [10 * 5 / 12, 2 * 5 / 12, 0.0]),
    ("wsquare", {"epsilon": 0.0}, [4 * 5 / 6, 5 / 6, 0.0]),
    ("flat", {"epsilon": 0.0}, [5 / 3, 5 / 3, 5 / 3]),
    ("gradient", {}, [10.0, -5.0, 0.0]),
    ("cell", {}, [6 * 5 / 5.001, -2 * 5 / 5.001, 0.0]),
    ("recurrent", {}, [6.0, -2.0, 0.0]),
]


@pytest.mark.parametrize(("rule", "parameters", "expected"), BY_HAND)
def test_one_neuron_by_hand(rule: str, parameters: dict, expected: list[float]) -> None:
    found = oracle.RULES[rule](ONE, X, np.array([5.0]), **parameters)
    assert_close(found, np.array(expected), TOLERANCE["float64"])


def test_every_rule_has_a_hand_worked_row() -> None:
    assert {rule for rule, *_ in BY_HAND} | {"pass"} == set(oracle.RULES)


def test_gamma_below_zero_mirrors_gamma_above() -> None:
    mirror = oracle.Linear(-ONE.weight, -ONE.bias, ONE.read)
    above = oracle.gamma_rule(ONE, X, np.array([5.0]), gamma=0.25)
    assert_close(oracle.gamma_rule(mirror, X, np.array([5.0]), gamma=0.25), above, 1e-12)


@pytest.mark.parametrize("z", [0.0, -0.0, 1.0, -1.0])
def test_the_sign_of_zero_is_plus(z: float) -> None:
    expected = -1 / 1.5 if z < 0 else 1 / (abs(z) + 0.5)
    assert oracle.ratio(np.ones(1), np.array([z]), 0.5)[0] == pytest.approx(expected)


def test_lrp_0_gives_nothing_where_z_is_zero() -> None:
    assert oracle.ratio(np.ones(2), np.array([0.0, 2.0]), 0.0).tolist() == [0.0, 0.5]


def test_per_channel_bounds_follow_axis_1() -> None:
    values = spread([1.0, 2.0], (2, 2, 3))
    assert values.reshape(2, 2, 3)[:, 1].tolist() == [[2.0] * 3] * 2


def test_padding_counts_for_neither_flat_nor_zbox() -> None:
    case = Case("Conv", {"pads": [1, 1, 1, 1]}, x=(1, 1, 2, 2), w=(1, 1, 3, 3))
    network, feeds = Network(case.model()), case.feeds()
    values = network.forward(feeds)
    layer = linear_of(network, steps_of(network, ["x"])[0], values)
    assert layer.connected.tolist() == [[1.0] * 4] * 4  # 4 of 9 taps at each corner
    z = layer.weight @ values["x"].ravel() + pos_and_neg(layer.weight)
    R = np.ones(4)
    found = oracle.zbox(layer, values["x"].ravel(), R, -1.0, 1.0, epsilon=0.0)
    assert found.sum() == pytest.approx(R.sum())
    assert (z > 0).all()


def pos_and_neg(weight: np.ndarray) -> np.ndarray:
    """−low·Σw⁺ − high·Σw⁻ for the box [−1, 1]."""
    return oracle.pos(weight).sum(1) - oracle.neg(weight).sum(1)


def test_maximum_goes_to_the_first_of_equals() -> None:
    case = Case("MaxPool", {"kernel_shape": [2, 2], "strides": [1, 1]}, x=(1, 1, 2, 3))
    x = np.array([[[[1, 5, 5], [5, 5, 0]]]], np.float32)
    R = np.array([[[[1.0, 10.0]]]])
    found = explain(case.model(), {"x": x}, R, {})["x"]
    assert found.tolist() == [[[[0, 11, 0], [0, 0, 0]]]]


@pytest.mark.parametrize("op", ["Relu", "Tanh", "Sigmoid"])
def test_gradient_of_an_activation(op: str) -> None:
    case = Case(op, x=(2, 3))
    x = case.feeds()["x"].astype(np.float64)
    slope = {
        "Relu": x > 0,
        "Tanh": 1 - np.tanh(x) ** 2,
        "Sigmoid": np.exp(-x) / (1 + np.exp(-x)) ** 2,
    }
    found = explain(case.model(), {"x": x}, np.ones((2, 3)), {op: ("gradient", {})})["x"]
    assert_close(found, slope[op].astype(float), 1e-8)


@pytest.mark.parametrize("helper", ["absolute", "relative to the largest"])
def test_assert_close_refuses_1_percent(helper: str) -> None:
    right = np.array([1.0, -3.0, 0.0]) * (1 if helper == "absolute" else 1e-6)
    assert_close(right, right)
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * right, right)


def test_assert_close_refuses_nan_and_other_shapes() -> None:
    with pytest.raises(AssertionError, match="not finite"):
        assert_close(np.array([np.nan]), np.ones(1))
    with pytest.raises(AssertionError, match="shape"):
        assert_close(np.ones((1, 1)), np.ones(1))
