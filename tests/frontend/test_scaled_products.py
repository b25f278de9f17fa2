"""A constant in front of a product of activations or behind it: one relevance.

The stabilizer is large, so that it shows what it is added to.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, network, normalized, run

import lrp_onnx
from lrp_onnx.frontend import canonize
from lrp_onnx.frontend.canonize.scaled import scale_first_factor

SHAPE = (2, 3, 4, 6)
TURNED = "k = Transpose<perm=[0, 1, 3, 2]>(b)"
ROWS = {
    "both scaled": f"{TURNED} q = Mul(a, root) l = Mul(k, root) s = MatMul(q, l)",
    "one scaled": f"{TURNED} q = Mul(a, part) s = MatMul(q, k)",
    "scaled": f"{TURNED} z = MatMul(a, k) s = Mul(z, part)",
    "scaled by a tensor": f"{TURNED} z = MatMul(a, k) s = Mul(part4, z)",
    "divided": f"{TURNED} z = MatMul(a, k) s = Div(z, inverse)",
    "divided twice": f"{TURNED} z = MatMul(a, k) h = Mul(root, z) s = Div(h, inverse_root)",
    "scaled, moved": f"{TURNED} z = MatMul(a, k) f = Reshape(z, flat) h = Mul(f, part) "
        "s = Reshape(h, back)",
    "the keys scaled": f"{TURNED} l = Mul(k, part) s = MatMul(a, l)",
    "the keys scaled before": "h = Mul(b, part) k = Transpose<perm=[0, 1, 3, 2]>(h) "
        "s = MatMul(a, k)",
    "the keys scaled, and the product": f"{TURNED} l = Div(k, inverse_root) z = MatMul(a, l) "
        "s = Mul(z, root)",
    "a computed number": f"{TURNED} z = MatMul(a, k) c = Sqrt(square) s = Mul(z, c)",
}  # fmt: skip
HEADS = {
    "heads scaled": f"{TURNED} q = Mul(a, heads) s = MatMul(q, k)",
    "scaled behind": f"{TURNED} z = MatMul(a, k) s = Mul(z, heads)",
}
LEFT = {
    "read elsewhere": f"{TURNED} z = MatMul(a, k) h = Mul(z, part) s = Add(h, z)",
    "columns": f"{TURNED} z = MatMul(a, k) s = Mul(z, columns)",
    "rows": f"{TURNED} z = MatMul(a, k) s = Mul(z, rows)",
    "a shift": f"{TURNED} z = MatMul(a, k) s = Add(z, part)",
}
rng = np.random.default_rng(3)
CONSTANTS = {
    "part": 0.25, "root": 0.5, "inverse": 4.0, "inverse_root": 2.0, "square": 0.0625,
    "part4": np.full((1, 1, 1, 1), 0.25, np.float32), "flat": [0, -1], "back": [0, 3, 4, 4],
    "heads": np.float32([0.25, 0.5, 2]).reshape(3, 1, 1), "columns": np.float32([1, 2, 3, 4]),
    "rows": np.float32([1, 2, 3, 4]).reshape(4, 1),
    "w": rng.standard_normal((6, 6)).astype(np.float32),
    "v": rng.standard_normal((6, 6)).astype(np.float32),
}  # fmt: skip


def model_with(fragment: str) -> onnx.ModelProto:
    body = f"a = MatMul(x, w) b = MatMul(x, v) {fragment} p = Softmax(s) y = MatMul(p, b)"
    used = {k: c for k, c in CONSTANTS.items() if re.search(rf"\b{k}[,)]", body)}
    return network(body, SHAPE, **used)


def relevance(fragment: str) -> np.ndarray:
    model = model_with(fragment)
    compiled = lrp_onnx.compile(
        model, "attnlrp", target="all", parameters={"epsilon": 0.3}, check=False
    )
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = run(compiled.model, {"x": x})
    assert_close(found["y"], run(model, {"x": x})["y"])
    return found["x_relevance"]


@pytest.mark.parametrize("name", list(ROWS)[1:])
def test_a_constant_behind_a_product_is_of_the_product(name: str) -> None:
    assert_close(relevance(ROWS[name]), relevance(ROWS["both scaled"]))


def test_one_constant_for_each_head() -> None:
    assert_close(relevance(HEADS["scaled behind"]), relevance(HEADS["heads scaled"]))


@pytest.mark.parametrize("name", LEFT)
def test_other_constants_stay_behind_it(name: str) -> None:
    assert not scale_first_factor(normalized(ir.from_proto(model_with(LEFT[name]))))


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tuple(r for r in canonize.REWRITES if r.__name__ != "scale_first_factor")
    monkeypatch.setattr(canonize, "REWRITES", kept)
    expected = relevance(ROWS["both scaled"])
    assert np.abs(relevance(ROWS["scaled"]) - expected).max() > 0.01 * np.abs(expected).max()
