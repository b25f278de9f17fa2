"""Files that are damaged in ways that only a mutation finds: each is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.labels import load_labels
from lrp_onnx.data.picture import open_picture
from lrp_onnx.data.preprocess import load_preprocess
from lrp_onnx.data.sound import rate_of, read_sound
from lrp_onnx.data.table import read_table
from lrp_onnx.data.text import Tokenizer
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

HEADER = b"\x93NUMPY\x01\x00v\x00"
ROWS = [Wanted("x", np.dtype(np.float32), ("N", 2))]
WHOLE = [Wanted("x", np.dtype(np.int64), ("N", 2))]
WITHOUT_UNKNOWN = json.dumps(
    {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
     "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
     "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 100, "vocab": {"a": 0}}}
)  # fmt: skip


def _array(file: Path) -> object:
    return load_input(file, [1, 4], np.dtype(np.float32))


def _picture(file: Path) -> object:
    return open_picture(file, 3)


def _tiff(value: float, dtype: type, **kwargs: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((4, 4), value, dtype)).save(file, "TIFF", **kwargs)
    return file.getvalue()


CASES: dict[str, tuple[str, bytes, Callable[[Path], object], str]] = {
    "a header without end": ("a.npy", HEADER + b"{'d': (1,".ljust(118), _array, "damaged"),
    "labels at infinity": ("a.json", b'[{"id": Infinity, "name": "x"}]', load_labels, "infinity"),
    "labels in 9,000 lists": ("a.json", b"[" * 9000 + b"]" * 9000, load_labels, "recursion"),
    "a number of 9,000 digits": (
        "a.toml", b"scale = 0x" + b"f" * 9000, load_preprocess, "hundreds of digits",
    ),
    "9,000 lists": ("a.toml", b"a = " + b"[" * 9000 + b"]" * 9000, load_preprocess, "too deep"),
    "a column of 400 digits": (
        "a.csv", b"1,2\n3," + b"9" * 400 + b"\n", lambda f: read_table(f, ROWS), "column 2",
    ),
    "pixels of 32 bits": ("a.tif", _tiff(70000, np.int32), _picture, "no fixed range"),
    "two pages": (
        "a.tif",
        _tiff(7, np.uint8, save_all=True, append_images=[Image.new("L", (4, 4))]),
        _picture, "holds 2 pictures",
    ),
    "a column beyond float32": ("a.csv", b"1,1e200\n", lambda f: read_table(f, ROWS), "too large"),
    "a fraction for an id": ("a.csv", b"1,2.5\n", lambda f: read_table(f, WHOLE), "2.5 is none of"),
    "no rows of Parquet": ("a.parquet", b"PAR1PAR1", lambda f: read_table(f, ROWS), "table"),
    "a tokenizer without [UNK]": (
        "tokenizer.json", WITHOUT_UNKNOWN.encode(),
        lambda f: Tokenizer(f)("a cat", [Wanted("ids", np.dtype(np.int64), (1, 4))]), "UNK",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_damaged(case: str, tmp_path: Path) -> None:
    name, content, read, words = CASES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as refusal:
        read(tmp_path / name)
    assert len(str(refusal.value)) <= 600


def test_sound_at_an_odd_rate_is_resampled_soon(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", np.ones(4000, np.float32), 655_357)
    wanted = Wanted("x", np.dtype(np.float32), (1, 97))
    sound = read_sound(tmp_path / "a.wav", wanted, 16000)
    assert abs(sound.samples[0, 40:60] - 1).max() < 0.01


@pytest.mark.parametrize("named", ["9" * 400, "²", ".", "0", "-1"])
def test_a_rate_that_is_none(named: str) -> None:
    assert rate_of({"sample_rate": named}) is None
