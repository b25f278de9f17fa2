"""Pictures of relevance and the page."""

import os

import numpy as np
import pytest
from PIL import Image

from lrp_onnx.errors import InputError, OutputError
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.comparison import Comparison, comparison_page
from lrp_onnx.visual.grid import save_grid
from lrp_onnx.visual.page import wrapped
from lrp_onnx.visual.panel import Panel
from lrp_onnx.visual.plot import save_heatmap

RNG = np.random.default_rng(0)


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def text_of(path):
    with Image.open(path) as image:
        return dict(image.text)


TOKENS = [["the", "film", "$", "", "was"], ["无", "聊"]]
PICTURES = [
    pytest.param(noise(3, 28, 28), {}, id="chw"),
    pytest.param(noise(2, 1, 28, 28), {"input": noise(2, 1, 28, 28), "title": ["a", "b"]}, id="n"),
    pytest.param(noise(1, 20, 60, 3), {"input": noise(1, 20, 60, 3), "title": "$x_1$ 中 é"},
                 id="nhwc"),
    pytest.param(noise(300, 3), {"axes": "HW"}, id="tall"),
    pytest.param(noise(2, 2000), {"axes": "HW"}, id="wide"),
    pytest.param(np.zeros((1, 1, 1, 1)), {"input": np.zeros((1, 1, 1, 1))}, id="one-pixel"),
    pytest.param(np.array([[np.nan, np.inf], [1.0, -1.0]]), {"input": np.ones((2, 2))}, id="nan"),
    pytest.param(np.full((3, 3), np.nan), {}, id="only-nan"),
    pytest.param(noise(20, 1, 4, 4), {"title": "many"}, id="more-than-drawn"),
    pytest.param(noise(12), {}, id="features"),
    pytest.param(noise(1, 1, 4000), {"axes": "NCF", "title": "long " * 50}, id="signal"),
    pytest.param(noise(1, 40), {"names": [f"feature $_{i}" * 4 for i in range(40)]}, id="names"),
    pytest.param(noise(2, 6), {"axes": "NF", "tokens": TOKENS, "title": ["x", "y"]}, id="tokens"),
    pytest.param(np.array([[np.inf, 1.0]]), {"tokens": [["a", "b"]]}, id="infinite-token"),
]  # fmt: skip


@pytest.mark.parametrize(("relevance", "options"), PICTURES)
def test_every_kind_of_picture_is_drawn(tmp_path, relevance, options):
    path = tmp_path / "a.png"
    save_heatmap(path, relevance, metadata={"composite": "epsilon", "model": "中"}, **options)
    assert np.ptp(pixels_of(path)) > 50
    assert text_of(path) == {"Software": "lrp-onnx", "composite": "epsilon", "model": "中"}


def test_positive_is_red_negative_is_blue_in_place(tmp_path):
    relevance = np.zeros((2, 2))
    relevance[0, 1], relevance[1, 0] = 1.0, -1.0
    save_heatmap(tmp_path / "a.png", relevance)
    picture = pixels_of(tmp_path / "a.png")[:, :480]  # without the color bar
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 2] > 60)
    blue_rows, blue_columns = np.nonzero(picture[..., 2] - picture[..., 0] > 60)
    assert rows.mean() < blue_rows.mean()
    assert columns.mean() > blue_columns.mean()
    assert len(rows) == pytest.approx(len(blue_rows), rel=0.02)


@pytest.mark.parametrize(
    ("relevance", "options", "says"),
    [
        (noise(2, 1, 4, 4), {"title": ["one"]}, "2 samples"),
        (noise(2, 1, 4, 4), {"input": noise(1, 1, 4, 4)}, "1 inputs"),
        (noise(1, 4), {"names": ["a"]}, "1 names for 4"),
        (noise(1, 2), {"tokens": [["a", "b", "c"]]}, "3 tokens for 2"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, relevance, options, says):
    with pytest.raises(InputError, match=says):
        save_heatmap(tmp_path / "a.png", relevance, **options)
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_text_is_cut_off(tmp_path):
    """Long titles, captions and small numbers: the margins of the picture stay white."""
    save_heatmap(
        tmp_path / "a.png", noise(3, 30, 20) * 1e-9, input=noise(3, 30, 20), title="WMW " * 60
    )
    picture = pixels_of(tmp_path / "a.png")
    for edge in (picture[:6], picture[-6:], picture[:, :6], picture[:, -6:]):
        assert edge.min() == 255


def test_lines_keep_to_the_width():
    lines = wrapped("one two\n\n" + "W" * 100, 2.0, 11)
    assert lines[:2] == ["one two", ""]
    assert "".join(lines[2:]) == "W" * 100
    assert max(map(len, lines)) * 11 * 0.98 / 72 <= 2.0  # DejaVu: a W is 0.99 em


def test_the_formats_and_what_they_keep(tmp_path):
    about = {"composite": "epsilon"}
    for ending, mark in {
        "jpg": b"\xff\xd8",
        "jpeg": b"\xff\xd8",
        "svg": b"<?xml",
        "pdf": b"%PDF",
    }.items():
        path = tmp_path / f"a.{ending}"
        save_heatmap(path, noise(4, 4), metadata=about)
        assert path.read_bytes().startswith(mark)
        if ending != "pdf":
            assert b"epsilon" in path.read_bytes()


def width_and_colors(path, **options):
    save_heatmap(path, noise(8, 8), input=noise(8, 8), options=PictureOptions(**options))
    pixels = pixels_of(path)
    return pixels.shape[1], len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_panels_and_colors_are_chosen(tmp_path):
    path = tmp_path / "a.png"
    whole, _ = width_and_colors(path)
    heatmap, _ = width_and_colors(path, panel="heatmap")
    both = pixels_of(path)
    overlay_, _ = width_and_colors(path, panel="overlay")
    assert heatmap == overlay_ < whole / 2
    assert np.any(both != pixels_of(path))
    width_and_colors(path, panel="heatmap", cmap="PiYG")
    green = pixels_of(path)
    assert (green[..., 1] - green[..., [0, 2]].max(-1)).max() > 40
    assert (both[..., 1] - both[..., [0, 2]].max(-1)).max() < 5


def test_limits_are_the_darkest_color(tmp_path):
    def share(**options):
        save_heatmap(tmp_path / "a.png", noise(20, 20), options=PictureOptions(**options))
        return (pixels_of(tmp_path / "a.png")[:, :480].min(axis=-1) < 60).mean()

    assert share(limits=0.1) > 0.5 > 0.2 > share(limits=100.0)


def test_grid(tmp_path):
    photo = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    row = [
        Panel(photo, "a dog (7)\nlogit 3.1"),
        Panel(noise(8, 8), "epsilon"),
        Panel(photo[..., 0]),
    ]
    save_grid(tmp_path / "a.png", [row, row[:2]], title="all", row_titles=["one", "two"])
    one_row = tmp_path / "b.png"
    save_grid(one_row, [row], metadata={"composite": "epsilon"})
    assert pixels_of(tmp_path / "a.png").shape[0] > 1.9 * pixels_of(one_row).shape[0]
    assert text_of(one_row)["composite"] == "epsilon"


def test_no_pyplot_is_imported(tmp_path):
    import subprocess
    import sys

    code = "import sys, lrp_onnx.visual.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("folder.png", "is a folder", id="folder"),
        pytest.param("missing/a.png", "does not exist", id="no-folder"),
        pytest.param("file.txt/a.png", "does not exist", id="file-as-folder"),
        pytest.param("x" * 300 + ".png", "cannot be written", id="long-name"),
        pytest.param("pipe.png", "device or a pipe", id="pipe"),
        pytest.param("picture.gif", "written as .png, .jpg, .svg, .pdf", id="suffix"),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path, name, says):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").write_text("")
    os.mkfifo(tmp_path / "pipe.png")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=says) as caught:
        save_heatmap(tmp_path / name, noise(2, 2))
    assert name[:30] in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("shape", "wide"), [((24, 320), True), ((320, 24), False)])
def test_very_long_pictures_keep_their_proportions(shape, wide):
    height, width = shape
    picture, maps = np.zeros((*shape, 3), np.uint8), [np.ones(shape)] * 3
    page = comparison_page([Comparison(picture, maps, ["a", "b", "c"])], PictureOptions())
    sides = [place[2:] for axes, place in page.placed if axes.images]
    assert len(sides) == 7  # the input, three overlays, three maps
    for across, down in sides:
        assert down / across == pytest.approx(height / width)
        assert down <= 7.01
    lefts = {place[0] for axes, place in page.placed if axes.images}
    assert len(lefts) == (2 if wide else 4)  # each map beside its overlay
    assert page.width < 10
