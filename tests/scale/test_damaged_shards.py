"""A file that is damaged costs its row, which names it and says what to do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_worker import X, job_of, rows_of

from lrp_onnx.data.preprocess import PRESETS


def _npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


DAMAGED = {
    "objects.npz": (_npz(**{"image.npy": _npy(np.array([None]))}), "not an array file, or a"),
    "ends.npz": (_npz(**{"image.npy": _npy(X)})[:-40], "not an array file, or a damaged one"),
    "below.npz": (_npz(**{"image.npy": _npy(X).replace(b"(10, 1", b"(-1, 1")}), "not an array"),
    "nothing.npz": (_npz(), "it holds nothing. Write"),
    "scalar.npz": (_npz(**{"image.npy": _npy(np.float32(3))}), "'image' has no axis of samples"),
    "version.npy": (b"\x93NUMPY\xff\xff" + bytes(99), "not an array file, or a damaged one"),
    "call.npy": (_npy(X).replace(b"(10, 1, 8, 8)", b"(len('aa'),)"), "not an array file, or a"),
    "quote.csv": (b'a,b,c\n1,"2,3\n4,5,6\n', "Expected 3 columns, got 2"),
    "latin.csv": ("ä,b,c\n1,2,3\n".encode("latin-1"), "no table of text in UTF-8"),
    "magic.parquet": (b"PAR1" + bytes(99) + b"PAR1", "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_in_its_row(name: str, tmp_path: Path) -> None:
    data, fact = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    (row,) = rows_of(job_of(tmp_path, preprocess=PRESETS["unit"]), tmp_path / name)
    assert row["error"].startswith(f"'{tmp_path / name}'")
    assert fact in row["error"]
    assert row["error"].endswith(".")
    assert "\n" not in row["error"]
