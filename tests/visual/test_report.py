"""The HTML page and the arrays."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.drawing import Drawing
from lrp_onnx.visual.report import Figure, Section, save_arrays, save_html, table_rows

RNG = np.random.default_rng(0)


def drawing(
    shape: tuple[int, ...] = (2, 3, 8, 8), axes: str = "NCHW", **options: object
) -> Drawing:
    texts = [f"sample <{k}>" for k in range(shape[0])]
    relevance = RNG.standard_normal(shape)
    return Drawing(relevance, relevance, axes, texts, ["by epsilon"] * shape[0], **options)  # type: ignore[arg-type]


def pictures(page: str) -> list[Image.Image]:
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in data]


def test_a_page_is_self_contained_and_made_for_a_phone(tmp_path: Path) -> None:
    rows = table_rows(prediction="<b>", target="argmax", composite="epsilon", total=3.0, start=4.0)
    sections, _ = drawing(tables=[rows, rows]).sections()
    save_html(tmp_path / "a.html", sections, heading="a & b", metadata={"version": "1"})
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    # input, heatmap and overlay of each sample stand alone, so that they can be stacked
    assert [picture.size for picture in pictures(page)] == [(8, 8)] * 6
    assert not re.search(r"https?:|url\(|<script|<link|@import", page)
    assert 'content="width=device-width, initial-scale=1"' in page
    assert "sample &lt;1&gt;" in page
    assert "&lt;b&gt;" in page
    assert "75.00% of the starting relevance 4" in page
    assert "against <i style" in page


def test_a_heatmap_of_a_page_has_the_colors_of_the_picture() -> None:
    sections, _ = drawing((1, 1, 2, 2), options=PictureOptions(limits=1.0)).sections()
    one = Drawing(np.array([[[[5.0, -5.0], [0.0, 0.0]]]]), None, "NCHW", ["a"], [""])
    figure = one.sections()[0][0].figures[0]
    pixels = np.asarray(Image.open(io.BytesIO(figure.png)).convert("RGB")).astype(int)
    assert pixels[0, 0, 0] - pixels[0, 0, 2] > 60
    assert pixels[0, 1, 2] - pixels[0, 1, 0] > 60
    assert (pixels[1] == 255).all()
    assert len(sections[0].figures) == 3


def test_charts_have_a_row_of_their_own_and_many_samples_are_cut() -> None:
    sections, _ = drawing((17, 3), "NF").sections()
    assert len(sections) == 16
    assert [figure.wide for figure in sections[0].figures] == [True]


def test_classes_share_the_input_and_the_scale() -> None:
    maps = np.ones((2, 1, 4, 4)) * np.array([1.0, 0.25]).reshape(2, 1, 1, 1)
    both = Drawing(maps, maps, "NCHW", ["a", "b"], ["", ""], together=2, headings=["two", "two"])
    (section,), _ = both.sections()
    captions = [figure.caption for figure in section.figures]
    assert captions == ["input", "1. a", "2. b", "1. a", "2. b"]
    strong, weak = (Image.open(io.BytesIO(f.png)).getpixel((0, 0)) for f in section.figures[3:])
    assert strong != weak
    assert both.page().figure.axes


def test_composites_have_scales_of_their_own() -> None:
    maps = np.ones((2, 1, 4, 4)) * np.array([1.0, 0.25]).reshape(2, 1, 1, 1)
    both = Drawing(maps, maps, "NCHW", ["a", "b"], ["", ""], together=2, one_scale=False)
    figures = both.sections()[0][0].figures
    assert [figure.caption for figure in figures[1:3]] == ["a", "b"]
    first, second = (Image.open(io.BytesIO(f.png)).getpixel((0, 0)) for f in figures[3:])
    assert first == second


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"x_relevance": RNG.standard_normal((1, 3)), "file": np.ones(2), "/fc/y": np.arange(3)}
    save_arrays(tmp_path / "a.npz", arrays, {"composite": "é"})
    with np.load(tmp_path / "a.npz") as loaded:
        assert sorted(loaded.files) == ["/fc/y", "file", "metadata", "x_relevance"]
        np.testing.assert_array_equal(loaded["file"], arrays["file"])
        assert json.loads(str(loaded["metadata"])) == {"composite": "é"}


def test_a_section_without_numbers_has_no_table(tmp_path: Path) -> None:
    save_html(tmp_path / "a.html", [Section("a", [Figure(b"png")])])
    assert "<details>" not in (tmp_path / "a.html").read_text(encoding="utf-8")
