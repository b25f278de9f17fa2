"""The page's folder, and that its script prepares pictures as Python does, to the last bit.

model_zoo_scripts/web_page.py opens it in Chromium.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from commands import picture_net, run_command, text_net, write
from head_models import HEADS, model_of
from numpy.typing import NDArray
from PIL import Image
from test_preprocessing import CASES

from lrp_onnx.answer.detection import Detection, corners_of
from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.layout import batched_axes
from lrp_onnx.export import web
from lrp_onnx.visual.heatmap import COLORS, color_limit, color_scale, overlay

Array = NDArray[np.float64]
PAGE = Path(web.__file__).parent / "page"
SCRIPT = """
import { readFileSync } from 'node:fs';
import { prepared } from './prepare.mjs';
const cases = JSON.parse(readFileSync('cases.json', 'utf8'));
console.log(JSON.stringify(cases.map(({ picture, settings }) => Array.from(
  prepared({ ...picture, data: Uint8Array.from(picture.data) }, settings)))));
"""


def settings_of(case: str) -> dict[str, object]:
    preprocess, want = CASES[case]
    axes = preprocess.layout or batched_axes(want.shape)
    sizes = dict(zip(axes, want.shape, strict=True))
    height, width = preprocess.size or (sizes["H"], sizes["W"])
    return {
        "axes": axes, "height": height, "width": width, "channels": sizes["C"],
        "dtype": str(want.dtype), "preprocess": asdict(preprocess),
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_prepares_as_python_does(tmp_path: Path) -> None:
    asked, expected = [], []
    for case, (preprocess, want) in CASES.items():
        for height, width in ((47, 61), (40, 90), (11, 13), (20, 30)):
            pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "p.png")
            picture = {"data": pixels.ravel().tolist(), "height": height, "width": width}
            asked.append({"picture": {**picture, "channels": 3}, "settings": settings_of(case)})
            expected.append(load_input(tmp_path / "p.png", want.shape, want.dtype, preprocess))
    (tmp_path / "cases.json").write_text(json.dumps(asked))
    shutil.copy(PAGE / "prepare.js", tmp_path / "prepare.mjs")
    (tmp_path / "run.mjs").write_text(SCRIPT)
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.stderr
    for found, x in zip(json.loads(done.stdout), expected, strict=True):
        np.testing.assert_array_equal(np.array(found, x.dtype), x.ravel())


COLORING = """
import { readFileSync } from 'node:fs';
import { colored, overlay, sharesOf } from './colors.mjs';
const { data, picture, settings } = JSON.parse(readFileSync('case.json', 'utf8'));
const shares = sharesOf(data, settings);
console.log(JSON.stringify([colored(shares), overlay(picture, shares)].map((x) => Array.from(x))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_colors_as_python_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    relevance = rng.standard_normal((3, 20, 30)) ** 3
    picture = rng.integers(0, 256, (20, 30, 3), np.uint8)
    rgba = np.dstack([picture, np.full((20, 30), 255, np.uint8)])
    case = {
        "data": relevance.ravel().tolist(), "picture": rgba.ravel().tolist(),
        "settings": {"axes": "NCHW", "height": 20, "width": 30, "channels": 3},
    }  # fmt: skip
    (tmp_path / "case.json").write_text(json.dumps(case))
    for name in ("prepare", "colors"):
        text = (PAGE / f"{name}.js").read_text().replace("./prepare.js", "./prepare.mjs")
        (tmp_path / f"{name}.mjs").write_text(text)
    (tmp_path / "run.mjs").write_text(COLORING)
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.stderr
    found = [np.reshape(x, (20, 30, 4))[..., :3] for x in json.loads(done.stdout)]
    sums = relevance.sum(0)
    limit = color_limit(sums)
    expected = [255 * COLORS(color_scale(limit)(sums))[..., :3], overlay(picture, sums, limit)]
    for own, other in zip(found, expected, strict=True):
        # 513 colors there, as many as there are numbers here, and whole values of pixels
        assert np.abs(own - other).max() <= 3


BOXES = """
import { readFileSync } from 'node:fs';
import { cornersOf } from './boxes.mjs';
const cases = JSON.parse(readFileSync('cases.json', 'utf8'));
console.log(JSON.stringify(cases.map(({ rows, height, width }) => (
  rows.map((own) => cornersOf(rows, own, height, width))))));
"""


def spelled_boxes() -> list[Array]:
    """Boxes of a grid of 40 x 60 pixels: corners and centers, in pixels and in parts, x or y first;
    then numbers that are no place, and some without a grid.
    """
    rng = np.random.default_rng(0)
    y, x = (axis.ravel() for axis in np.mgrid[2:40:4, 2:60:4])
    sides = rng.uniform(2, 30, (len(x), 2))
    every = []
    for parts in (False, True):
        for order in ([0, 1], [1, 0]):
            centers = np.stack([x, y], 1).astype(float)[:, order]
            size = sides[:, order]
            if parts:
                whole = np.array([60, 40])[order]
                centers, size = centers / whole, size / whole
            every.append(np.hstack([centers, size]))
            every.append(np.hstack([centers - size / 2, centers + size / 2]))
    mixed = rng.permutation(every[1])
    return [*every, mixed, rng.permutation(every[5]), rng.standard_normal((50, 4)), every[0][:1]]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_places_boxes_as_python_does(tmp_path: Path) -> None:
    every = spelled_boxes()
    cases = [{"rows": rows.tolist(), "height": 40, "width": 60} for rows in every]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    shutil.copy(PAGE / "boxes.js", tmp_path / "boxes.mjs")
    (tmp_path / "run.mjs").write_text(BOXES)
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.stderr
    drawn = 0
    for rows, found in zip(every, json.loads(done.stdout), strict=True):
        for k, own in enumerate(found):
            expected = corners_of(Detection(rows, k), 40, 60)
            assert (own is None) == (expected is None)
            assert own is None or own == pytest.approx(expected)
            drawn += own is not None
    assert drawn > 5 * len(every[0])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What npm installs, without what is in it."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    text = 'import("./ort-wasm-simd-threaded.some.mjs")'
    (folder / "dist" / "ort.webgpu.min.mjs").write_text(text)
    for end in ("mjs", "wasm"):
        (folder / "dist" / f"ort-wasm-simd-threaded.some.{end}").write_text(end)
    return folder


def test_a_folder_that_serves(package: Path, tmp_path: Path, capsys) -> None:
    model, out = write(tmp_path / "m.onnx", picture_net()), tmp_path / "web"
    options = ["--preprocess", "unit", "--runtime-files", package, "--composite", "epsilon"]
    options += ["--composite", "auto"]
    done = run_command(capsys, "export", "web", model, "-o", out, *options)
    assert done.status == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["target"]
    assert [settings[k] for k in ("input", "output", "axes", "height")] == [
        "image", "logits", "NCHW", 8,
    ]  # fmt: skip
    assert settings["models"][0]["name"] == "epsilon"
    for one in settings["models"]:
        session = ort.InferenceSession(out / one["file"], providers=["CPUExecutionProvider"])
        assert [v.name for v in session.get_inputs()] == ["image", "target"]
        assert [v.name for v in session.get_outputs()] == ["logits", "image_relevance"]
    assert sorted(file.name for file in (out / "onnxruntime").iterdir()) == [
        "ort-wasm-simd-threaded.some.mjs",
        "ort-wasm-simd-threaded.some.wasm",
        "ort.webgpu.min.mjs",
    ]
    assert {file.name for file in PAGE.iterdir()} <= {file.name for file in out.iterdir()}


def test_the_page_names_classes_as_the_model_or_the_user_does(tmp_path: Path, capsys) -> None:
    net = picture_net()
    onnx.helper.set_model_props(net, {"names": str(["ape", "bee", "cat", "dog"])})
    model, out = write(tmp_path / "m.onnx", net), tmp_path / "web"
    options = ["--preprocess", "unit", "--runtime-url", "https://host/dist", "-o", out]
    for count, names in ((0, "ape bee cat dog"), (4, "a b c d"), (5, "")):
        labels = tmp_path / "labels.txt"
        labels.write_text("\n".join("abcde"[:count]))
        given = ["--labels", labels] if count else []
        done = run_command(capsys, "export", "web", model, *options, *given)
        assert done.status == (0 if names else 2)
        if names:
            assert json.loads((out / "settings.json").read_text())["labels"] == names.split()
        else:
            assert "5 names for 4 classes" in done.err


def test_a_detector_tells_how_it_is_fed_and_where_its_scores_are(tmp_path: Path, capsys) -> None:
    net = model_of(HEADS["YOLOv8"], symbolic=True)
    told = {"task": "detect", "stride": "8", "imgsz": "[8, 8]", "names": str(["ape", "bee", "cat"])}
    onnx.helper.set_model_props(net, told)
    model, out = write(tmp_path / "m.onnx", net), tmp_path / "web"
    options = ["--runtime-url", "https://host/dist", "-o", out]
    assert run_command(capsys, "export", "web", model, *options).status == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["head"] == {"axis": 1, "scores": [4, 7], "objectness": None, "box": True}
    assert settings["labels"] == ["ape", "bee", "cat"]
    assert settings["preprocess"]["fit"] == "letterbox"


def test_a_runtime_from_elsewhere_and_a_class(tmp_path: Path, capsys) -> None:
    model, out = write(tmp_path / "m.onnx", picture_net()), tmp_path / "web"
    options = ["--preprocess", "unit", "--runtime-url", "https://host/dist", "--target", "2"]
    assert run_command(capsys, "export", "web", model, "-o", out, *options).status == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["runtime"] == "https://host/dist/"
    assert not settings["target"]
    assert not (out / "onnxruntime").exists()


def test_what_it_cannot_serve_is_told(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture, text = (
        write(tmp_path / "p.onnx", picture_net()),
        write(tmp_path / "t.onnx", text_net()),
    )
    url = ["--runtime-url", "https://host/dist"]
    cases = [
        ([picture, "-o", "o", "--preprocess", "unit"], "npm install onnxruntime-web"),
        ([picture, "-o", "o", *url], "Give --preprocess"),
        ([text, "-o", "o", *url, "--preprocess", "unit"], "feeds pictures"),
    ]
    for arguments, words in cases:
        done = run_command(capsys, "export", "web", *arguments)
        assert done.status == 2
        assert words in done.err
    assert not (tmp_path / "o").exists()
