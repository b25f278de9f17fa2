"""The transpose of a convolution over its input, however it is emitted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import model_of
from onnx import helper
from test_factored import agree, compiled

GEOMETRIES = {
    "3x3, padded": ((8, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "odd size": ((7, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "last row not read": ((8, 8), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "several rows not read": ((8, 6), {"kernel_shape": [1, 2], "strides": [2, 1]}),
    "5x5, more on one side": (
        (8, 7), {"kernel_shape": [5, 5], "strides": [2, 2], "pads": [1, 2, 2, 3]},
    ),
    "1x1": ((6, 5), {"kernel_shape": [1, 1], "strides": [2, 2]}),
    "1x1, padded": ((6, 5), {"kernel_shape": [1, 1], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "7x7": ((9, 8), {"kernel_shape": [7, 7], "strides": [2, 2], "pads": [3, 3, 3, 3]}),
    "7x7, more on one side": (
        (15, 13), {"kernel_shape": [7, 6], "strides": [2, 2], "pads": [1, 3, 2, 0]},
    ),
    "7x7, rows not read": ((17, 19), {"kernel_shape": [7, 7], "strides": [3, 3]}),
    "11x11": ((31, 23), {"kernel_shape": [11, 11], "strides": [4, 4], "pads": [2, 2, 2, 2]}),
    "one axis": ((6, 6), {"kernel_shape": [3, 3], "strides": [1, 2], "pads": [1, 1, 1, 1]}),
    "line": ((9,), {"kernel_shape": [4], "strides": [2], "pads": [1, 2]}),
    "volume": ((4, 5, 6), {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6}),
    "padded by more than the kernel": (
        (5, 5), {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [3, 3, 3, 3]},
    ),
}  # fmt: skip
"""Sizes of the input, attributes."""
GROUPS = {
    "dense": (8, 8, 1),
    "picture": (3, 8, 1),
    "groups": (8, 12, 4),
    "depthwise": (8, 8, 8),
    "twice": (8, 16, 8),
}
"""Input and output channels, groups."""


def layer(geometry: str, group: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Two convolutions, the second one strided; a batch of 2."""
    (sizes, attributes), (c, m, groups) = GEOMETRIES[geometry], GROUPS[group]
    rng = np.random.default_rng(0)
    weights = {"v": (c, 3, *[1] * len(sizes)), "w": (m, c // groups, *attributes["kernel_shape"])}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], "a"),
        helper.make_node("Conv", ["a", "w"], ["z"], "z", group=groups, **attributes),
        helper.make_node("Relu", ["z"], ["r"], "r"),
        helper.make_node("GlobalAveragePool", ["r"], ["y"], "y"),
    ]
    constants = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in weights.items()}
    x = rng.standard_normal((2, 3, *sizes)).astype(np.float32)
    return model_of(nodes, constants, {"x": x.shape}, (0,)), {"x": x}


@pytest.mark.parametrize("composite", ["gradient", "alpha2-beta1"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_transpose_is_that_of_conv_transpose(geometry: str, group: str, composite: str) -> None:
    model, feeds = layer(geometry, group)
    agree(model, feeds, composite)


def emitted(geometry: str, group: str) -> list[str]:
    """The operators of the strided convolution's backward pass."""
    model, _ = layer(geometry, group)
    optimized, _ = compiled(model, "gradient", {})
    return [n.op_type for n in optimized.graph.node if n.name.startswith("lrp/z/")]


@pytest.mark.parametrize("geometry", ["7x7", "7x7, more on one side", "11x11"])
def test_of_few_channels_one_convolution_computes_squares(geometry: str) -> None:
    wide, narrow = emitted(geometry, "picture"), emitted("3x3, padded", "picture")
    assert [wide.count(op) for op in ("Conv", "DepthToSpace", "ConvTranspose")] == [1, 1, 0]
    assert [narrow.count(op) for op in ("Conv", "DepthToSpace", "ConvTranspose")] == [0, 0, 1]


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "picture"])
def test_a_stride_is_taken_apart_into_phases(group: str) -> None:
    model, _ = layer("3x3, padded", group)
    optimized, plain = (
        [n.op_type for n in each.graph.node if n.name.startswith("lrp/z/")]
        for each in compiled(model, "gradient", {})
    )
    assert (optimized.count("ConvTranspose"), plain.count("ConvTranspose")) == (0, 1)
    assert optimized.count("Conv") == 4


def test_cuda_keeps_the_transpose() -> None:
    model, _ = layer("3x3, padded", "dense")
    for_cuda, _ = compiled(model, "gradient", {}, runtime="cuda")
    assert [n.op_type for n in for_cuda.graph.node].count("ConvTranspose") == 2
