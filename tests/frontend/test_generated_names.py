"""A file with names that ONNX Runtime makes up is compiled into one that it reads."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

NAMES = ("gemm_input_shape", "gemm_output_shape", "gemm_input_shape_token_0", "w_token_7")
BODY = (
    "r = Reshape(x, {0}) t = Tanh(r) u = Reshape(t, whole) m = MatMul(u, w) a = Add(m, b) "
    "s = Tanh(a) n = MatMul(s, w) y = Add(n, b)"
)
RNG = np.random.default_rng(1)
W, B = (RNG.standard_normal(size).astype(np.float32) for size in ((4, 4), 4))
WEIGHTS = {"whole": [2, 3, 4], "w": W, "b": B}


def named(name: str) -> onnx.ModelProto:
    return network(BODY.format(name), (2, 3, 4), (), **WEIGHTS, **{name: [6, 4]})


@pytest.mark.parametrize("name", NAMES)
def test_made_up_names_are_free_in_the_compiled_model(name: str) -> None:
    model, x = named(name), np.random.default_rng(0).standard_normal((2, 3, 4), np.float32)
    before = model.SerializeToString()
    compiled = lrp_onnx.compile(model, "epsilon", target="all", check=False)
    assert name not in {v.name for v in compiled.model.graph.initializer}
    assert model.SerializeToString() == before
    expected = lrp_onnx.compile(named("free"), "epsilon", target="all", check=False)
    assert_close(*(run(c.model, {"x": x})["x_relevance"] for c in (compiled, expected)))


def test_the_runtime_reads_no_such_file() -> None:
    """Else the names may stay."""
    with pytest.raises(Exception, match="replace the existing tensor"):
        run(named(NAMES[0]), {"x": np.zeros((2, 3, 4), np.float32)})


def test_a_renamed_tensor_is_found_by_its_name() -> None:
    body = f"{NAMES[3]} = Tanh(x) y = MatMul({NAMES[3]}, w)"
    model = network(body, (2, 4), w=(4, 4))
    compiled = lrp_onnx.compile(model, "epsilon", target="all", relevance_at=NAMES[3], check=False)
    assert len(compiled.model.graph.output) == 3
