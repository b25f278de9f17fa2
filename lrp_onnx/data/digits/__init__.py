"""The bundled digit network and a dozen digits that it has not seen; ORIGIN.md says whence."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]


def load() -> tuple[bytes, NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the ONNX model's bytes, the digits and their labels.

    The model takes `image`, float32 [N,1,28,28] in 0..1 (ink 1), and gives `logits` [N,10]. The
    digits are uint8 [12,28,28] in 0..255, the labels uint8 [12].
    """
    folder = files(__name__)
    with folder.joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        return folder.joinpath("digits.onnx").read_bytes(), arrays["images"], arrays["labels"]
