"""Tables as inputs: columns by name and in order, with a header or without, and categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pandas
import pytest

from lrp_onnx.data.samples import wanted_by
from lrp_onnx.data.table import read_table
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

F32, TEXT = np.dtype("float32"), np.dtype(object)
X = Wanted("X", F32, ("N", 2))
APART = [Wanted("age", F32, ("N", 1)), Wanted("sex", TEXT, ("N", 1))]

FITS = {
    "a header": ("a,b\n1,2\n3,4\n", [X], {"X": [[1, 2], [3, 4]]}, None),
    "no header": ("1,2\n3,4\n", [X], {"X": [[1, 2], [3, 4]]}, None),
    "semicolons": ("a;b\n1;2\n", [X], {"X": [[1, 2]]}, None),
    "an answer beside": ("id,a,b,Target\n7,1,2,0\n", [X], {"X": [[1, 2]]}, "left out id, Target"),
    "missing values": ("a,b\n1,\n", [X], {"X": [[1, np.nan]]}, None),
    "by name": ("Sex,x,Age\nf,9,30\n", APART, {"age": [[30]], "sex": [["f"]]}, "left out x"),
    "by order": ("30,f\n", APART, {"age": [[30]], "sex": [["f"]]}, None),
    "an open width": ("a,b,c\n1,2,3\n", [Wanted("X", F32, ("N", None))], {"X": [[1, 2, 3]]}, None),
    "one axis": ("a\n1\n2\n", [Wanted("a", F32, ("N",))], {"a": [1, 2]}, None),
}


@pytest.mark.parametrize(("text", "inputs", "feeds", "notice"), FITS.values(), ids=FITS)
def test_columns_find_their_inputs(
    text: str, inputs: list[Wanted], feeds: dict[str, object], notice: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    table = read_table(tmp_path / "t.csv", inputs)
    for wanted in inputs:
        np.testing.assert_array_equal(table.feeds[wanted.name], feeds[wanted.name])
        assert table.feeds[wanted.name].dtype == wanted.dtype
    assert (table.notice or "").endswith(notice or "")
    assert bool(table.notice) == bool(notice)


def test_names_of_columns(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"a": [1.0, 3], "b": [2, 4]})
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    assert read_table(tmp_path / "t.parquet", [X]).columns == {"X": ["a", "b"]}
    assert read_table(tmp_path / "t.csv", [X]).columns == {"X": ["column 1", "column 2"]}
    one = read_table(tmp_path / "t.parquet", [X], row=2)
    assert (one.feeds["X"].tolist(), one.rows) == ([[3, 4]], [2])


REFUSED = {
    "too many": ("a,b,c\n1,2,3\n", [X], "has 3 columns (a, b, c), and the model wants 2"),
    "too few": ("a\n1\n", [X], "has 1 columns (a), and the model wants 2"),
    "text": ("a,b\n1,red\n", [X], "'b': 'red' is no number, and the model takes float32"),
    "no rows": ("a,b\n", [X], "has no rows"),
    "a missing integer": ('a\n1\n""\n', [Wanted("a", np.dtype("int64"), ("N", 1))], "1 values are"),
    "infinity": ("a,b\n1e999,1\n", [X], "'a': inf is too large for float32"),
    "more values than names": ("a,b\n1,2,3\n", [X], "has more values than the first has names"),
    "a picture": ("a,b\n1,2\n", [Wanted("x", F32, ("N", 3, 8, 8))], "takes no rows of a table"),
    "one at a time": ("a,b\n1,2\n3,4\n", [Wanted("X", F32, (1, 2))], "Choose one with --row"),
}


def test_a_comma_at_the_end_of_each_row_shifts_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2,\n3,4,\n")
    assert read_table(tmp_path / "t.csv", [X]).feeds["X"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("text", "inputs", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_said(
    text: str, inputs: list[Wanted], said: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=r"\.") as caught:
        read_table(tmp_path / "t.csv", inputs)
    assert said in str(caught.value)


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n")
    with pytest.raises(InputError, match="has 1 rows, and no row 2"):
        read_table(tmp_path / "t.csv", [X], row=2)


def test_a_category_that_the_model_does_not_know(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
        g (float[N,1] age, string[N,1] sex) => (float[N,1] y, float[N,1,2] z) {
            y = Identity(age)
            z = ai.onnx.ml.OneHotEncoder <cats_strings = ["female", "male"]> (sex)
        }"""
    )
    inputs = wanted_by(ir.serde.deserialize_model(model))
    assert [want.known for want in inputs] == [(), ("female", "male")]
    (tmp_path / "t.csv").write_text("age,sex\n30,male\n40,Male\n")
    with pytest.raises(InputError, match=r"'sex': the model knows no 'Male'\. It knows 'fem"):
        read_table(tmp_path / "t.csv", inputs)
    assert read_table(tmp_path / "t.csv", inputs, row=1).feeds["sex"].tolist() == [["male"]]


@pytest.mark.parametrize(
    "moved", ["", "c = Gather<axis = 1>(port, i)", "c = Concat<axis = 1>(port)"]
)
def test_categories_are_known_behind_what_only_moves_them(moved: str) -> None:
    read = "c" if moved else "port"
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
        g (string[N,1] port) => (int64[N,1] y) <int64[1] i = {{0}}> {{ {moved}
        y = ai.onnx.ml.LabelEncoder<keys_strings = ["x", "z"], values_int64s = [1, 0]>({read}) }}"""
    )
    (wanted,) = wanted_by(ir.serde.deserialize_model(model))
    assert (wanted.known, wanted.zero) == (("x", "z"), "z")
