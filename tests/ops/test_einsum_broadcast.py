"""Einsum takes one entry for many along an axis that it sums over, where only the run knows."""

from __future__ import annotations

import numpy as np
import pytest
from models import model_of, run
from onnx import helper

import lrp_onnx


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("method", ["gradient", "lrp"])
def test_relevance_has_the_shape_of_its_input(size: int, method: str) -> None:
    node = helper.make_node("Einsum", ["x", "other"], ["y"], equation="i,i", name="inner")
    model = model_of([node], {}, {"x": (5,), "other": (5,)}, symbolic=())
    dim = model.graph.input[1].type.tensor_type.shape.dim[0]
    dim.ClearField("dim_value")
    compiled = lrp_onnx.compile(model, method=method, check=False)
    x, other = np.arange(1, 6, dtype=np.float32), np.full(size, 2, np.float32)
    result = run(compiled.model, {"x": x, "other": other})
    assert result["other_relevance"].shape == (size,)
    if method == "gradient":
        np.testing.assert_allclose(result["other_relevance"].sum(), x.sum())
