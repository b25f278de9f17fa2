"""A branch that the run throws away gives nothing, be its values NaN or infinite."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from models import assert_close, network
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx import Explainer
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

MASK = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
NUMBERS = {
    **{"zero": 0.0, "half": 0.5, "one": 1.0, "huge": 1000.0},
    **{"column": [[-np.inf], [0], [0], [0]], "mean": [[0.25]] * 4},
}
CHOSEN = {
    "logarithm": "n = Less(h, zero)\n l = Log(h)\n s = Where(n, zero, l)",
    "root": "n = Less(h, zero)\n l = Sqrt(h)\n s = Where(n, h, l)",
    "power": "n = Less(h, zero)\n l = Pow(h, half)\n s = Where(n, h, l)",
    "sum of a power": "n = Less(h, zero)\n l = Pow(h, half)\n k = Add(l, h)\n m = Mul(k, half)\n"
    " q = Tanh(m)\n s = Where(n, h, q)",
    "sum of a logarithm": "n = Less(h, zero)\n l = Log(h)\n k = Add(l, h)\n s = Where(n, h, k)",
    "product": "n = Less(h, zero)\n l = Log(h)\n k = Mul(l, h)\n s = Where(n, h, k)",
    "sum behind a gate": "n = Less(h, zero)\n l = Log(h)\n k = Mul(l, h)\n m = Sub(h, k)\n"
    " s = Where(n, h, m)",
    "turned sum": "g = Transpose(h)\n n = Less(g, zero)\n l = Log(h)\n m = Add(l, h)\n"
    " t = Transpose(m)\n s = Where(n, g, t)",
    "chosen twice": "n = Less(h, zero)\n m = Less(h, one)\n l = Log(h)\n k = Where(m, l, h)\n"
    " a = Add(k, h)\n s = Where(n, h, a)",
    "itself": "n = Less(h, zero)\n l = Log(h)\n k = Add(l, l)\n s = Where(n, h, k)",
    "quotient": "r = Relu(h)\n n = Equal(r, zero)\n l = Div(h, r)\n s = Where(n, h, l)",
    "reciprocal": "r = Relu(h)\n n = Equal(r, zero)\n l = Reciprocal(r)\n s = Where(n, h, l)",
    "NaN replaced": "l = Log(h)\n n = IsNaN(l)\n s = Where(n, zero, l)",
    "angle": "a = Abs(h)\n n = Less(one, a)\n l = Acos(h)\n k = Mul(l, h)\n s = Where(n, zero, k)",
    "clipped": "n = Less(h, zero)\n l = Log(h)\n k = Clip(l, half, one)\n s = Where(n, h, k)",
    "overflow": "b = Mul(h, huge)\n e = Exp(b)\n p = Add(e, one)\n l = Log(p)\n"
    " n = Less(zero, h)\n s = Where(n, h, l)",
}
LIMITED = {
    "decay": "a = Add(h, mask)\n s = Exp(a)",
    "decay of a sum": "a = Add(h, mask)\n b = Add(a, h)\n s = Exp(b)",
    "attention": "a = Add(h, mask)\n b = Add(a, h)\n s = Softmax<axis=1>(b)",
    "chosen mask": "t = Less(mask, zero)\n c = Abs(mask)\n d = Where(t, mask, h)\n b = Add(d, h)\n"
    " s = Softmax<axis=1>(b)",
    "decay of rows": "c = MatMul(h, mean)\n a = Add(c, column)\n b = Add(h, a)\n s = Exp(b)",
    "sigmoid": "a = Add(h, mask)\n m = Mul(a, half)\n b = Add(m, h)\n s = Sigmoid(b)",
}
BODIES = CHOSEN | LIMITED
REQUESTS = {
    **{name: {"composite": name} for name in ("epsilon", "zplus", "attnlrp", "gamma")},
    "as the rules stand": {"composite": "epsilon", "optimize": False},
    **{name: {"method": name} for name in ("gradient", "input-x-gradient")},
}
X = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)


@cache
def model_of(name: str) -> onnx.ModelProto:
    used = BODIES[name].replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {k: np.float32(v) for k, v in NUMBERS.items() if k in used}
    mask = {"mask": MASK} if "mask" in used else {}
    body = f"h = Gemm(x, w)\n {BODIES[name]}\n y = Gemm(s, v)"
    return network(body, (4, 4), (), w=(4, 4), v=(4, 3), **constants, **mask)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("name", BODIES)
def test_relevance_is_finite(name: str, request_: str) -> None:
    """The gradient is that of finite differences, too."""
    compiled = lrp_onnx.compile(model_of(name), target=1, check=False, **REQUESTS[request_])
    result = Explainer(compiled)(X)
    assert np.isfinite(result.outputs["y"]).all()
    assert np.isfinite(result.relevance["x"]).all()
    assert np.abs(result.relevance["x"]).max() > 0
    if request_ == "gradient":
        seed = np.zeros((4, 3))
        seed[:, 1] = 1
        with np.errstate(all="ignore"):
            expected = finite_difference(
                lambda v: Network(model_of(name)).forward({"x": v})["y"],
                X.astype(float), seed, 1e-6,
            )  # fmt: skip
        assert_close(result.relevance["x"], expected, 1e-4)


@pytest.mark.parametrize("name", ["root", "power", "sum of a power", "angle", "overflow"])
def test_so_are_integrated_gradients(name: str) -> None:
    compiled = lrp_onnx.compile(model_of(name), target=1, method="integrated-gradients")
    assert np.isfinite(Explainer(compiled)(X).relevance["x"]).all()


@pytest.mark.parametrize("name", BODIES)
def test_the_accounts_close(name: str) -> None:
    options = CompileOptions(composite="epsilon", target=1)
    assert verify(model_of(name), options, {"x": X}).problems == ()


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_quantized_mask_is_replaced_as_a_float_alone(request_: str) -> None:
    """Not the zero point, which is an integer."""
    body = """h = Gemm(x, w) a = Add(h, mask) q = QuantizeLinear(a, step, point)
              d = DequantizeLinear(q, step, point) s = Softmax<axis=1>(d) y = Gemm(s, v)"""
    numbers = {"step": np.float32(0.05), "point": np.array(200, np.uint8)}
    model = network(body, (4, 4), (), w=(4, 4), v=(4, 3), mask=MASK, **numbers)
    compiled = lrp_onnx.compile(model, target=1, **REQUESTS[request_])
    found = Explainer(compiled)(X).relevance["x"]
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
