"""What is computed in a process of its own is computed as here."""

from pathlib import Path

import pytest

from lrp_onnx.graph.limits import Budget, limited


def test_a_path_is_relative_to_where_this_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(60.0, 10**9, 0)
    for name in ("first", "second"):  # in one process
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        assert limited(budget, "reading", Path.read_text, Path("file")) == name
