"""Many threads compile, and explain by one Explainer, at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from models import network

import lrp_onnx
from lrp_onnx import Explainer

THREADS = 16
MODEL = network("c = Conv(x, w) r = Relu(c) f = Flatten(r) y = MatMul(f, v)",
                ("N", 1, 6, 6), w=(3, 1, 3, 3), v=(48, 4))  # fmt: skip


def test_threads_share_an_explainer():
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, 1, 6, 6)).astype(np.float32) for _ in range(THREADS * 8)]
    explainer = Explainer(lrp_onnx.compile(MODEL, "epsilon"))
    alone = [explainer(x).relevance["x"] for x in inputs]
    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(lambda x: explainer(x).relevance["x"], inputs))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_threads_compile_at_the_same_time():
    composites = ["epsilon", "epsilon-plus", "epsilon-alpha2-beta1", "zplus"] * (THREADS // 4)

    def compiled(composite: str) -> bytes:
        model = lrp_onnx.compile(MODEL, composite, check=False).model
        return model.SerializeToString(deterministic=True)

    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(compiled, composites))
    assert together == [compiled(composite) for composite in composites]
