"""Sparse initializers: the same as their dense forms."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run
from onnx import helper, numpy_helper

import lrp_onnx
from lrp_onnx import ModelError

W = np.zeros((6, 3), np.float32)
W[[0, 2, 5, 5], [1, 0, 1, 2]] = [1.5, -2, 0.5, 3]
DENSE = network("h = MatMul(x, w)\n t = Tanh(h)\n y = MatMul(t, v)", (2, 6), w=W, v=(3, 2))


def sparse(model: onnx.ModelProto, linear: bool) -> onnx.ModelProto:
    """The model with `w` stored sparsely."""
    other = onnx.ModelProto.FromString(model.SerializeToString())
    (w,) = (t for t in other.graph.initializer if t.name == "w")
    other.graph.initializer.remove(w)
    places = np.flatnonzero(W) if linear else np.argwhere(W)
    values = numpy_helper.from_array(W[W != 0], "w")
    indices = numpy_helper.from_array(places.astype(np.int64))
    other.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, W.shape))
    return other


@pytest.mark.parametrize("method", ["lrp", "gradient", "integrated-gradients"])
@pytest.mark.parametrize("linear", [True, False])
def test_a_sparse_weight(linear: bool, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    results = []
    for model in (DENSE, sparse(DENSE, linear)):
        compiled = lrp_onnx.compile(model, method=method, target=1)
        assert not [text for text in compiled.warnings if "forward" in text]
        results.append(run(compiled.model, {"x": x}))
    for name in ("y", "x_relevance"):
        assert_close(results[0][name], results[1][name])
    assert capfd.readouterr() == ("", "")


def test_what_is_damaged_or_too_large_is_said() -> None:
    damaged, large = sparse(DENSE, True), sparse(DENSE, True)
    places = numpy_helper.from_array(np.array([1, 6, 16, 99]))
    damaged.graph.sparse_initializer[0].indices.CopyFrom(places)
    large.graph.sparse_initializer[0].dims[:] = [1 << 20, 1 << 20]
    for model, fact in ((damaged, "damaged"), (large, "too large")):
        with pytest.raises(ModelError, match=f"sparse weight 'w'.*{fact}"):
            lrp_onnx.compile(model)
