"""Sound as the features that a configuration beside the model names, by transformers."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lrp_onnx.data.features import find_features, read_features, upright
from lrp_onnx.data.sound import read_sound
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

SPECTROGRAM = Wanted("mel", np.dtype(np.float32), (1, 4, None))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A model's folder with its configuration and a second of sound at half its rate."""
    place = tmp_path / "preprocessor_config.json"
    place.write_text('{"feature_extractor_type": "Bands", "sampling_rate": 16000}')
    soundfile.write(tmp_path / "a.wav", np.full((8000, 2), 0.5, np.float32), 8000)
    return place


class Bands:
    """Four equal bands of the mean of 160 samples, as a feature extractor gives them."""

    @classmethod
    def from_pretrained(cls, folder: Path, local_files_only: bool) -> Bands:
        assert local_files_only
        assert (folder / "preprocessor_config.json").is_file()
        return cls()

    def __call__(self, samples: Any, sampling_rate: int, return_tensors: str) -> dict[str, Any]:
        assert (sampling_rate, return_tensors) == (16000, "np")
        bands = samples.reshape(1, 1, -1, 160).mean(-1).repeat(4, 1)
        return {"attention_mask": np.ones((1, 100), np.int64), "input_features": bands}


def test_transformers_computes_a_spectrogram(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(AutoFeatureExtractor=Bands)
    monkeypatch.setitem(sys.modules, "transformers", module)
    assert find_features(config.parent / "model.onnx") == config
    assert find_features(config.parent / "onnx" / "model.onnx") == config
    features = read_features(str(config.parent / "a.wav"), SPECTROGRAM, config)
    assert features.samples.shape == (1, 4, 100)
    assert features.samples[0, :, 50] == pytest.approx(0.5, abs=0.01)
    image = Wanted("x", np.dtype(np.float32), (1, 3, 8, 8))
    with pytest.raises(InputError, match="and the model's input 'x' has 4 axes"):
        read_features(str(config.parent / "a.wav"), image, config)


def test_a_spectrogram_stands_upright() -> None:
    bands = np.arange(6.0).reshape(1, 2, 3)
    assert upright(bands).tolist() == [[[3, 4, 5], [0, 1, 2]]]
    assert upright(bands.transpose(0, 2, 1)).tolist() == upright(bands).tolist()


def test_bands_are_no_channels_of_sound(config: Path) -> None:
    wanted = Wanted("mel", np.dtype(np.float32), (1, 80, 3000))
    with pytest.raises(InputError, match=r"perhaps a spectrogram. Put the model's preproc"):
        read_sound(config.parent / "a.wav", wanted, 16000)


def test_what_is_missing_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install transformers"):
        read_features(str(config.parent / "a.wav"), SPECTROGRAM, config)
    config.write_text('{"image_mean": [0.5]}')
    assert find_features(config.parent / "model.onnx") is None
