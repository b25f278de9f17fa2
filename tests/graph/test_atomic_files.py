"""Files are written all or nothing, alone and together."""

import stat

import pytest

from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic, atomic_group


def test_written_together(tmp_path):
    names = [tmp_path / "m.data", tmp_path / "m.onnx"]
    with atomic_group(*names) as (data, model):
        data.write_text("weights")
        model.write_text(f"see {data.name}")
        assert (data.name, data.parent) == ("m.data", model.parent)
        assert not names[0].exists()
    assert [name.read_text() for name in names] == ["weights", "see m.data"]
    assert sorted(tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interruption_changes_nothing(tmp_path, error):
    old = tmp_path / "a.png"
    old.write_text("old")

    def write():
        with atomic_group(tmp_path / "a.data", old) as (data, temporary):
            data.write_text("half")
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert old.read_text() == "old"


def test_permissions_and_links_are_the_usual_ones(tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to("real")
    for name in ("new", "link"):
        with atomic(tmp_path / name) as temporary:
            temporary.write_text("new")
    mode = stat.S_IMODE((tmp_path / "new").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_full_disk_is_an_output_error_and_other_errors_stay_themselves(tmp_path):
    def write(error):
        with atomic(tmp_path / "a.onnx"):
            raise error

    with pytest.raises(OutputError, match="No space left"):
        write(OSError(28, "No space left on device"))
    with pytest.raises(FileNotFoundError):
        write(FileNotFoundError(2, "No such file", "/elsewhere"))


def test_files_written_together_share_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    with (
        pytest.raises(ValueError, match="share a folder"),
        atomic_group(tmp_path / "a", tmp_path / "b" / "c"),
    ):
        pass
