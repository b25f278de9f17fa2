"""Sound as the features that a model was trained with, a spectrogram for instance.

How many bands over which stretches in which unit only the model's authors know. Hugging Face keeps
it beside a model in `preprocessor_config.json`, and transformers computes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lrp_onnx.data.sound import Sound, resampled
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.source_file import text_of

__all__ = ["find_features", "read_features", "upright"]

NAME = "preprocessor_config.json"


def find_features(model: Path) -> Path | None:
    """What says how a model's sound is prepared, beside it or above its folder `onnx`; None where
    there is none, or it is of pictures.
    """
    folder = model.absolute().parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    for place in (part / NAME for part in folders):
        if place.is_file() and "sampling_rate" in _config(place):
            return place
    return None


def upright(spectrogram: Array) -> Array:
    """A spectrogram [N, bands, time] or [N, time, bands] as it is drawn: time, of which there is
    more, to the right, and low bands below.
    """
    _, rows, columns = spectrogram.shape
    turned = spectrogram.transpose(0, 2, 1) if rows > columns else spectrogram
    return turned[:, ::-1]


def _config(place: Path) -> dict[str, Any]:
    try:
        config = json.loads(text_of(place))
    except (OSError, ValueError) as error:
        raise InputError(f"'{place}': no JSON ({error}). Mend it, or move it away.") from error
    return config if isinstance(config, dict) else {}


def read_features(path: str, wanted: Wanted, config: Path) -> Sound:
    """The features of a sound file for an input, by the configuration.

    Raises InputError where the file cannot be read, transformers is not installed or refuses, or
    nothing of what it computes has the input's rank.
    """
    try:
        from transformers import AutoFeatureExtractor
    except ImportError as error:
        raise InputError(
            f"'{path}': '{config.name}' beside the model says how its sound is prepared, and "
            "transformers computes that, which is not installed. Install it: pip install "
            "transformers; or give what it would compute as .npy."
        ) from error
    rate = int(_config(config)["sampling_rate"])
    samples = resampled(path, 1, rate)[:, 0]
    try:
        extractor = AutoFeatureExtractor.from_pretrained(config.parent, local_files_only=True)
        computed = extractor(samples, sampling_rate=rate, return_tensors="np")
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        fact = " ".join(str(error).split())[:200]
        raise InputError(f"'{path}', by '{config}': {fact}. Give the features as .npy.") from error
    rank = len(wanted.shape)
    arrays: list[Array] = [np.asarray(value) for value in computed.values()]
    fitting = next((a for a in arrays if a.ndim == rank and a.dtype.kind == "f"), None)
    if fitting is None:
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise InputError(
            f"'{path}': by '{config}' the features have shape {shapes}, and the model's input "
            f"'{wanted.name}' has {rank} axes. Give them as .npy."
        )
    return Sound(fitting.astype(wanted.dtype), rate)
