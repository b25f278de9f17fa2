"""What tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import picture_net, write
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a model, a picture and an array."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx", picture_net())
    write(tmp_path / "soft.onnx", picture_net(channels=3, softmax=True))
    rng = np.random.default_rng(5)
    np.save(tmp_path / "x.npy", rng.standard_normal((2, 1, 8, 8)).astype(np.float32))
    Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(tmp_path / "photo.png")
    return tmp_path
