"""`lrp_onnx.explain`: one call, and the answer saves and shows itself."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import picture_net, write
from PIL import Image

import lrp_onnx
from lrp_onnx import digits
from lrp_onnx.errors import InputError, OutputError

MODEL, IMAGES, _ = digits.load()
X = IMAGES[:2, None].astype(np.float32) / 255
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_an_array_is_explained_and_the_answer_is_the_explainers(tmp_path: Path) -> None:
    why = lrp_onnx.explain(MODEL, X, labels=NAMES)
    expected = lrp_onnx.Explainer(lrp_onnx.compile(MODEL))(X)
    np.testing.assert_array_equal(why.relevance["image"], expected.relevance["image"])
    np.testing.assert_array_equal(why.outputs["logits"], expected.outputs["logits"])
    best = NAMES[int(why.outputs["logits"][0].argmax())]
    assert why.predictions[0].startswith(f"predicted: {best} (")
    assert best in repr(why)
    assert list(why.relevance) == ["image"]
    assert why.save(tmp_path / "why.png", panel="overlay") == [tmp_path / "why.png"]
    assert (tmp_path / "why.png").stat().st_size > 1000
    why.compiled.save(tmp_path / "digits.lrp.onnx")
    for compiled in (tmp_path / "digits.lrp.onnx", why.compiled.model, why.compiled.graph):
        again = lrp_onnx.explain(compiled, X[0]).relevance["image"][0]
        np.testing.assert_allclose(again, why.relevance["image"][0], atol=1e-5)


def test_a_picture_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    write(tmp_path / "model.onnx", picture_net(channels=3))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    why = lrp_onnx.explain(
        tmp_path / "model.onnx", tmp_path / "photo.png", preprocess="imagenet", target="top-2"
    )
    assert len(why.predictions) == 2
    shown = re.search(r'src="data:image/png;base64,([^"]+)"', why._repr_html_())
    assert shown is not None
    assert base64.b64decode(shown[1]).startswith(b"\x89PNG")
    why.save(tmp_path / "why.html")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "photo.png" in page
    assert str(tmp_path) not in page


def test_rows_of_numbers_and_dicts() -> None:
    row = X[0].tolist()
    one = lrp_onnx.explain(onnx.load_model_from_string(MODEL), row)
    same = lrp_onnx.explain(MODEL, {"image": X[:1]}, composite="auto")
    np.testing.assert_array_equal(one.relevance["image"], same.relevance["image"])


WRONG = {
    "a name": ({"x": X}, {}, "Its inputs: 'image'"),
    "a shape": (X[:, :, :5], {}, "Give that shape"),
    "a file": ("absent.png", {}, "absent.png"),
}


@pytest.mark.parametrize(("value", "options", "says"), WRONG.values(), ids=WRONG)
def test_inputs_that_do_not_fit(value: object, options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        lrp_onnx.explain(MODEL, value, **options)


def test_an_ending_that_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Choose one of these"):
        lrp_onnx.explain(MODEL, X).save(tmp_path / "why.gif")


def test_tables() -> None:
    pandas = pytest.importorskip("pandas")
    why = lrp_onnx.explain(MODEL, X)
    table = why.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert [*table] == ["sample", "axis 1", "axis 2", "axis 3", "value", "relevance"]
    place = table[(table["sample"] == 1) & (table["axis 2"] == 14) & (table["axis 3"] == 9)]
    assert place["relevance"].item() == why.relevance["image"][1, 0, 14, 9]
    assert place["value"].item() == X[1, 0, 14, 9]
    assert len(why.result.to_pandas("image")) == X.size
    with pytest.raises(InputError, match="Those that have: 'image'"):
        why.to_pandas("logits")


def test_results_and_compiled_models_show_themselves() -> None:
    why = lrp_onnx.explain(MODEL, X)
    assert "<td>relevance of</td><td>image</td><td>[2, 1, 28, 28]</td>" in why.result._repr_html_()
    shown = why.compiled._repr_html_()
    assert "<td>argmax</td>" in shown
    assert "image_relevance" in shown


def test_what_is_public_is_listed() -> None:
    assert set(dir(lrp_onnx)) == {*lrp_onnx.__all__, "__version__"}
    assert all(hasattr(lrp_onnx, name) for name in dir(lrp_onnx))
