"""Where the box of an explained detection lies in the picture, and that it is drawn there."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run_command, write
from head_models import Row, drawn, model_of
from PIL import Image

import lrp_onnx
from lrp_onnx.answer.detection import Detection, corners_of, detection_of
from lrp_onnx.answer.explained_entry import explained_entry
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.drawing import Drawing
from lrp_onnx.visual.panel import Box

Capture = pytest.CaptureFixture[str]
HEIGHT, WIDTH = 40, 80
RNG = np.random.default_rng(0)
ROWS, COLUMNS = (grid.ravel() for grid in np.mgrid[2:40:4, 2:80:4])
X, Y = COLUMNS + RNG.uniform(-1, 1, 200), ROWS + RNG.uniform(-1, 1, 200)
W, H = RNG.uniform(2, 12, (2, 200))
CENTERS = np.stack([X, Y, W, H], 1)
CORNERS = np.stack([X - W / 2, Y - H / 2, X + W / 2, Y + H / 2], 1)
SIDES = np.array([WIDTH, HEIGHT] * 2)
MIXED = RNG.permutation(200)  # as suppression leaves them: by score
PLACE = 77


def turned(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, [1, 0, 3, 2]]


SHAPES = {
    "center and size, pixels": CENTERS,
    "center and size, parts": CENTERS / SIDES,
    "corners, pixels": CORNERS,
    "corners, parts, on a grid": CORNERS / SIDES,
    "corners, parts, y first on a grid": turned(CORNERS / SIDES),
    "with rows of zeros": np.concatenate([CENTERS, np.zeros((300, 4))]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_box_is_where_it_was_put(name: str) -> None:
    expected = np.clip(CORNERS[PLACE] / SIDES, 0, 1)
    found = corners_of(Detection(SHAPES[name], PLACE), HEIGHT, WIDTH)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_what_suppression_leaves_is_read_as_corners_with_x_first() -> None:
    place = int(np.flatnonzero(MIXED == PLACE)[0])
    found = corners_of(Detection(CORNERS[MIXED], place), HEIGHT, WIDTH)
    np.testing.assert_allclose(found, np.clip(CORNERS[PLACE] / SIDES, 0, 1), atol=1e-12)


NOWHERE = {
    "offsets": RNG.standard_normal((200, 4)),
    "corners in parts without a grid": (CORNERS / SIDES)[MIXED],
    "not finite": np.full((200, 4), np.nan),
    "beside the picture": CENTERS + np.where(np.arange(200) == PLACE, 1000.0, 0.0)[:, None],
}


@pytest.mark.parametrize("name", NOWHERE)
def test_numbers_that_are_no_place_are_not_drawn(name: str) -> None:
    assert corners_of(Detection(NOWHERE[name], PLACE), HEIGHT, WIDTH) is None


HEAD = {"axis": 1, "batch": True, "scores": [4, 6], "objectness": None, "kind": "mixed"}


def test_boxes_in_an_output_of_their_own_and_in_one_with_the_scores() -> None:
    y = np.concatenate([CENTERS.T, RNG.random((2, 200))])
    one = detection_of(HEAD, y, (5, PLACE), None)
    other = detection_of({**HEAD, "kind": "scores", "axis": None}, y[4], (PLACE,), CENTERS)
    for found in (one, other):
        assert found is not None
        assert str(found) == f"box {', '.join(f'{v:.4g}' for v in CENTERS[PLACE])}"
    assert detection_of(json.loads('{"axis": 1, "batch": true, "scores": null, "kind": "map"}'),
                        y, (5, PLACE), None) is None  # fmt: skip


def drawing() -> Drawing:
    maps = RNG.standard_normal((1, 3, 8, 8))
    boxes = [Box(0.25, 0.5, 0.75, 1.0, "<face> (1)")]
    return Drawing(maps, maps, "NCHW", ["face"], [""], boxes=boxes)


@pytest.mark.parametrize("panel", ["all", "overlay", "heatmap"])
def test_a_box_is_drawn_into_each_picture_and_named_on_pixels(panel: str) -> None:
    own = replace(drawing(), options=PictureOptions(panel=panel))
    axes = [axes for axes, _ in own.page().placed if axes.images]
    assert len(axes) == (3 if panel == "all" else 1)
    for one in axes:
        line = one.patches[-1]
        corner = line.get_transform().transform([(0, 0), (1, 1)])
        expected = one.transAxes.transform([(0.25, 0.0), (0.75, 0.5)])
        np.testing.assert_allclose(corner, expected)
        named = [text.get_text() for text in one.texts]
        assert named == ["<face> (1)"] * (one.images[0].get_array().ndim == 3)


def test_a_page_draws_it_over_its_pictures() -> None:
    from lrp_onnx.visual.report import _figure

    (section,), notes = replace(drawing(), notes=["something is missing"]).sections()
    assert "something is missing" in notes
    shown = [_figure(figure, "") for figure in section.figures]
    place = 'style="left: 25.00%; top: 50.00%; width: 50.00%; height: 50.00%"'
    assert [place in text for text in shown] == [True] * 3
    assert ["&lt;face&gt; (1)" in text for text in shown] == [True, False, True]


def test_classes_of_one_picture_have_their_own_boxes() -> None:
    boxes = [Box(0, 0, 0.5, 0.5, "a"), Box(0.5, 0.5, 1, 1, "b")]
    maps = np.ones((2, 3, 8, 8))
    own = Drawing(maps, maps, "NCHW", ["a", "b"], ["", ""], together=2, boxes=boxes)
    (section,), _ = own.sections()
    assert [figure.box and figure.box.left for figure in section.figures] == [None, 0, 0.5, 0, 0.5]
    assert len(own.page().placed) == 6  # with the color bar


ROW = Row(
    "m0 = Conv(x, v0, b0) m1 = Conv(x, v1) b = Reshape(m0, f4) s = Sigmoid(m1) "
    "p = Reshape(s, f3) y = Concat<axis=1>(b, p)",
    weights={"v0": np.zeros((4, 3, 1, 1)), "b0": np.array([3.0, 4.0, 2.0, 2.0]),
             "v1": (3, 3, 1, 1), "f4": [0, 4, -1], "f3": [0, 3, -1]},
)  # fmt: skip


def test_a_folder_of_detections_goes_on_where_it_was(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path / "m.onnx", model_of(ROW))
    (tmp_path / "photos").mkdir()
    np.save(tmp_path / "photos" / "a.npy", drawn(ROW))
    for times in range(2):
        asked = ("m.onnx", "photos", "-o", "why/", "--format", "html")
        with contextlib.chdir(tmp_path):
            done = run_command(capsys, *asked)
        assert done.status == 0, done.err
        np.save(tmp_path / "photos" / f"{times}.npy", drawn(ROW))
    assert {path.stem for path in (tmp_path / "why").glob("*.html")} == {"0", "a", "index"}
    index = (tmp_path / "why" / "index.html").read_text(encoding="utf-8")
    for png in re.findall(r'src="data:image/png;base64,([^"]*)"', index):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
        (height, width), box = pixels.shape[:2], (2, 3, 4, 5)  # center 3, 4, two wide and high
        dark = [round(box[0] / width * (width - 1)), round(box[1] / height * (height - 1))]
        assert (pixels[dark[1], dark[0]] == 0x1A).all()
        assert (pixels[dark[1] - 1, dark[0]] == 255).all()


def test_explain_draws_the_box_of_the_largest_score(tmp_path: Path) -> None:
    row = ROW
    why = lrp_onnx.explain(model_of(row), drawn(row), labels=["cat", "dog", "cow"])
    why.save(tmp_path / "why.html")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    count, _, height, width = row.x
    place = f"left: {2 / width:.2%}; top: {3 / height:.2%}; width: {2 / width:.2%}"
    assert page.count(place) == 3 * count
    named = re.findall(r'<b style="[^"]*">([^<]*)</b>', page)
    told = [text.split(": ")[1].rpartition(", ")[0].split(", ")[0] for text in why.predictions]
    assert named == [name for name in told for _ in range(2)]


@pytest.mark.parametrize("apart", [False, True])
def test_the_class_beside_a_score_is_named(apart: bool) -> None:
    """Of what a suppression kept: in a column of the output, or in an output of its own."""
    label: object = "labels" if apart else 5
    head = {"kind": "scores" if apart else "mixed", "batch": False, "axis": None if apart else 1,
            "scores": None if apart else [4, 5], "objectness": None, "label": label}  # fmt: skip
    rows = np.array([[0, 0, 2, 2, 0.9, 1], [1, 1, 3, 3, 0.8, 2]], np.float32)
    y = rows[:, 4] if apart else rows
    start = np.zeros_like(y)
    start[(1,) if apart else (1, 4)] = 0.8
    metadata = {"head": json.dumps(head), "target": "2"}
    others = (rows[:, :4], rows[:, 5].astype(int)) if apart else (None, None)
    words = explained_entry(metadata, y, start, {1: "cat", 2: "dog"}, *others).text
    assert words.startswith("dog (2), 80% (entry 1")
    none = explained_entry(metadata, y, start * 0, None, *others)
    assert none.text == "no detection of that class"


@pytest.mark.parametrize(
    ("scores", "said"), [((0.1, 0.82583), "dog (1), 83%"), ((3.0, 3.5), "dog (1), 3.5")]
)
def test_scores_from_0_to_1_are_told_in_percent(scores: tuple[float, float], said: str) -> None:
    y = np.concatenate([CENTERS[:9].T, np.zeros((2, 9))])
    y[4:, 3] = scores
    start = np.zeros_like(y)
    start[5, 3] = 1
    metadata = {"head": json.dumps(HEAD), "target": "argmax"}
    words = explained_entry(metadata, y, start, {0: "cat", 1: "dog"}).text
    assert words.startswith(f"{said} (entry 5,3; box ")
