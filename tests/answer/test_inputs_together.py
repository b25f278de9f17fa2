"""Pictures of several explained inputs, of many channels, and of series by several composites."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command, write
from models import network
from PIL import Image

import lrp_onnx
from lrp_onnx.answer.output_files import drawing_of
from lrp_onnx.data.inputs import fit_array
from lrp_onnx.errors import InputError
from lrp_onnx.options import PictureOptions

Capture = pytest.CaptureFixture[str]
RNG = np.random.default_rng(0)
TWO = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float[1,3,8,8] photo, float[1,4] facts) => (float[1,196] y) {
        f = Flatten(photo) y = Concat<axis = 1>(f, facts) }"""
)
FEEDS = {
    "photo": RNG.random((1, 3, 8, 8), np.float32),
    "facts": np.float32([[1, 2, 3, 4]]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_two_explained_inputs_stand_below_each_other(folder: Path, capsys: Capture) -> None:
    write(folder / "two.onnx", TWO)
    np.savez("both.npz", **FEEDS)
    heights = []
    for only in ("", "--explain photo", "--explain facts"):
        outcome = run_command(
            capsys, "two.onnx", "both.npz", "--target", "all", "-o", "why.png", *only.split()
        )
        assert outcome.status == 0, outcome.err
        heights.append(size_of("why.png")[1])
    assert heights[0] > heights[1] + heights[2]
    outcome = run_command(
        capsys, "two.onnx", "both.npz", "--target", "all", "--format", "html", "-q"
    )
    assert (outcome.status, outcome.err) == (0, "")
    why = lrp_onnx.explain(TWO, FEEDS, target="all")
    assert "<img" in why._repr_html_()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "jpg", "html"])
def test_series_by_several_composites_are_one_picture(
    ending: str, folder: Path, capsys: Capture
) -> None:
    write(folder / "m.onnx", network("y = Conv(x, w)", (1, 2, 40), w=(2, 2, 3)))
    np.save("x.npy", RNG.standard_normal((1, 2, 40)).astype(np.float32))
    several = ["--composite", "epsilon", "--composite", "zplus", "--target", "all"]
    outcome = run_command(capsys, "m.onnx", "x.npy", *several, "-o", f"both.{ending}")
    assert outcome.status == 0, outcome.err
    if ending == "png":
        run_command(capsys, "m.onnx", "x.npy", *several[2:], "-o", "one.png")
        (wide, high), (both_wide, both_high) = size_of("one.png"), size_of("both.png")
        assert both_wide == wide
        assert both_high > 1.9 * high
    outcome = run_command(capsys, "m.onnx", "x.npy", *several, "-o", "both.csv")
    assert outcome.status == 2


def test_a_picture_of_many_channels_says_where_its_relevance_is() -> None:
    w = np.zeros((1, 5, 1, 1), np.float32)
    w[0, :, 0, 0] = 1, 0, -1, 4, 0
    model = network("y = Conv(x, w)", (1, 5, 8, 8), w=w)
    x = np.ones((1, 5, 8, 8), np.float32)
    for composite, said in (
        ("epsilon", "channels 3 (66.7%), 0 (16.7%), 2 (-16.7%), 1 (0.0%), 4 (0.0%) of 5"),
        ("flat", "the first layer's rule shares it out to all 5 channels alike"),
    ):
        why = lrp_onnx.explain(model, x, target="all", composite=composite)
        drawing = drawing_of(
            why.model.explainer, why.result, why.inputs, why._samples(), PictureOptions()
        )
        assert drawing.subtitles[0].endswith(said)


@pytest.mark.parametrize(
    ("own", "wanted", "order"),
    [
        ((1, 8, 6, 6, 3), (1, 3, 8, 6, 6), "(0, 4, 1, 2, 3)"),
        ((5, 9, 7), (5, 7, 9), "(0, 2, 1)"),
        ((1, 8, 6, 3), ("N", 3, 8, 6), "(0, 3, 1, 2)"),
    ],
)
def test_an_array_with_its_axes_in_another_order_is_told_so(
    own: tuple[int, ...], wanted: tuple[int | str, ...], order: str
) -> None:
    with pytest.raises(InputError, match=re.escape(f"numpy.transpose(array, {order})")):
        fit_array(np.zeros(own, np.float32), wanted, np.dtype(np.float32), name="x")
