"""Rules that a user writes: the optimized emission against the rule as its file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import assert_close, network, session
from onnx import numpy_helper
from test_factored import BEHIND, IMAGES, LAYER, agree

import lrp_onnx

RULES = {
    "nothing where z > 0": 'where = "z < 0"\nterms = [{ x = "x", w = "pos(w)", b = "b" }]',
    "nothing at all": 'factor = "0"\nterms = [{ x = "x", w = "pos(w)", b = "b" }]',
    "nothing of the layer as it is": 'factor = "0"\nterms = [{ x = "x", w = "w", b = "b" }]',
    "a constant input, thrice": 'terms = [{ x = "2", w = "1", b = "0", factor = "3" }]',
    "bounds, thrice": """terms = [{ x = "x", w = "w" }, { x = "2", w = "pos(w)", factor = "-1" },
        { x = "3", w = "neg(w)", factor = "-2" }]""",
    "bounds, twice": """terms = [{ x = "x", w = "w" }, { x = "2", w = "pos(w)", factor = "-2" },
        { x = "3", w = "neg(w)", factor = "-1" }]""",
    "the layer as it is where z > 0": 'where = "z > 0"\nterms = [{ x = "x", w = "w", b = "b" }]',
    "another bias than the weights'": 'terms = [{ x = "x", w = "w + 0.5*pos(w)", b = "b" }]',
}  # fmt: skip

BEFORE = {
    "both signs": "p = Identity(x)",
    "from 0 on": "p = Relu(x)",
    "up to 0": "n = Relu(x) p = Neg(n)",
}


@pytest.mark.parametrize("behind", ["Relu", "Identity"])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("rule", RULES)
def test_rule_of_ones_own(rule: str, before: str, behind: str, tmp_path: Path) -> None:
    model = network(f"{BEFORE[before]} z = Conv(p, w, b) r = {behind}(z) {BEHIND}", IMAGES, **LAYER)
    x = np.random.default_rng(3).standard_normal(IMAGES).astype(np.float32)
    agree(model, {"x": x}, rules={"z": written(tmp_path, RULES[rule])})


SUMMANDS = """where = "z > 0"
    terms = [{ x = "pos(x)", factor = "1.5" }, { x = "neg(x)" }]
    [[share]]
    where = "z < 0"
    terms = [{ x = "x + 0.5*neg(x)" }]"""


@pytest.mark.parametrize("optimize", [True, False])
def test_summands_that_count_more_than_once(optimize: bool, tmp_path: Path) -> None:
    """A sum has no weight that a multiple could go to."""
    model = network("n = Neg(x) p = Relu(x) m = Mul(n, h) y = Add(p, m)", (1, 4),
                    h=np.float32([3, 0.5, -1, 2]))  # fmt: skip
    rule = written(tmp_path, SUMMANDS)
    options = {"rules": {"y": rule}, "relevance_at": ["p", "m"], "optimize": optimize}
    compiled = lrp_onnx.compile(model, "epsilon", target="all", **options)
    x = np.float32([[1, 2, -1, -3]])
    found = session(compiled.model)({"x": x})
    p, m = np.maximum(x, 0), -x * [3, 0.5, -1, 2]
    z = p + m
    times = [np.where(v * z > 0, 1.5, 1) * v for v in (p, m)]
    for name, own in zip("pm", times, strict=True):
        assert_close(found[f"{name}_relevance"], own / sum(times) * z)


def written(folder: Path, share: str, more: str = "") -> str:
    file = folder / "own.toml"
    file.write_text(f'summary = "s"\nformula = "f"\nreference = "r"\n{more}\n[[share]]\n{share}\n')
    return str(file)


@pytest.mark.parametrize("optimize", [True, False])
def test_one_sum_for_all_samples_and_a_stabilizer_for_each(optimize: bool, tmp_path: Path) -> None:
    rule = written(tmp_path, 'terms = [{ x = "1", w = "w" }]', "parameters = { epsilon = 0 }")
    model = network("y = MatMul(x, w)", (2, 3), symbolic=(), w=(3, 4))
    options = {"rules": {"y": rule}, "parameters": {"epsilon": "0.25*rms(z)"}}
    compiled = lrp_onnx.compile(model, "epsilon", target="all", optimize=optimize, **options)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    (w,) = map(numpy_helper.to_array, model.graph.initializer)
    z, one = x @ w, np.ones((1, 3)) @ w
    epsilon = 0.25 * np.sqrt((z**2).mean(1, keepdims=True))
    s = z / (one + np.where(one < 0, -epsilon, epsilon))
    assert_close(session(compiled.model)({"x": x})["x_relevance"], s @ w.T)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_rule_that_divides_by_0(optimize: bool, tmp_path: Path) -> None:
    share = 'factor = "1/g"\nterms = [{ x = "x", w = "w", b = "b" }]'
    rule = written(tmp_path, share, "parameters = { g = { default = 0 } }")
    model = network(f"r = Conv(x, w, b) {BEHIND}", IMAGES, **LAYER)
    with pytest.raises(lrp_onnx.RuleError, match="divides by 0"):
        lrp_onnx.compile(model, "epsilon", rules={"r": rule}, optimize=optimize)
