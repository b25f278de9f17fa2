"""Around recurrent layers samples lie along other axes; points are taken together all the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx.gradients import mean_gradient

WEIGHTS = {
    "wx": (1, 12, 4), "wh": (1, 12, 3), "w2": (2, 12, 4), "r2": (2, 12, 3), "gx": (1, 9, 4),
    "gh": (1, 9, 3), "wo": (3, 2), "first": [0], "second": [1], "zero": 0, "last": [-1],
    "turned": [-1], "most": [2**31 - 1], "least": [-(2**31)], "wide": [0, 0, -1],
}  # fmt: skip
TURN = "t = Transpose<perm=[1,0,2]>(x)\n "
LSTM = "h = LSTM<hidden_size=3>(t, wx, wh)\n "
BACK = "s = Squeeze(h, second)\n b = Transpose<perm=[1,0,2]>(s)\n "
APART = {
    "LSTM": TURN + LSTM + BACK + "y = ReduceSum<keepdims=0>(b, second)",
    "GRU": TURN + "h = GRU<hidden_size=3>(t, gx, gh)\n " + BACK + "y = MatMul(b, wo)",
    "both ways": TURN + 'h = LSTM<hidden_size=3, direction="bidirectional">(t, w2, r2)\n'
    "q = Transpose<perm=[2,0,1,3]>(h)\n r = Reshape(q, wide)\n y = Tanh(r)",
    "the last step": TURN + LSTM + "s = Squeeze(h, second)\n l = Gather(s, last)\n"
    "y = Squeeze(l, first)",
    "the state at the end": TURN + "h, e = LSTM<hidden_size=3>(t, wx, wh)\n y = Squeeze(e, first)",
    "normalized": TURN + LSTM + "s = Squeeze(h, second)\n n = Softmax<axis=-1>(s)\n"
    "b = Transpose<perm=[1,0,2]>(n)\n y = ReduceSum<keepdims=0>(b, second)",
}  # fmt: skip
MIXING = {
    "softmax over samples": TURN + LSTM + "s = Squeeze(h, second)\n n = Softmax<axis=1>(s)\n"
    "b = Transpose<perm=[1,0,2]>(n)\n y = ReduceSum<keepdims=0>(b, second)",
    "samples as steps": "h = LSTM<hidden_size=3>(x, wx, wh)\n s = Squeeze(h, second)\n"
    "y = ReduceSum<keepdims=0>(s, second)",
    "samples turned": TURN + LSTM + "s = Squeeze(h, second)\n"
    "r = Slice(s, turned, least, second, turned)\n p = Mul(s, r)\n"
    "b = Transpose<perm=[1,0,2]>(p)\n y = ReduceSum<keepdims=0>(b, second)",
}  # fmt: skip
X = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(np.float32)
OPTIONS = {"method": "integrated-gradients", "steps": 6, "target": "seed"}


def made(body: str, open_axes: tuple[int, ...] = (0,)) -> onnx.ModelProto:
    read = {part.strip("() ,\n") for part in body.replace("(", " ").replace(",", " ").split()}
    return network(body, X.shape, open_axes, **{k: v for k, v in WEIGHTS.items() if k in read})


def scans(model: onnx.ModelProto) -> bool:
    """Whether points are taken one after the other: a Scan that has another in it."""
    bodies = [
        a.g for n in model.graph.node if n.op_type == "Scan" for a in n.attribute if a.HasField("g")
    ]
    return any(node.op_type == "Scan" for body in bodies for node in body.node)


def relevance(model: onnx.ModelProto, x: np.ndarray, seed: np.ndarray) -> np.ndarray:
    return run(model, {"x": x, "y_seed": seed})["x_relevance"]


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("open_axes", [(0,), (0, 1)], ids=["steps known", "any steps"])
def test_points_are_taken_together(
    name: str, open_axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(APART[name], open_axes)
    compiled = lrp_onnx.compile(model, **OPTIONS).model
    assert not scans(compiled)
    seed = np.random.default_rng(4).standard_normal(run(model, {"x": X})["y"].shape)
    seed = seed.astype(np.float32)
    monkeypatch.setattr(mean_gradient, "at_once", lambda path: None)
    one_by_one = lrp_onnx.compile(model, **OPTIONS).model
    assert scans(one_by_one)
    together = relevance(compiled, X, seed)
    for k in range(len(X)):
        assert_close(together[k], relevance(one_by_one, X[k : k + 1], seed[k : k + 1])[0])


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_them_is_taken_point_by_point(name: str) -> None:
    assert scans(lrp_onnx.compile(made(MIXING[name]), class_axis=1, **OPTIONS).model)
