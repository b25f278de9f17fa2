"""Files that are read: none without an end, no text that fills the memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lrp_onnx
from lrp_onnx.graph import model_file, source_file
from lrp_onnx.graph.source_file import ordinary, text_of


@pytest.mark.skipif(os.name == "nt", reason="pipes have no such names there")
def test_a_pipe_is_read_where_a_shell_filled_it_and_refused_elsewhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (ordinary, text_of):
        with pytest.raises(OSError, match="a device or a pipe"):
            read(tmp_path / "pipe")
    out, into = os.pipe()
    os.write(into, b"cat\r\ndog\n")
    os.close(into)
    assert text_of(f"/dev/fd/{out}") == "cat\ndog\n"
    os.close(out)


def test_what_is_no_text_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latin.txt").write_bytes(b"Stra\xdfe")
    with pytest.raises(OSError, match="not UTF-8 text"):
        text_of(tmp_path / "latin.txt")
    monkeypatch.setattr(source_file, "LARGEST_TEXT", 4)
    with pytest.raises(OSError, match="which no such text has"):
        text_of(tmp_path / "latin.txt")


def test_a_model_beyond_what_protobuf_reads_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_bytes(bytes(20))
    monkeypatch.setattr(model_file, "LARGEST_PROTO", 20)
    with pytest.raises(lrp_onnx.ModelError, match="none is larger than 2 GB"):
        lrp_onnx.compile(tmp_path / "m.onnx")
