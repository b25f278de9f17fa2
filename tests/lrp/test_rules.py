"""Every linear operator × every rule against the float64 oracle, within 1e-5 of max|R|."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import onnx
import oracle
import pytest
from models import TOLERANCE, Case, assert_close, run, session
from oracle_walk import explain, linear_of, spread, steps_of
from reference import Network
from tables import (
    BIASED,
    CUT,
    DENSE_LAYER,
    DEPTHWISE,
    GROUPED,
    LINEAR,
    NEGATED,
    SCALED,
    SEQUENCE,
    STRIDED,
)

import lrp_onnx
from lrp_onnx.lrp.library import library
from lrp_onnx.lrp.rule_file import load_rule


@cache
def model_of(case: Case) -> onnx.ModelProto:
    """The case's model, for all rules."""
    return case.model()


@dataclass(frozen=True)
class RuleRow:
    """A rule with parameters: how the compiler is asked for it and what the oracle calls it.

    `composite` a name of the library; empty: a file with that rule on every linear node.
    """

    rule: str
    composite: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    start: str = "logit"

    def __str__(self) -> str:
        given = [f"{k}={v}" for k, v in {**self.parameters, **self.settings}.items()]
        return "-".join(
            [self.composite or self.rule, *given, *[self.start] * (self.start == "one")]
        )

    def of_oracle(self) -> oracle.Rule:
        return self.rule, {**self.parameters, **self.settings}


@cache
def output_shape(case: Case) -> tuple[int, ...]:
    return Network(model_of(case)).forward(case.feeds())["y"].shape


# `settings` go through parameters=, `parameters` are what the composite's file says itself
EVERYWHERE = [
    RuleRow("epsilon", "epsilon"),
    RuleRow("zplus", "zplus"),
    RuleRow("alpha-beta", "alpha2-beta1", {"beta": 1.0}),
    RuleRow("gamma", "gamma"),
    RuleRow("zbox", "zbox", settings={"low": -3.5, "high": 4.0}),
    RuleRow("wsquare", "wsquare"),
    RuleRow("flat", "flat"),
    RuleRow("gradient", "gradient", start="one"),
]
OTHERS = oracle.RULES.keys() - {row.rule for row in EVERYWHERE} - {"pass"}  # a row of its own below
EVERYWHERE += [RuleRow(rule) for rule in sorted(OTHERS)]
VARIANTS = [
    RuleRow("epsilon", "epsilon", settings={"epsilon": 0.0}),
    RuleRow("epsilon", "epsilon", settings={"epsilon": 0.5}, start="one"),
    RuleRow("zplus", "zplus", settings={"epsilon": 0.25}),
    RuleRow("zplus", "zplus", settings={"epsilon": 0.0}),
    RuleRow("zplus", "zplus", start="one"),
    RuleRow("alpha-beta", "alpha1-beta0", {"beta": 0.0}),
    RuleRow("alpha-beta", "alpha2-beta1", settings={"beta": 0.5, "epsilon": 0.1}),
    RuleRow("alpha-beta", "alpha2-beta1", {"beta": 1.0}, {"epsilon": 0.0}),
    RuleRow("gamma", "gamma", settings={"gamma": 3.0}),
    RuleRow("gamma", "gamma", settings={"gamma": 0.0}),
    RuleRow("gamma", "gamma", settings={"gamma": 0.5, "epsilon": 0.1}, start="one"),
    RuleRow("gamma", "gamma", settings={"epsilon": 0.0}),
    RuleRow("zbox", "zbox", settings={"low": 0.0, "high": 3.0}),
    RuleRow("zbox", "zbox", settings={"low": -1.0, "high": 0.0, "epsilon": 0.3}, start="one"),
    RuleRow("wsquare", "wsquare", start="one"),
    RuleRow("wsquare", "wsquare", settings={"epsilon": 0.0}),
    RuleRow("flat", "flat", start="one"),
    RuleRow("flat", "flat", settings={"epsilon": 0.5}),
    RuleRow("norm", start="one", settings={"epsilon": 0.2}),
]
FEW = [BIASED, STRIDED, DEPTHWISE, CUT, SCALED, SEQUENCE]
BOUNDS = {n: {"low": [-4.0 - c for c in range(n)], "high": 4.5} for n in (2, 3, 4)}
PER_CHANNEL = [
    (row, RuleRow("zbox", "zbox", settings=BOUNDS[n]))
    for row, n in ((BIASED, 2), (DEPTHWISE, 3), (CUT, 2), (DENSE_LAYER, 4), (SEQUENCE, 4))
]
SQUARE = [
    case
    for case in LINEAR
    if case.feeds()["x"].shape == output_shape(case) and 2 not in case.symbolic
]

TABLE = [
    *[(case, rule) for case in LINEAR for rule in EVERYWHERE],
    *[(case, rule) for case in FEW for rule in VARIANTS],
    *PER_CHANNEL,
    *[(case, RuleRow("pass")) for case in SQUARE],
]


KINDS = ("signed", "positive", "zeros")


@lru_cache(maxsize=len(LINEAR))
def layer_of(case: Case) -> oracle.Linear:
    """The case's matrix, worked out once for all rules."""
    network = Network(model_of(case))
    (step,) = steps_of(network, ["x"])
    return linear_of(network, step, network.forward(case.feeds()))


def expected_relevance(case: Case, rule: RuleRow, x: np.ndarray, seed: np.ndarray) -> np.ndarray:
    layer, flat = layer_of(case), x.astype(np.float64).ravel()
    y = layer.weight @ flat + layer.bias
    R = seed.ravel().astype(np.float64) * (y if rule.start == "logit" else 1)
    name, parameters = rule.of_oracle()
    channels = -1 if case.op == "MatMul" else 1
    given = {k: spread(v, x.shape, channels) for k, v in parameters.items()}
    return oracle.RULES[name](layer, flat, R, **given).reshape(x.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all rows: to make and remove a thousand takes seconds."""
    return tmp_path_factory.mktemp("rules")


def composite_of(rule: RuleRow, folder: Path) -> str:
    """The library's composite, or a file naming the rule for every linear node."""
    if rule.composite:
        return rule.composite
    file = folder / "uniform.toml"
    file.write_text(
        'summary = "one rule"\nreference = "a test"\nbase = "base"\n'
        f'[[layer]]\nkind = "linear"\nrule = "{rule.rule}"\n'
    )
    return str(file)


@cache
def seed_of(case: Case) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(output_shape(case)).astype(np.float32)


def compile_row(model: object, rule: RuleRow, folder: Path) -> object:
    composite, settings = composite_of(rule, folder), dict(rule.settings)
    if rule.rule == "norm":  # a setting without its rule's name never reaches norm
        settings = {f"norm.{k}": v for k, v in settings.items()}
    return lrp_onnx.compile(
        model,
        composite=composite,
        parameters=settings,
        target="seed",
        start=rule.start,
        check=False,
    ).model


@pytest.mark.parametrize(("case", "rule"), TABLE, ids=str)
def test_rule_on_operator(case: Case, rule: RuleRow, folder: Path) -> None:
    compiled = session(compile_row(model_of(case), rule, folder))
    seed = seed_of(case)
    for kind in KINDS:
        x = case.feeds(kind)["x"]
        outputs = compiled({"x": x, "y_seed": seed})
        expected = expected_relevance(case, rule, x, seed)
        assert_close(outputs["x_relevance"], expected, what=kind)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("case", [BIASED, STRIDED, CUT, DENSE_LAYER, SEQUENCE], ids=str)
@pytest.mark.parametrize("rule", EVERYWHERE, ids=str)
def test_rule_in_dtype(case: Case, rule: RuleRow, dtype: str, folder: Path) -> None:
    case = case.in_dtype(dtype)
    # a seed is relevance, which a float16 model has in float32
    x, seed = case.feeds()["x"], seed_of(case).astype("float32" if dtype == "float16" else dtype)
    compiled, feeds = compile_row(case.model(), rule, folder), {"x": x, "y_seed": seed}
    # the runtime has no float64 convolution: the reference evaluator takes its place
    found = Network(compiled).forward(feeds) if dtype == "float64" else run(compiled, feeds)
    assert found["x_relevance"].dtype == dtype
    expected = expected_relevance(case, rule, x, seed)
    assert_close(found["x_relevance"].astype(float), expected, TOLERANCE[dtype])


RELU_ROWS = [RuleRow("gradient", name, start="one")
             for name in ("gradient", "guided-backprop", "deconvnet", "beta-smooth")]  # fmt: skip
BETWEEN = [row for row in EVERYWHERE + VARIANTS if row.rule != "gradient"] + RELU_ROWS
BETWEEN_CASES = [BIASED, STRIDED, DEPTHWISE, CUT, GROUPED, NEGATED, SEQUENCE]


@pytest.mark.parametrize("case", BETWEEN_CASES, ids=str)
@pytest.mark.parametrize("rule", BETWEEN, ids=str)
def test_rule_between_relus(case: Case, rule: RuleRow, folder: Path) -> None:
    """Input and output of known sign: the compiler may drop terms and shares there."""
    model, x, seed = case.between_relus(), case.feeds()["x"], seed_of(case)
    outputs = run(compile_row(model, rule, folder), {"x": x, "y_seed": seed})
    y = Network(model).forward({"x": x})["y"]
    relu = rule.composite.removesuffix("-backprop") if rule in RELU_ROWS else "pass"
    rules = {"*": rule.of_oracle(), "Relu": (relu, {})}
    R = seed * (y if rule.start == "logit" else 1)
    assert_close(outputs["x_relevance"], explain(model, {"x": x}, R, rules)["x"])


@pytest.mark.parametrize("rule", EVERYWHERE, ids=str)
def test_comparison_refuses_1_percent(rule: RuleRow) -> None:
    case = BIASED
    expected = expected_relevance(case, rule, case.feeds()["x"], seed_of(case))
    with pytest.raises(AssertionError, match="max"):
        assert_close(1.01 * expected, expected)


# rules of other kinds of nodes: test_vjp.py, test_attention.py and the network tests have them
NOT_LINEAR = {"body", "move", "half", "winner-takes-all", "average", "softmax", "bilinear"}


def test_every_rule_file_has_an_oracle_and_a_row() -> None:
    files = {f.name.removesuffix(".toml") for f in library().iterdir() if f.name.endswith(".toml")}
    known = set(oracle.RULES) | set(oracle.RELU_RULES)
    assert files - NOT_LINEAR == known, "a rule is a file in rules/ and a function of the oracle"
    tested = {rule.rule for _, rule in TABLE} | {
        r.composite.removesuffix("-backprop") for r in RELU_ROWS
    }
    assert known <= tested, "add a RuleRow"


@pytest.mark.parametrize(
    "name", ["zplus", "gamma", "epsilon", "alpha-beta", "wsquare", "flat", "norm"]
)
def test_default_parameters_are_those_of_the_oracle(name: str) -> None:
    ours = {
        k: p.default
        for k, p in inspect.signature(oracle.RULES[name]).parameters.items()
        if p.default is not p.empty
    }
    assert load_rule(name).settings({}) == ours
