"""300 compilations and 20,000 explanations take no more memory at the end than on the way.

The first third is left to caches and allocators, and garbage is looked for before each measurement
of calls; compilations may leave as much as they say.  After it the process may grow by MOST, which
200 graphs of 800 KB or 13,000 explanations of 2 KB exceed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "support"))

import lrp_onnx
from lrp_onnx import Explainer
from lrp_onnx.data import digits

MOST = 24 << 20
"""Bytes."""


def resident() -> int:
    """The memory that the process holds, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def grown(times: int, work: Callable[[], object]) -> int:
    """By how many bytes the last two thirds of so many calls grew the process."""
    for _ in range(times // 3):
        work()
    before = resident()
    for _ in range(times - times // 3):
        work()
    return resident() - before


def main() -> int:
    """0 if nothing grows."""
    model, pictures, _ = digits.load()
    explainer = Explainer(lrp_onnx.compile(model))
    x = pictures[:1].reshape(1, 1, 28, 28).astype(np.float32) / 255
    by = {
        "300 compilations": grown(300, lambda: lrp_onnx.compile(model)),
        "20,000 explanations": grown(20_000, lambda: explainer(x)),
    }
    for what, size in by.items():
        print(f"{what}: {size / 1e6:+.1f} MB after the first third")
    return int(max(by.values()) > MOST)


if __name__ == "__main__":
    sys.exit(main())
