"""Networks of random layers that fit behind each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from models import model_of
from onnx import helper

Array = np.ndarray


class Random:
    """A directed graph of layers, drawn: nodes read the last tensor or one long before it."""

    def __init__(self, seed: int, dtype: str = "float32") -> None:
        self.rng, self.dtype = np.random.default_rng(seed), np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        dense = dtype == "float64"  # the runtime has no Conv of doubles
        sizes = self.rng.integers(3, 7, 2)
        self.shape = (2, 5) if dense else (2, self.pick(3, 8), *map(int, sizes))
        self.tensors: list[tuple[str, tuple[int, ...]]] = [("x", self.shape)]
        while len(self.tensors) < 8:
            back = 1 if self.rng.random() < 0.75 else int(self.rng.integers(len(self.tensors))) + 1
            name, shape = self.tensors[-back]
            self.pick(*(DOUBLES if dense else DENSE if len(shape) == 2 else IMAGE))(
                self, name, shape
            )
        name, shape = self.tensors[-1]
        if len(shape) > 2:
            name, shape = self.node("GlobalAveragePool", [name], (*shape[:2], 1, 1))
            name, shape = self.node("Flatten", [name], shape[:2])
        gemm(self, name, shape)

    def pick(self, *choices: object) -> object:
        return choices[self.rng.integers(len(choices))]

    def node(
        self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: object
    ) -> tuple[str, tuple[int, ...]]:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self.tensors.append((name, shape))
        return name, shape

    def constant(self, a: object) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(a)
        self.constants[name] = array if array.dtype.kind == "i" else array.astype(self.dtype)
        return name

    def weight(self, *shape: int) -> str:
        """Of both signs, of one, sparse, or with outputs that nothing reaches."""
        w = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        rows = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        sparse = w * (self.rng.random(shape) < 0.3)
        drawn = (w, w, np.abs(w), -np.abs(w), sparse, w * (rows % 3 != 0))
        return self.constant(drawn[self.rng.integers(len(drawn))])

    def bias(self, n: int) -> list[str]:
        b = self.rng.standard_normal(n)
        drawn = (b, 0 * b, np.abs(b), -np.abs(b), 0.1 * b, None, None)
        chosen = drawn[self.rng.integers(len(drawn))]
        return [] if chosen is None else [self.constant(chosen)]

    def model(self) -> onnx.ModelProto:
        symbolic = self.pick((), (0,), tuple(k for k in range(len(self.shape)) if k != 1))
        return model_of(
            self.nodes, self.constants, {"x": self.shape}, symbolic, output=self.tensors[-1][0],
            dtype=self.dtype,
        )  # fmt: skip

    def feeds(self) -> dict[str, Array]:
        x = self.rng.standard_normal(self.shape)
        drawn = (x, x, np.abs(x), np.round(x), 10 * x, np.zeros_like(x), np.ones_like(x))
        return {"x": drawn[self.rng.integers(len(drawn))].astype(self.dtype)}


def conv(net: Random, x: str, shape: tuple[int, ...]) -> None:
    _, c, *sizes = shape
    group = net.pick(1, 1, c, 2 if c % 2 == 0 else 1)
    m = group * net.pick(1, 2, 3, 8 // group or 1)  # 8 channels and more: transposes are turned
    k, t, d = (net.rng.integers(1, top, 2) for top in (4, 3, 3))
    pads = net.rng.integers(0, 3, 4)
    out = (np.array(sizes) + pads[:2] + pads[2:] - d * (k - 1) - 1) // t + 1
    if out.min() >= 1 and out.max() < 9:
        operands = [x, net.weight(m, c // group, *k), *net.bias(m)]
        attributes = {"strides": t, "dilations": d, "pads": pads}
        plain = {key: list(map(int, v)) for key, v in attributes.items()}
        net.node("Conv", operands, (2, m, *map(int, out)), group=group, **plain)


def conv_transpose(net: Random, x: str, shape: tuple[int, ...]) -> None:
    _, c, *sizes = shape
    group, t = net.pick(1, c), int(net.rng.integers(1, 3))
    m = group * int(net.rng.integers(1, 3))
    out = [(n - 1) * t + 2 for n in sizes]
    if max(out) < 9:
        operands = [x, net.weight(c, m // group, 2, 2), *net.bias(m)]
        net.node("ConvTranspose", operands, (2, m, *out), strides=[t, t], group=group)


def gemm(net: Random, x: str, shape: tuple[int, ...]) -> None:
    m = net.pick(2, 3, 5, 40)
    operands = [x, net.weight(m, shape[1]), *net.bias(m)]
    net.node("Gemm", operands, (2, m), transB=1)


def matmul(net: Random, x: str, shape: tuple[int, ...]) -> None:
    m = int(net.rng.integers(2, 6))
    name, shape = net.node("MatMul", [x, net.weight(shape[-1], m)], (*shape[:-1], m))
    for b in net.bias(m):
        net.node("Add", [name, b], shape)


def pool(net: Random, x: str, shape: tuple[int, ...]) -> None:
    if min(shape[2:]) > 2:
        k, t = int(net.rng.integers(2, 4)), int(net.rng.integers(1, 3))
        out = [(n - k) // t + 1 for n in shape[2:]]
        op = net.pick("MaxPool", "AveragePool")
        net.node(op, [x], (*shape[:2], *out), kernel_shape=[k, k], strides=[t, t])


def clip(net: Random, x: str, shape: tuple[int, ...]) -> None:
    low, high = net.pick((0.0, 6.0), (0.0, 1.0), (-1.0, 1.0), (0.0, None), (None, 1.0), (0.0, -0.5))
    bounds = ["" if v is None else net.constant(v) for v in (low, high)]
    net.node("Clip", [x, *bounds], shape)


def pair(net: Random, x: str, shape: tuple[int, ...]) -> None:
    alike = [name for name, other in net.tensors if other == shape]
    op = net.pick("Add", "Sub", "Mul", *["Concat"] * (shape[1] < 9))
    if op == "Concat":
        net.node(op, [x, net.pick(*alike)], (shape[0], 2 * shape[1], *shape[2:]), axis=1)
    else:
        net.node(op, [x, net.pick(*alike)], shape)


def activation(*names: str) -> Callable[[Random, str, tuple[int, ...]], None]:
    return lambda net, x, shape: void(net.node(net.pick(*names), [x], shape))


def void(_: object) -> None:
    """Drawing a node returns nothing."""


def batch_norm(net: Random, x: str, shape: tuple[int, ...]) -> None:
    drawn = [net.rng.standard_normal(shape[1]) for _ in range(4)]
    drawn[3] = np.abs(drawn[3]) + 0.1
    net.node("BatchNormalization", [x, *map(net.constant, drawn)], shape)


def transpose(net: Random, x: str, shape: tuple[int, ...]) -> None:
    net.node("Transpose", [x], (*shape[:2], *shape[:1:-1]), perm=[0, 1, 3, 2])


RELU = activation("Relu")
OTHERS = activation("LeakyRelu", "Sigmoid", "Identity")
IMAGE = (conv, conv, conv, RELU, RELU, clip, conv_transpose, pool, pair, batch_norm, transpose,
         matmul, OTHERS)  # fmt: skip


DENSE = (gemm, gemm, matmul, RELU, RELU, clip, pair, OTHERS)
DOUBLES = (gemm, gemm, matmul, RELU, RELU, pair, OTHERS)
"""Without Clip: the runtime's fusion of Relu and Clip fails on doubles."""
