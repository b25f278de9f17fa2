"""AffineGrid as the product that it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.expand.build import Build, attribute
from lrp_onnx.expand.registry import expands

__all__: list[str] = []


@expands("AffineGrid")
def affine_grid(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """[x, y, 1] · thetaᵀ at every position of the grid.

    theta: (N, n, n + 1)    size: (N, C, *size), n of them    ->    (N, *size, n).
    Spec: ONNX AffineGrid-20.
    """
    theta, size = node.inputs
    if theta is None or theta.dtype is None or size is None or size.const_value is None:
        raise UnsupportedError("the size of its grid is computed. Export the model with that size")
    sizes = [int(n) for n in size.const_value.numpy()[2:]]
    corners = bool(attribute(node, "align_corners", 0))
    axes = [_coordinates(n, corners) for n in sizes]
    places = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(sizes)], -1)
    rows = build.constant(places.reshape(-1, len(sizes) + 1), theta.dtype)
    product = build.op("MatMul", rows, build.op("Transpose", theta, perm=[0, 2, 1]))
    return [build.op("Reshape", product, build.ints(0, *sizes, len(sizes)))]


def _coordinates(count: int, corners: bool) -> NDArray[np.float64]:
    """From -1 to 1, at the corners of the first and last cell or in the middle of each."""
    if corners:
        return np.linspace(-1, 1, count)
    return (2 * np.arange(count) + 1) / count - 1
