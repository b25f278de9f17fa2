"""What a worker makes of a shard: a row an input, as the explainer has it, or the reason why not.

Ray itself is not started here: model_zoo_scripts/scale.py runs the command, kills and resumes it.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from commands import picture_net
from models import network
from PIL import Image
from pyarrow import parquet

import lrp_onnx
from lrp_onnx import Explainer, InputError
from lrp_onnx.data.preprocess import PRESETS
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.graph.model_file import load
from lrp_onnx.scale.columns import schema_of
from lrp_onnx.scale.parts import count_rows, missing_shards, remove_torn
from lrp_onnx.scale.plan import read_plan, shards_of, write_plan
from lrp_onnx.scale.samples import Reading
from lrp_onnx.scale.stored import Form
from lrp_onnx.scale.worker import Job, Worker, part_of

X = np.random.default_rng(3).standard_normal((10, 1, 8, 8)).astype(np.float32)
TABLE = network("h = MatMul(x, w) y = Relu(h)", (1, 3), symbolic=(0,), w=(3, 2))


def job_of(folder: Path, model: Any = None, form: Form | None = None, **settings: Any) -> Job:
    """A job on a model, compiled into the folder."""
    model = model or picture_net()
    options = {k: settings.pop(k) for k in ("target",) if k in settings}
    compiled = lrp_onnx.compile(model, check=False, **options)
    compiled.save(folder / "c.onnx")
    (folder / "parts").mkdir()
    form, original = form or Form("float32"), [v.name for v in model.graph.output]
    graph = load(model.SerializeToString())
    return Job(
        folder=folder / "parts",
        model=folder / "c.onnx",
        schema=schema_of(
            compiled.graph, original, form, settings.pop("outputs", "explained"), False
        ),
        reading=Reading(wanted_by(graph), **settings),
        form=form,
        batch=4,
        threads=1,
        conditions={},
    )


def rows_of(job: Job, *inputs: Path | str, size: int = 4) -> list[dict[str, Any]]:
    """All rows that a run writes."""
    worker = Worker(job)
    for shard in shards_of(list(map(str, inputs)), size, job.folder.parent / "rows"):
        count, failed = worker.explain(shard)
        part = parquet.read_table(part_of(job.folder, shard.number))
        assert count == shard.rows == len(part)
        assert failed == len(part) - part["error"].null_count
    return parquet.read_table(job.folder).to_pylist()


def relevance_of(row: dict[str, Any], name: str = "image_relevance") -> np.ndarray:
    q = np.array(row[name], np.float32) * np.float32(row[f"{name}.scale"])
    return q.reshape(row[f"{name}.shape"])


def test_rows_are_what_the_explainer_gives(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    job = job_of(tmp_path)
    rows = rows_of(job, tmp_path / "x.npy")
    assert [row["row"] for row in rows] == list(range(10))
    for row, expected in zip(rows, Explainer(job.model).many([x[None] for x in X]), strict=True):
        logits = expected.outputs["logits"][0]
        np.testing.assert_allclose(row["logits"], logits, rtol=1e-5)
        np.testing.assert_allclose(relevance_of(row), expected.relevance["image"][0], atol=1e-5)
        assert row["image_relevance.sum"] == pytest.approx(expected.relevance["image"].sum(), 1e-3)
        assert row["logits.class"] == logits.argmax()
        assert row["logits.score"] == pytest.approx(logits.max())
        assert (row["error"], row["input"]) == (None, str(tmp_path / "x.npy"))


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-10), ("int8", 0.51 / 127)])
def test_relevance_in_fewer_bits(dtype: str, error: float, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", 1e6 * X[:3])
    job = job_of(tmp_path, form=Form(dtype))
    for k, row in enumerate(rows_of(job, tmp_path / "x.npy")):
        exact = Explainer(job.model)(1e6 * X[k : k + 1]).relevance["image"][0]
        assert np.abs(exact).max() > 65504
        assert np.abs(relevance_of(row) - exact).max() <= error * np.abs(exact).max()
        assert row["image_relevance.sum"] == pytest.approx(exact.sum(), rel=1e-3)


@pytest.mark.parametrize("target", ["argmax", "top-2"])
def test_pooled_relevance_keeps_its_sum(target: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    job = job_of(tmp_path, form=Form("float32", (3, 2)), target=target)
    (row,) = rows_of(job, tmp_path / "x.npy")
    exact = Explainer(job.model)(X[:1]).relevance["image"][0].sum(-3)
    pooled = relevance_of(row)
    assert pooled.shape == (*exact.shape[:-2], 3, 2)
    np.testing.assert_allclose(pooled[..., 1, 1], exact[..., 2:5, 4:].sum((-2, -1)), atol=1e-5)
    np.testing.assert_allclose(pooled.sum(), exact.sum(), atol=1e-4)


def test_more_cells_than_places_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    (row,) = rows_of(job_of(tmp_path, form=Form("int8", (9,))), tmp_path / "x.npy")
    assert "--pool 9: there are 8 places" in row["error"]


def test_pictures_with_a_broken_one_among_them(tmp_path: Path) -> None:
    (tmp_path / "p" / "q").mkdir(parents=True)
    for k in range(40):
        pixels = np.full((8, 8), 3 * k, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p" / ("q" if k % 2 else "") / f"{k:02}.png")
    (tmp_path / "p" / "05.png").write_bytes(b"no picture")
    (tmp_path / "p" / "notes.md").write_text("left out")
    job = job_of(tmp_path, preprocess=PRESETS["unit"])
    rows = rows_of(job, tmp_path / "p", size=36)
    assert [row["input"] for row in rows] == sorted(str(p) for p in tmp_path.glob("p/*.png")) + (
        sorted(str(p) for p in tmp_path.glob("p/q/*.png"))
    )
    (failed,) = (row for row in rows if row["error"])
    assert "05.png': not a picture" in failed["error"]
    assert failed["image_relevance"] is failed["logits.class"] is failed["row"] is None
    last = np.full((1, 1, 8, 8), 117 / 255, np.float32)
    expected = Explainer(job.model)(last).relevance["image"][0]
    np.testing.assert_allclose(relevance_of(rows[-1]), expected, atol=1e-5)


def test_a_list_of_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:2])
    (tmp_path / "list").write_text(f"{tmp_path}/x.npy\n\n{tmp_path}/gone.png\n{tmp_path}/y.npz\n")
    rows = rows_of(job_of(tmp_path, preprocess=PRESETS["unit"]), f"@{tmp_path}/list")
    errors = {Path(row["input"]).name: row["error"] for row in rows}
    assert errors["x.npy"] is None
    assert "there is no such file" in errors["gone.png"]
    assert "No such file" in errors["y.npz"]


def test_what_cannot_be_explained_costs_its_row_alone(tmp_path: Path) -> None:
    broken = X.copy()
    broken[3, 0, 2, 2] = np.nan
    np.savez(tmp_path / "x.npz", image=broken)
    np.savez(tmp_path / "wide.npz", image=np.zeros((2, 1, 8, 9), np.float32))
    rows = rows_of(job_of(tmp_path), tmp_path / "x.npz", tmp_path / "wide.npz")
    failed = {(Path(row["input"]).name, row["row"]): row["error"] for row in rows if row["error"]}
    assert list(failed) == [("x.npz", 3), ("wide.npz", 0), ("wide.npz", 1)]
    assert "'image' holds NaN" in failed["x.npz", 3]
    assert "[1, 1, 8, 9]" in failed["wide.npz", 1]


def test_an_array_that_claims_more_than_it_holds_costs_one_row(tmp_path: Path) -> None:
    np.save(tmp_path / "lie.npy", X)
    header = (tmp_path / "lie.npy").read_bytes().replace(b"(10, 1, 8, 8)", b"(10**9,1,8,8)")
    (tmp_path / "lie.npy").write_bytes(header.replace(b"10**9", b"99999"))
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.write(tmp_path / "lie.npy", "image.npy")
    rows = rows_of(job_of(tmp_path), tmp_path / "lie.npy", tmp_path / "lie.npz")
    assert len(rows) == 2
    assert all("header claims 25599744 bytes" in row["error"] for row in rows)


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


TABLES = {
    "features": table(a=[1.0, 2.0], name=["p", "q"], b=[3, 4], c=[5.5, 6.5]),
    "lists": table(x=pa.array([[1.0, 3, 5.5], [2, 4, 6.5]])),
    "tensors": table(
        x=pa.FixedShapeTensorArray.from_numpy_ndarray(
            np.array([[1, 3, 5.5], [2, 4, 6.5]], np.float32)
        )
    ),
}


@pytest.mark.parametrize("case", [*TABLES, "csv"])
def test_rows_of_a_table(case: str, tmp_path: Path) -> None:
    file = tmp_path / ("t.csv" if case == "csv" else "t.parquet")
    if case == "csv":
        rows = [("a", "name", "b", "c"), (1.0, "p, or\nso", 3, 5.5), (2.0, "q", 4, 6.5)]
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    else:
        parquet.write_table(TABLES[case], file)
    job = job_of(tmp_path, TABLE)
    values = np.array([[1, 3, 5.5], [2, 4, 6.5]], np.float32)
    expected = Explainer(job.model)(values).relevance["x"]
    rows = rows_of(job, file)
    assert [(row["input"], row["row"], row["error"]) for row in rows] == [
        (str(file), 0, None),
        (str(file), 1, None),
    ]
    found = [relevance_of(row, "x_relevance") for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_column_of_paths_is_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 117, np.uint8)).save(tmp_path / "p.png")
    paths = [str(tmp_path / "p.png"), str(tmp_path / "gone.png"), None]
    parquet.write_table(table(image=paths, other=[1, 2, 3]), tmp_path / "t.parquet")
    job = job_of(tmp_path, preprocess=PRESETS["unit"])
    first, second, third = rows_of(job, tmp_path / "t.parquet")
    expected = Explainer(job.model)(np.full((1, 1, 8, 8), 117 / 255, np.float32))
    np.testing.assert_allclose(relevance_of(first), expected.relevance["image"][0], atol=1e-5)
    assert "there is no such file" in second["error"]
    assert "column 'image'': it is empty" in third["error"]


def test_a_cell_without_a_number_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n1,no,3\n1,,3\n4,5,6\n")
    rows = rows_of(job_of(tmp_path, TABLE), tmp_path / "t.csv", size=3)
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert "t.csv, row 1': column 'b' holds 'no', which is no number" in rows[1]["error"]
    assert "row 2': column 'b' holds None" in rows[2]["error"]


def test_columns_that_do_not_fit_are_told(tmp_path: Path) -> None:
    parquet.write_table(table(a=[1.0], b=[2.0], label=[1], c=[3.0]), tmp_path / "t.parquet")
    (tmp_path / "one").mkdir()
    (row,) = rows_of(job_of(tmp_path / "one", TABLE), tmp_path / "t.parquet")
    assert "has 3 features, and the table 4 columns" in row["error"]
    (tmp_path / "two").mkdir()
    job = job_of(tmp_path / "two", TABLE, columns=("c", "b", "a"))
    (row,) = rows_of(job, tmp_path / "t.parquet")
    expected = Explainer(job.model)(np.array([[3, 2, 1]], np.float32)).relevance["x"][0]
    np.testing.assert_allclose(relevance_of(row, "x_relevance"), expected, atol=1e-5)


def test_row_groups_are_parted_and_joined(tmp_path: Path) -> None:
    parquet.write_table(table(x=list(range(100))), tmp_path / "t.parquet", row_group_size=7)
    parquet.write_table(table(x=list(range(100))), tmp_path / "u.parquet")
    files = [str(tmp_path / "t.parquet"), str(tmp_path / "u.parquet")]
    shards = list(shards_of(files, 30, tmp_path))
    assert [(s.start, s.stop) for s in shards] == [
        (0, 28), (28, 56), (56, 84), (84, 100),
        (0, 30), (30, 60), (60, 90), (90, 100),
    ]  # fmt: skip
    assert write_plan(shards, tmp_path / "plan.parquet") == (8, 200)
    assert list(read_plan(tmp_path / "plan.parquet")) == shards


def test_files_are_cut_into_few_pieces_where_each_reads_what_precedes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((200, 1)))
    np.savez(tmp_path / "y.npz", x=np.zeros((200, 1)))
    counts = [
        sum(1 for _ in shards_of([str(tmp_path / name)], 2, tmp_path))
        for name in ("x.npy", "y.npz")
    ]
    assert counts == [100, 29]


def test_a_killed_run_has_whole_parts_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    job = job_of(tmp_path)
    shards = list(shards_of([str(tmp_path / "x.npy")], 4, tmp_path))
    write_plan(shards, tmp_path / "plan.parquet")
    Worker(job).explain(shards[1])
    (job.folder / ".lrp-onnx-torn").mkdir()
    (job.folder / ".lrp-onnx-torn" / "part-00000000.parquet").write_bytes(b"half")
    remove_torn(job.folder)
    assert [path.name for path in job.folder.iterdir()] == ["part-00000001.parquet"]
    assert missing_shards(tmp_path / "plan.parquet", job.folder) == ([shards[0], shards[2]], 4)
    assert count_rows(job.folder) == (4, 0)


@pytest.mark.parametrize(
    ("text", "fact"), [("gone.npy", "no such file"), ("@gone", "list 'gone'"), (".", "holds no")]
)
def test_what_is_not_there_is_told_at_once(text, fact, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=fact):
        list(shards_of([text], 4, tmp_path))


def test_each_line_of_a_text_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nfilm\ngood")
    (tmp_path / "lines.txt").write_text("a good film\n\nfilm\na film\n")
    model = ids_network()
    job = job_of(tmp_path, model, tokenizer=tmp_path / "vocab.txt")
    rows = rows_of(job, tmp_path / "lines.txt", size=3)
    assert [(row["row"], row["input_ids_relevance.shape"]) for row in rows] == [
        *((0, [5]), (1, None), (2, [3]), (3, [4]))
    ]
    assert rows[1]["error"] == "the text '' has no tokens. Write some words."
    ids = np.array([[2, 5, 7, 6, 3]])
    expected = Explainer(job.model)(ids).relevance["input_ids"][0]
    np.testing.assert_allclose(relevance_of(rows[0], "input_ids_relevance"), expected, atol=1e-6)


def ids_network() -> Any:
    """Token ids [N, tokens] to two classes, by the mean of their embeddings."""
    text = """<ir_version: 8, opset_import: ["": 18]> g (int64[N, T] input_ids) => (float[N, 2] y) {
        e = Gather(table, input_ids) m = ReduceMean<keepdims = 0>(e, one) y = MatMul(m, w) }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.standard_normal((8, 3)).astype(np.float32),
        "one": np.array([1]),
        "w": rng.standard_normal((3, 2)).astype(np.float32),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in constants.items())
    return model
