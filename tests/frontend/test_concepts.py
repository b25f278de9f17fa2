"""A concept in many spellings has the relevance of its operator, under every composite.

Each fragment reads `a`, of shape (2, 4, 6), and writes `n`; the first of a table is the reference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import pytest
from gate_spellings import (
    BOUNDED,
    GATE,
    GLU,
    HARD,
    RECTIFIED,
    RESIDUAL,
    SOFT,
    TURNED,
    UPSAMPLED,
)  # fmt: skip
from models import assert_close, network, run
from norm_spellings import (
    CENTERED,
    DEVIATION_READ,
    FRONT_AXES,
    GROUP_NORM,
    INSTANCE_NORM,
    LAST_GROUPS,
    LAYER_NORM,
    MEAN_READ,
    RMS_NORM,
    SHIFTED_RMS_NORM,
    SOFTMAX_READ,
    STANDARDIZED,
)
from softmax_spellings import (
    AXIS_ONE,
    LATE,
    LOGARITHM,
    MASKED,
    MASKED_BY_INPUT,
    QUIET,
    SOFTMAX,
    TWO_AXES,
    WARM,
)

import lrp_onnx
from lrp_onnx.analysis import path
from lrp_onnx.frontend import canonize
from lrp_onnx.frontend.canonize import probe

SHAPE = (2, 4, 6)
METHODS = ("attnlrp", "cp-lrp", "epsilon", "epsilon-plus-flat", "gamma", "gradient")
SIGNED = {"another's gate", "Relu", "Clip", "Softplus", "permuted", "upsampled"}
"""Whose spellings alpha-beta tells apart: they turn a sign, or may pass for a layer."""
rng = np.random.default_rng(5)
GAIN = rng.uniform(0.5, 2, 6).astype(np.float32)
SHIFT = rng.standard_normal(6).astype(np.float32)
MASK = np.tril(np.ones((6, 6)))[-4:] > 0
ROWS_G, ROWS_B = np.float32([0.5, 2, 1.5, 0.8]), np.float32([1, -0.3, 0.7, -1.2])
TURNING = np.eye(6, dtype=np.float32)[:, [5, 0, 0, 3, 1, 4]]
CONSTANTS = {
    "last": [-1], "rows": [1], "space": [2], "both": [1, 2], "first": [0], "one": 1.0, "two": 2.0,
    "half": 0.5, "minus": -0.5, "neg": -1.0, "zero": 0.0, "six": 6.0, "root": 6**0.5, "eps": 1e-3,
    "tiny": 1e-12, "low": -1e9,
    "low_seen": -1.0, "count": 1.2, "ln2": float(np.log(2)), "base": float(np.e),
    "ones": np.ones((6, 1), np.float32), "mean": np.full((6, 1), 1 / 6, np.float32),
    "center": (np.eye(6) - 1 / 6).astype(np.float32), "front": [0, 1], "by_columns": [6, 2, 4],
    "mask": MASK, "numbers": MASK.astype(np.float32),
    "gone": np.where(MASK, 0, -np.inf).astype(np.float32),
    "g": GAIN, "b": SHIFT, "less": -SHIFT, "parted": SHIFT / GAIN,
    "gr": ROWS_G, "br": ROWS_B, "gc": ROWS_G.reshape(4, 1), "bc": ROWS_B.reshape(4, 1),
    "o6": np.ones(6, np.float32), "or": np.ones(4, np.float32), "zr": np.zeros(4, np.float32),
    "gg": ROWS_G.reshape(2, 2, 1), "bg": ROWS_B.reshape(2, 2, 1),
    "grouped": [0, 2, -1], "shape": [0, 4, 6], "og": np.ones(2, np.float32),
    "zg": np.zeros(2, np.float32), "halves": [0, 2, 2, 6], "inner": [2, 3],
    "flat": [0, -1], "pad": [0, 0, 0, 0, 0, 1],
    "start": [0], "end": [6], "axis": [2], "wide": [0, 4, 6, 1], "drop": [3],
    "by_rows": [-1, 6], "tall": np.ones((1, 6, 1), np.float32), "warm": 0.6, "tileby": [1, 1, 6],
    "along": np.int64(2), "fifth": [5], "two_off": np.int64(2),
    "late3": [0, 4, 3, 2], "around": [1, 3], "three_groups": [0, 3, -1], "turned": [0, 6, 4],
    "o3": np.ones(3, np.float32), "z3": np.zeros(3, np.float32),
    "g32": GAIN.reshape(3, 2), "b32": SHIFT.reshape(3, 2),
    "by_hand": [5, 0, 0, 3, 1, 4], "turning": TURNING, "turning_kernel": TURNING.T[..., None, None],
    "doubled": np.float32([1, 1, 2]), "spread_each": np.ones((4, 1, 2), np.float32),
    "spread": np.eye(4, dtype=np.float32)[..., None] * np.ones(2, np.float32),
    "less6": -6.0, "pad_one": [0] * 7 + [1], "fourth": [3], "along_one": [1],
    "zero_at": np.int64(0),
    "c1": 2**-0.5, "c2": 0.7978845608, "c3": 0.044715, "three": 3.0, "less3": -3.0,
}  # fmt: skip

TABLES = {
    "Relu": RECTIFIED, "Clip": BOUNDED, "Softplus": SOFT,
    "permuted": TURNED, "upsampled": UPSAMPLED,
    "softmax": SOFTMAX, "axis one": AXIS_ONE, "two axes": TWO_AXES, "warm": WARM,
    "logarithm": LOGARITHM, "last groups": LAST_GROUPS, "quiet": QUIET,
    "masked": MASKED, "masked by an input": MASKED_BY_INPUT,
    "divided late": LATE, "LayerNorm": LAYER_NORM, "RMSNorm": RMS_NORM,
    "shifted RMSNorm": SHIFTED_RMS_NORM,
    "InstanceNorm": INSTANCE_NORM, "GroupNorm": GROUP_NORM, "standardized": STANDARDIZED,
    "gate": GATE, "another's gate": GLU, "residual gate": RESIDUAL, "HardSigmoid": HARD,
    "the first axes": FRONT_AXES, "its mean read": MEAN_READ,
    "its deviation read": DEVIATION_READ,
    "its exponentials read": SOFTMAX_READ,
}  # fmt: skip
ALIKE = ("epsilon-plus-flat", "gamma")
"""They differ from epsilon in the rules of linear layers alone, which a table's rows share: of a
concept that becomes an operator one spelling does for them.
"""
CASES = [
    (table, name, method)
    for table, rows in TABLES.items()
    for name in list(rows)[1:]
    for method in (*METHODS, *["alpha2-beta1"] * (table in SIGNED))
    if method not in ALIKE or table == "gate" or name in (list(rows)[1], "shifted by a number")
]


def model_with(fragment: str) -> onnx.ModelProto:
    """The fragment between layers."""
    body = f"a = MatMul(x, w_in) {fragment} t_out = Tanh(n) y = MatMul(t_out, w_out)"
    rows = (
        4
        if "Transpose<perm=[0, 2, 1]>(a) n = MatMul" in body
        or re.search(r"MatMul\(e, t\)|bkj", body)
        else 6
    )
    given = {**CONSTANTS, **WEIGHTS, "w_out": WEIGHTS["w_out"][:rows]}
    used = {k: c for k, c in given.items() if re.search(rf"\b{k}[,)]", body)}
    return network(body, SHAPE, **used)


WEIGHTS = {
    k: rng.standard_normal((6, m)).astype(np.float32)
    for k, m in {"w_in": 6, "w_out": 3, "w_other": 6}.items()
}


@cache
def explained(table: str, name: str, method: str) -> tuple[np.ndarray, Sequence[str]]:
    """Relevance, and what the compilation told."""
    model = model_with(TABLES[table][name])
    how = {"method": "gradient"} if method == "gradient" else {"composite": method}
    compiled = lrp_onnx.compile(model, target="all", check=False, **how)  # type: ignore[arg-type]
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = run(compiled.model, {"x": x})
    assert_close(found["y"], run(model, {"x": x})["y"])
    return found["x_relevance"], compiled.warnings


@pytest.mark.parametrize(("table", "name", "method"), CASES)
def test_a_spelling_has_the_relevance_of_the_operator(table: str, name: str, method: str) -> None:
    reference = next(iter(TABLES[table]))
    found, expected = (explained(table, k, method)[0] for k in (name, reference))
    assert_close(found, expected, 1e-4)


RESEMBLING = {
    "a mask of any numbers": "e = Exp(a) f = Relu(x) k = Mul(e, f) s = ReduceSum(k, last) "
        "n = Div(k, s)",
    "another's exponential": "t = Tanh(a) e = Exp(t) s = ReduceSum(e, last) f = Exp(a) n = Div(f, "
        "s)",
    "a sum of squares of exponentials": "e = Exp(a) q = Mul(e, e) s = ReduceSum(q, last) "
        "n = Div(e, s)",
    "a cube": f"{CENTERED} q = Pow(d, three) v = ReduceMean(q, last) o = Abs(v) e = Add(o, eps) "
        "r = Sqrt(e) n = Div(d, r)",
    "another's deviation": "t = Tanh(a) m = ReduceMean(t, last) c = Sub(t, m) q = Mul(c, c) "
        "v = ReduceMean(q, last) r = Sqrt(v) w = ReduceMean(a, last) d = Sub(a, w) n = Div(d, r)",
    "one over": "e = Exp(a) q = Sqrt(e) s = ReduceSum(q, last) r = Reciprocal(s) n = Mul(e, r)",
}  # fmt: skip


@pytest.mark.parametrize("name", RESEMBLING)
def test_what_looks_like_one_is_told(name: str) -> None:
    compiled = lrp_onnx.compile(model_with(RESEMBLING[name]), "attnlrp", check=False)
    assert any("'n' (" in text and "looks like" in text for text in compiled.warnings)
    assert [line.name for line in compiled.report if "looks like" in line.reason] == ["n"]


def test_less_its_mean_over_a_number_is_no_norm() -> None:
    model = model_with("m = ReduceMean(a, last) d = Sub(a, m) n = Div(d, three)")
    compiled = lrp_onnx.compile(model, "attnlrp", check=False)
    assert "norm" not in {line.kind for line in compiled.report}


@pytest.mark.parametrize("table", TABLES)
def test_what_is_one_is_not_told(table: str) -> None:
    for name in TABLES[table]:
        assert not any("looks like" in text for text in explained(table, name, "attnlrp")[1])


@pytest.mark.parametrize("name", ["softmax", "LayerNorm", "gate"])
def test_a_difference_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without recognition the spellings differ."""
    kept = tuple(r for r in canonize.REWRITES if r.__name__ != "recognize")
    monkeypatch.setattr(canonize, "REWRITES", kept)
    monkeypatch.setattr(path._Flow, "factors", lambda self, value: {value})
    expected, *found = (explained.__wrapped__(name, k, "attnlrp")[0] for k in TABLES[name])
    assert any(np.abs(r - expected).max() > 0.05 * np.abs(expected).max() for r in found)


def evaluations(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a region is evaluated in a row of that many softmaxes."""
    rows = [
        f"e{k} = Exp(t{k}) s{k} = ReduceSum(e{k}, last) n{k} = Div(e{k}, s{k}) "
        f"t{k + 1} = Tanh(n{k})"
        for k in range(count)
    ]
    model = network(f"t0 = Neg(x) {' '.join(rows)} y = Neg(t{count})", SHAPE, last=[-1])
    calls, evaluated = [], probe.Probe.any
    monkeypatch.setattr(probe.Probe, "any", lambda p, x: calls.append(1) or evaluated(p, x))
    lrp_onnx.compile(model, "attnlrp", check=False)
    monkeypatch.undo()
    return len(calls)


def test_equal_regions_are_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < evaluations(2, monkeypatch) == evaluations(20, monkeypatch)


@pytest.mark.parametrize("bound", [20.0, 65504.0])
@pytest.mark.parametrize("spelling", ["r = Max(h, zero)", "t = Neg(h) m = Min(t, zero) r = Neg(m)"])
def test_a_bound_is_seen_however_far(spelling: str, bound: float) -> None:
    model = network(
        f"h = MatMul(x, w) {spelling} a = Min(r, bound) y = MatMul(a, v)", ("N", 3),
        w=2 * np.eye(3), v=np.ones((3, 2)), zero=np.array(0.0), bound=np.array(bound),
    )  # fmt: skip
    compiled = lrp_onnx.compile(model, method="gradient", target=0).model
    x = np.float32([[-1, 0.3 * bound, 0.7 * bound]])
    assert run(compiled, {"x": x})["x_relevance"].tolist() == [[0, 2, 0]]


def test_a_softmax_that_is_0_at_whole_rows_is_told_without_a_warning() -> None:
    """Samples times their numbers: the first is 0, whatever the softmax gives."""
    body = (
        "r = Reshape(x, flat)\n s = Softmax<axis=0>(r)\n n = Shape(x)\n q = Reshape(s, n)\n"
        "c = Gather(n, first)\n g = Range(first, c, one)\n f = Cast<to=1>(g)\n"
        "e = Unsqueeze(f, behind)\n y = Mul(q, e)"
    )
    constants = {"flat": [-1, 4], "first": 0, "one": 1, "behind": [1, 2]}
    model = network(body, (3, 5, 4), (0,), **constants)
    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    compiled = lrp_onnx.compile(model, "epsilon", target="all").model
    assert np.isfinite(run(compiled, {"x": x})["x_relevance"]).all()


@pytest.mark.parametrize("method", ["attnlrp", "epsilon", "gradient"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_temperature_of_the_runs_sizes_is_that_of_the_run(axis: int, method: str) -> None:
    body = (
        "u = Tanh(x) n = Shape(u) g = Gather(n, which) f = Cast<to=1>(g) t = Div(u, f)"
        " s = Softmax<axis=1>(t) y = Mul(s, x)"
    )
    model = network(body, (3, 5, 4), (0, 1), which=axis)
    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    how = {"method": "gradient"} if method == "gradient" else {"composite": method}
    found, expected = (
        run(lrp_onnx.compile(model, target="all", shape=shape, **how).model, {"x": x})
        for shape in ({}, {"x": [3, 5, 4]})
    )
    assert_close(found["x_relevance"], expected["x_relevance"])
