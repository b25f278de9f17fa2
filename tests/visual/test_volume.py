"""Slices of volumes and frames of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command, write

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.volume import _all_drawn, frames_of, slices_of, volume_page

VOLUME = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float[N,A,B,C,D] x) => (float[N,M] y) { z = Relu(x) y = Flatten(z) }"""
)


def test_slices_meet_in_the_strongest_voxel() -> None:
    relevance = np.zeros((4, 5, 6))
    relevance[2, 3, 1] = -7
    cuts = slices_of(relevance, relevance[..., None])
    assert [cut[0] for cut in cuts] == ["depth 3 of 4", "height 4 of 5", "width 2 of 6"]
    assert [cut[1].shape for cut in cuts] == [(5, 6), (4, 6), (4, 5)]
    for _, own, shown, point in cuts:
        assert point is not None
        assert own[point] == shown[(*point, 0)] == -7


def test_the_frames_with_the_most_are_in_their_order() -> None:
    relevance = np.arange(5.0)[:, None, None] * np.ones((5, 2, 2))
    relevance[0] = -9
    cuts = frames_of(relevance, np.zeros((5, 2, 2, 3)))
    assert [cut[0] for cut in cuts] == ["frame 1 of 5", "frame 4 of 5", "frame 5 of 5"]
    assert len(frames_of(relevance[:2], np.zeros((2, 2, 2, 3)))) == 2


@pytest.mark.parametrize(
    "shape", [(1, 1, 4, 5, 6), (2, 4, 5, 6, 1), (1, 3, 4, 5, 6), (1, 4, 3, 5, 6)]
)
def test_a_volume_is_explained(
    shape: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "volume.onnx", VOLUME)
    np.save("scan.npy", np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    outcome = run_command(capsys, "volume.onnx", "scan.npy")
    assert (outcome.status, outcome.err) == (0, "")
    assert (tmp_path / "scan.lrp.png").exists()


@pytest.mark.parametrize(("panel", "drawn"), [("all", 6), ("overlay", 3), ("heatmap", 3)])
def test_panels_of_cuts(panel: str, drawn: int) -> None:
    relevance = np.random.default_rng(0).standard_normal((1, 6, 8, 8))
    options = PictureOptions(panel=panel, limits=0.5, cmap="coolwarm")
    page = volume_page(relevance, relevance[..., None], [""], [""], options=options)
    images = [axes.images[0] for axes, _ in page.placed if axes.images]
    assert len(images) == drawn
    if panel == "heatmap":
        assert {(image.norm.vmax, image.cmap.name) for image in images} == {(0.5, "coolwarm")}
    for axes, _ in page.placed[:drawn]:  # where the other cuts go through
        assert sum(len(line.get_xdata()) for line in axes.lines) == 4


def test_frames_are_averaged_alike_where_strides_leave_a_lattice() -> None:
    relevance = np.random.default_rng(0).random((1, 3, 48, 48)) * 0.01
    relevance[:, 0, ::4, ::4] += 1
    relevance[:, 1, ::2, ::2] += 1
    page = volume_page(relevance, np.zeros((1, 3, 48, 48, 3)), [""], [""], is_clip=True)
    assert [note.split(",")[0] for note in page.notes] == ["averaged over 4 pixels"]
    assert [one.period for one in _all_drawn(relevance[0], PictureOptions())] == [4, 4, 4]
