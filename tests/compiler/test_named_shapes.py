"""The shapes that the file names are those of the run, whatever the sizes are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network, run

import lrp_onnx

MODEL = network(
    "z = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b) s = Sigmoid(z) h = Mul(z, s) "
    "g = Conv<pads=[1,1,1,1], group=4>(h, v) r = Relu(g) "
    "p = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(r) "
    "k = Conv(p, q) a = Add(k, p) m = GlobalAveragePool(a) f = Flatten(m) "
    "l = Gemm<transB=1>(f, u, c) y = Softmax(l)",
    (1, 2, 8, 8), symbolic=(0, 2, 3),
    w=(8, 2, 3, 3), b=(8,), v=(8, 2, 3, 3), q=(8, 8, 1, 1), u=(5, 8), c=(5,),
)  # fmt: skip
BOX = {"low": -1.0, "high": 1.0}
COMPOSITES = {
    "epsilon": {},
    "epsilon-plus-flat": {},
    "epsilon-gamma-box": BOX,
    "alpha2-beta1": {},
    "wsquare": {},
}
SIZES = [(1, 2, 8, 8), (3, 2, 9, 14), (2, 2, 12, 7)]


def named(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """The shape of each tensor between that has one."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
        if value.name not in weights
    }


def check(model: onnx.ModelProto, size: tuple[int, ...]) -> None:
    """Every tensor has the named shape, and sizes of one name are one size."""
    shapes, infos = named(model), {v.name: v for v in model.graph.value_info}
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    outputs = {v.name for v in wide.graph.output}
    wide.graph.output.extend(infos[name] for name in shapes if name not in outputs)
    x = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    bound: dict[str, int] = {}
    for name, array in run(wide, {"x": x}).items():
        for told, real in zip(shapes.get(name, array.shape), array.shape, strict=True):
            assert real == (bound.setdefault(told, real) if isinstance(told, str) else told), name


@pytest.mark.parametrize("composite", COMPOSITES)
def test_they_are_those_of_the_run(composite: str) -> None:
    model = lrp_onnx.compile(MODEL, composite, parameters=COMPOSITES[composite]).model
    emitted = [name for name in named(model) if name.startswith("lrp")]
    assert len(emitted) > len(model.graph.node) / 3
    for size in SIZES:
        check(model, size)


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient"])
def test_those_of_gradients_too(method: str) -> None:
    model = lrp_onnx.compile(MODEL, method=method).model
    for size in SIZES:
        check(model, size)


def test_those_around_a_scan_too() -> None:
    gru = network(
        "h, last = GRU<hidden_size=3>(x, w, r) s = Squeeze(h, a) q = Relu(s) y = MatMul(q, v)",
        (4, 2, 5), symbolic=(), w=(1, 9, 5), r=(1, 9, 3), v=(3, 2), a=np.array([1]),
    )  # fmt: skip
    model = lrp_onnx.compile(gru, "epsilon").model
    assert "Scan" in {node.op_type for node in model.graph.node}
    assert named(model)
    check(model, (4, 2, 5))


def test_none_is_named_where_a_mask_may_be_for_more_samples() -> None:
    assert not named(lrp_onnx.compile(MODEL, conditions=["r"]).model)
