"""`concepts`: the channels with the most relevance and the inputs that maximize it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import picture_net, run_command, write
from PIL import Image

import lrp_onnx
from lrp_onnx.cli import concepts

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of pictures and a folder of five, one of them broken."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx", picture_net(channels=3))
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(4)
    for k in range(4):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    return tmp_path


GIVEN = ["concepts", "model.onnx", "photos", "--at", "h", "--preprocess", "unit"]


def test_channels_and_inputs_are_ranked_by_relevance(photos: Path, capsys: Capture) -> None:
    shown = run_command(capsys, *GIVEN, "--channels", "2", "--examples", "3", "--json")
    assert (shown.status, shown.err) == (0, "")
    told = json.loads(shown.out)
    explainer = lrp_onnx.Explainer(lrp_onnx.compile("model.onnx", relevance_at="h"))
    sums = []
    for k in range(4):
        x = np.asarray(Image.open(f"photos/{k}.png"), np.float32).transpose(2, 0, 1)[None] / 255
        sums.append(explainer(x).relevance["h"].sum((0, 2, 3)))
    sums = np.array(sums)
    best = np.argsort(-np.abs(sums).sum(0))[:2]
    assert [one["channel"] for one in told["concepts"]] == best.tolist()
    for one, channel in zip(told["concepts"], best, strict=True):
        order = [k for k in np.argsort(-sums[:, channel])[:3] if sums[k, channel] > 0]
        assert [entry["file"] for entry in one["inputs"]] == [f"photos/{k}.png" for k in order]
        values = [entry["relevance"] for entry in one["inputs"]]
        np.testing.assert_allclose(values, sums[order, channel], rtol=1e-3)
        share = np.abs(sums).sum(0)[channel] / np.abs(sums).sum()
        assert one["share"] == pytest.approx(share, rel=1e-3)
    with Image.open("concepts.png") as image:
        assert image.info["tensor"] == "h"
        assert image.width > 900


def test_a_broken_picture_is_named_and_the_others_are_done(photos: Path, capsys: Capture) -> None:
    (photos / "photos" / "5.png").write_bytes(b"no picture")
    shown = run_command(capsys, *GIVEN, "-o", "why.svg")
    assert shown.status == 1
    assert "not explained: picture 'photos/5.png'" in shown.err
    assert "channel " in shown.out
    assert (photos / "why.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["concepts", "model.onnx", "photos/1.png", "--at", "h"], "Give a folder"),
        ([*GIVEN[:4], "absent", *GIVEN[5:]], "absent"),
        ([*GIVEN, "--target", "top-2"], "Choose one --target"),
        ([*GIVEN, "-o", "why.html"], "pictures are written as"),
    ],
)
def test_what_tells_no_concept(
    arguments: list[str], says: str, photos: Path, capsys: Capture
) -> None:
    outcome = run_command(capsys, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert says in outcome.err
    assert not list(photos.glob("*.png"))


def test_an_input_in_which_a_channel_speaks_against_is_no_example() -> None:
    sums = np.array([[2.0, -1, -5], [0, -2, 1], [1, -3, -4]])
    files = [Path(name) for name in "abc"]
    found = [(one.channel, one.inputs) for one in concepts._ranked(sums, files, 3, 3)]
    assert found == [(2, [(files[1], 1)]), (0, [(files[0], 2), (files[2], 1)])]
