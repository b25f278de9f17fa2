"""What ends inside a branch or a loop is explained as the same network without: from its logits,
less their mean, and by the same rules.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run

import lrp_onnx

X = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
rng = np.random.default_rng(7)
WEIGHTS = {name: rng.standard_normal((4, 4)).astype(np.float32) for name in ("w", "u", "v")}
BIAS = {name: rng.standard_normal(4).astype(np.float32) for name in ("b", "d")}
CONSTANTS = {**WEIGHTS, **BIAS, "o": 1.0, "i": [0, 0], "one": [1], "zero": [0]}
SIGN = "e = GatherND(other, i) c = Less(e, z) "


def branches(one: str, other: str, outer: str = "r") -> str:
    return (
        f"{outer} = If(c)<then_branch = yes () => (float[N,4] r1) {{ {one} }},"
        f" else_branch = no () => (float[N,4] r2) {{ {other} }}> "
    )


STEP = (
    "body = step (float[1,4] xt) => (float[1,4] yt)"
    " { m = MatMul(xt, w) a = Add(m, b) yt = Softmax<axis=1>(a) }"
)
SCAN = "q = Unsqueeze(x, one) s = Scan(q)<num_scan_inputs = 1, "
ONE, OTHER = "m = MatMul(h, u) a = Add(m, b)", "m = MatMul(h, v) a = Add(m, d)"
ALIKE = "h = Tanh(x) m = MatMul(h, W) a = Add(m, B) y = Softmax<axis=1>(a)"
ENDS = {
    "softmax in both branches": (
        "h = Tanh(x) "
        + SIGN
        + branches(f"{ONE} r1 = Softmax<axis=1>(a)", f"{OTHER} r2 = Softmax<axis=1>(a)", "y"),
        ALIKE,
    ),
    "softmax behind the branches": (
        "h = Tanh(x) "
        + SIGN
        + branches(f"{ONE} r1 = Identity(a)", f"{OTHER} r2 = Identity(a)")
        + "y = Softmax<axis=1>(r)",
        ALIKE,
    ),
    "softmax alone in both": (
        "m = MatMul(x, w) a = Add(m, b) "
        + SIGN
        + branches("r1 = Softmax<axis=1>(a)", "r2 = Softmax<axis=1>(a)", "y"),
        "m = MatMul(x, w) a = Add(m, b) y = Softmax<axis=1>(a)",
    ),
    "sigmoids": (
        SIGN
        + branches(
            "m = MatMul(x, u) r1 = Sigmoid(m)",
            "m = MatMul(x, v) n = Neg(m) e1 = Exp(n) f = Add(e1, o) r2 = Reciprocal(f)",
            "y",
        ),
        "m = MatMul(x, W) y = Sigmoid(m)",
    ),
    "moved behind": (
        SIGN
        + branches(
            "m = MatMul(x, u) r1 = LogSoftmax<axis=1>(m)",
            "m = MatMul(x, v) r2 = LogSoftmax<axis=1>(m)",
        )
        + "y = Identity(r)",
        "m = MatMul(x, W) y = LogSoftmax<axis=1>(m)",
    ),
    "steps": (
        f"{SCAN}{STEP}> y = Squeeze(s, one)",
        "m = MatMul(x, w) a = Add(m, b) y = Softmax<axis=1>(a)",
    ),
    "steps side by side": (
        f"{SCAN}scan_output_axes = [1], {STEP}> y = Squeeze(s, zero)",
        "m = MatMul(x, w) a = Add(m, b) y = Softmax<axis=1>(a)",
    ),
}


def made(body: str, taken: str = "") -> onnx.ModelProto:
    for name, (one, other) in {"W": ("u", "v"), "B": ("b", "d")}.items():
        body = body.replace(f", {name})", f", {one if taken == 'then' else other})")
    constants = {**CONSTANTS, "z": np.float32(0)}
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return network(body, (3, 4), (), **{k: v for k, v in constants.items() if k in words})


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize(
    "options",
    [
        *({"composite": name} for name in ("epsilon", "alpha2-beta1", "epsilon-plus-flat")),
        {"composite": "epsilon", "start": "logit"},
        {"method": "gradient"},
        {"method": "integrated-gradients"},
        {"composite": "epsilon", "target": "top-2"},
    ],
    ids=lambda o: " ".join(map(str, o.values())),
)
@pytest.mark.parametrize("taken", ["then", "else"])
def test_relevance_is_that_of_the_network_without(
    name: str, options: dict[str, str], taken: str
) -> None:
    inside, plain = ENDS[name]
    other = np.full_like(X, -1 if taken == "then" else 1)
    ours, theirs = (
        lrp_onnx.compile(made(body, taken), explain="x", **options).model
        for body in (inside, plain)
    )
    feeds = {"x": X, "other": other} if len(ours.graph.input) > 1 else {"x": X}
    got, expected = run(ours, feeds), run(theirs, {"x": X})
    np.testing.assert_allclose(got["y"], expected["y"], atol=1e-6)
    R = expected["x_relevance"]
    np.testing.assert_allclose(got["x_relevance"], R, atol=2e-5 * np.abs(R).max(), rtol=0)


def test_a_branch_that_ends_otherwise_starts_at_the_output() -> None:
    """There is no one tensor of logits then."""
    body = SIGN + branches("m = MatMul(x, u) r1 = Softmax<axis=1>(m)", "r2 = MatMul(x, v)", "y")
    compiled = lrp_onnx.compile(made(body), composite="epsilon", explain="x")
    result = run(compiled.model, {"x": X, "other": np.ones_like(X)})
    chosen = result["y"].max(1).sum()
    assert result["x_relevance"].sum() == pytest.approx(chosen, rel=1e-3)
