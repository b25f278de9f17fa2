"""`explain` of tables: charts, pages and .csv."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command, write
from models import network

import lrp_onnx
from lrp_onnx.answer.own_page import title_of_rows
from lrp_onnx.answer.samples import Sample
from lrp_onnx.visual.table import table_page

Capture = pytest.CaptureFixture[str]
DENSE = network("y = MatMul(x, w)", (1, 3), symbolic=(0,), w=(3, 2))


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dense model and a table of three rows."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dense.onnx", DENSE)
    (tmp_path / "t.csv").write_text("height,width,depth\n1,2,3\n-1,0.5,2\n0,0,-4\n")
    return tmp_path


@pytest.mark.parametrize("more", ["", "--row 2", "--target top-2"])
def test_relevance_of_columns_as_csv(more: str, tables: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "dense.onnx", "t.csv", "-o", "why.csv", *more.split())
    assert (outcome.status, outcome.err) == (0, "")
    with (tables / "why.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {"": [1, 2, 3], "--row 2": [2]}.get(more, [1, 1, 2, 2, 3, 3])
    assert [int(row["row"]) for row in rows] == numbers
    x = np.float32([[1, 2, 3], [-1, 0.5, 2], [0, 0, -4]])
    target = "top-2" if "top" in more else "argmax"
    relevance = lrp_onnx.Explainer(lrp_onnx.compile("dense.onnx", target=target))(x).relevance["x"]
    expected = relevance.reshape(-1, 3)[1:2] if more == "--row 2" else relevance.reshape(-1, 3)
    columns = [[float(row[name]) for name in ("height", "width", "depth")] for row in rows]
    np.testing.assert_allclose(columns, expected, rtol=1e-5)


def test_the_frame_of_a_table_names_its_columns(tables: Path) -> None:
    pytest.importorskip("pandas")
    why = lrp_onnx.explain("dense.onnx", "t.csv")
    frame = why.to_pandas()
    assert [*frame] == ["row", "place", "column", "value", "relevance"]
    of_depth = frame[frame["column"] == "depth"]
    assert of_depth["value"].tolist() == [3, 2, -4]
    np.testing.assert_allclose(of_depth["relevance"], why.relevance["x"][:, 2])
    of_classes = lrp_onnx.explain("dense.onnx", "t.csv", target="top-2").to_pandas()
    assert [*of_classes] == ["sample", "axis 1", "axis 2", "relevance"]


@pytest.mark.parametrize("more", ["", "--row 1", "--format html", "--format svg --target top-2"])
def test_a_chart_of_a_table(more: str, tables: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "dense.onnx", "t.csv", *more.split())
    assert (outcome.status, outcome.err) == (0, "")
    assert len([p for p in tables.iterdir() if ".lrp." in p.name]) == 1


@pytest.mark.parametrize(("more", "rows"), [("", "123"), ("--row 2", "2")])
def test_rows_have_the_numbers_that_row_takes(
    more: str, rows: str, tables: Path, capsys: Capture
) -> None:
    shown = run_command(capsys, "dense.onnx", "t.csv", *more.split()).out
    assert re.findall(r"^row (\d) +predicted", shown, re.M) == list(rows)
    shown = run_command(capsys, "dense.onnx", "t.csv", "--target", "top-2", *more.split()).out
    named = re.findall(r"^row (\d), rank (\d)", shown, re.M)
    assert named == [(row, rank) for row in rows for rank in "12"]


def test_a_csv_is_for_tables(tables: Path, capsys: Capture) -> None:
    np.save("x.npy", np.ones((1, 3), np.float32))
    outcome = run_command(capsys, "dense.onnx", "x.npy", "-o", "why.csv")
    assert outcome.status == 2
    assert "a .csv has the columns of a table, and this input is no table" in outcome.err


def bars(relevance: np.ndarray) -> tuple[list[str], list[float]]:
    """Names and lengths of the bars, from the top."""
    count = len(relevance)
    columns, values = ["a", "b", "c"], [["1", "2", "3"]] * count
    axes = table_page(relevance, columns, values, [*range(1, count + 1)]).figure.axes[0]
    return [t.get_text() for t in axes.get_yticklabels()], [p.get_width() for p in axes.patches]


def test_bars_are_sorted() -> None:
    names, widths = bars(np.array([[1.0, -3, 2]]))
    assert (names, widths) == (["b  =  2", "c  =  3", "a  =  1"], [-3, 2, 1])
    names, widths = bars(np.array([[1.0, -3, 2], [2, 1, 4]]))
    assert (names, widths) == (["c", "b", "a"], [3, 2, 1.5])


def test_the_title_of_many_rows_says_what_is_explained() -> None:
    samples = [Sample(f"{name}, 90.00%", "", None, 0.0) for name in ("no (0)", "yes (1)", "no (0)")]
    assert title_of_rows(samples, "t.csv") == "3 rows of t.csv: no (0) 2 times, yes (1) once"
    many = [Sample(f"class {k}, 1.0", "", None, 0.0) for k in range(6)]
    assert title_of_rows(many, "t.csv").endswith("class 3 once, 2 others")


@pytest.mark.parametrize(
    "given", ["t.csv --tokenizer tokenizer.json", "t.csv --preprocess imagenet", "x.npy --row 2"]
)
def test_an_option_for_another_kind_of_input_is_refused(
    given: str, tables: Path, capsys: Capture
) -> None:
    np.save(tables / "x.npy", np.float32([[1, 2, 3]]))
    outcome = run_command(capsys, "dense.onnx", *given.split())
    assert outcome.status == 2
    assert re.search(rf"{given.split()[1]} .*, and none is given\. Leave it out\.", outcome.err)


@pytest.mark.parametrize(("category", "told"), [("female", True), ("male", False)])
def test_a_category_that_counts_as_0_is_told(
    category: str, told: bool, tables: Path, capsys: Capture
) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
        g (string[N,1] sex, float[N,1] age) => (float[N,2] y)
        <float[2,2] w = {1, -1, 0.5, 0.25}> {
            k = ai.onnx.ml.LabelEncoder<keys_strings = ["female", "male"],
                                        values_floats = [0.0, 1.0]>(sex)
            x = Concat<axis = 1>(k, age) y = MatMul(x, w) }"""
    )
    write(tables / "people.onnx", model)
    (tables / "p.csv").write_text(f"sex,age\n{category},30\n")
    outcome = run_command(capsys, "people.onnx", "p.csv")
    assert outcome.status == 0, outcome.err
    assert ("the model counts 'female' as 0, so that its relevance is 0" in outcome.err) is told
