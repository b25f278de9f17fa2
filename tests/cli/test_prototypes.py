"""`concepts --prototypes`: the groups into which the inputs of a class fall."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run_command, write
from models import network
from PIL import Image

from lrp_onnx.cli.prototypes import find_prototypes
from lrp_onnx.errors import InputError

Capture = pytest.CaptureFixture[str]
GIVEN = ["concepts", "model.onnx", "photos", "--at", "h", "--preprocess", "unit"]


def two_kinds(count: int) -> tuple[np.ndarray, list[Path]]:
    """Inputs of which each third speaks by channel 2, the others by channels 0 and 3."""
    rng = np.random.default_rng(0)
    sums = rng.normal(0, 0.02, (count, 5))
    for k in range(count):
        sums[k, [2] if k % 3 == 0 else [0, 3]] += 1
    return sums * 10 ** rng.uniform(-2, 2, (count, 1)), [Path(str(k)) for k in range(count)]


def test_two_groups_of_a_class_are_two_prototypes() -> None:
    sums, files = two_kinds(30)
    large, small = find_prototypes(sums, files, 2, 4)
    assert (large.share, small.share) == (20 / 30, 10 / 30)
    assert {channel for channel, _ in large.channels[:2]} == {0, 3}
    assert small.channels[0][0] == 2
    assert small.channels[0][1] > 0.8
    assert all(int(file.name) % 3 for file, _ in large.inputs)
    assert not any(int(file.name) % 3 for file, _ in small.inputs)
    for one in (large, small):
        distances = [distance for _, distance in one.inputs]
        assert distances == sorted(distances)
        assert len(distances) == 4
    assert small.described.startswith("33% of the inputs: channels 2 (")


def test_more_prototypes_than_inputs_are_refused() -> None:
    sums, files = two_kinds(3)
    with pytest.raises(InputError, match=r"3 of the inputs are predicted .* fewer --prototypes"):
        find_prototypes(sums, files, 4, 2)
    with pytest.raises(InputError, match="1 of them different"):
        find_prototypes(np.ones((5, 3)), files, 2, 2)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Red and green pictures of one class, blue ones of another: the channels are colors."""
    monkeypatch.chdir(tmp_path)
    text = "h = Conv(x, w)\na = Relu(h)\np = GlobalAveragePool(a)\nf = Flatten(p)\ny = Gemm(f, v)"
    w, v = np.eye(3, dtype=np.float32)[:, :, None, None], np.array([[9, 0], [9, 0], [0, 9.0]])
    write(tmp_path / "model.onnx", network(text, (1, 3, 8, 8), w=w, v=v.astype(np.float32)))
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(2)
    for k in range(12):
        pixels = rng.integers(0, 40, (8, 8, 3), np.uint8)
        pixels[2:6, 2:6, 2 if k > 8 else k % 3 // 2] += 150
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02}.png")
    return tmp_path


def height() -> int:
    """Of the picture, in pixels."""
    with Image.open("concepts.png") as image:
        return image.height


def test_the_inputs_of_a_class_are_grouped_and_drawn(photos: Path, capsys: Capture) -> None:
    done = run_command(capsys, *GIVEN, "--target", "0", "--prototypes", "2", "--json")
    assert (done.status, done.err) == (0, "")
    red, green = json.loads(done.out)["prototypes"]
    assert (red["share"], green["share"]) == (6 / 9, 3 / 9)  # without those of the other class
    assert (red["channels"][0]["channel"], green["channels"][0]["channel"]) == (0, 1)
    names = {Path(entry["file"]).stem for entry in green["inputs"]}
    assert names == {"02", "05", "08"}
    with_them = height()
    assert run_command(capsys, *GIVEN, "--target", "0").status == 0
    assert with_them > height() + 400
    shown = run_command(capsys, *GIVEN, "--target", "0", "--prototypes", "2").out
    assert "class        class 0: 9 of 12 inputs are predicted as it" in shown
    assert "prototype 1  67% of the inputs: channels 0 (" in shown


def test_prototypes_are_those_of_one_class(photos: Path, capsys: Capture) -> None:
    done = run_command(capsys, *GIVEN, "--prototypes", "2")
    assert (done.status, done.out) == (2, "")
    assert "Name it with --target" in done.err
