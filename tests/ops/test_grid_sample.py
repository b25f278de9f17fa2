"""GridSample that takes the nearest element, halfway between two: as the runtime rounds."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_close, network, run

import lrp_onnx


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("size", [2, 3, 5, 6, 7])
def test_nearest_at_halves(size: int, aligned: int, padding: str, rank: int) -> None:
    halves = np.arange(-0.5, size, 0.5, dtype=np.float32)
    ends = (size - 1) / 2 if aligned else size / 2
    at = ((halves + (0 if aligned else 0.5)) / ends - 1).astype(np.float32)
    grid = np.stack(np.meshgrid(*[at] * rank, indexing="ij"), -1)[None]
    model = network(
        f'y = GridSample<mode="nearest", align_corners={aligned}, padding_mode="{padding}">(x, g)',
        (1, 1, *[size] * rank), (), g=grid,
    )  # fmt: skip
    model.opset_import[0].version = 20
    compiled = lrp_onnx.compile(model, method="gradient", target="seed", check=False)
    places = np.arange(1.0, size**rank + 1, dtype=np.float32).reshape(1, 1, *[size] * rank)
    read = run(model, {"x": places})["y"].astype(int).ravel()
    seed = np.random.default_rng(0).standard_normal(grid.shape[:-1]).astype(np.float32)[None]
    found = run(compiled.model, {"x": places, "y_seed": seed})["x_relevance"].ravel()
    expected = np.bincount(read, seed.ravel(), size**rank + 1)[1:]
    assert_close(found, expected)
