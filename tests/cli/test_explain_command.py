"""What `explain`, `verify` and `bench` say of odd input, of folders, of conditions and of steps."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, text_net, write
from models import network
from PIL import Image

import lrp_onnx
from lrp_onnx.errors import InputError

Capture = pytest.CaptureFixture[str]

TOLERANT = network(
    "n = IsNaN(x) o = Where(n, zero, x) y = MatMul(o, w)", (1, 4), zero=np.float32(0), w=(4, 3)
)  # fmt: skip
STEEP = network("h = MatMul(x, w) y = MatMul(h, v)", (1, 4),
                w=np.eye(4) * 1e25, v=np.eye(4) * 1e25)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models, arrays of them good and bad, a photo and a folder of mixed files."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    write(tmp_path / "model.onnx", picture_net())
    write(tmp_path / "three.onnx", picture_net(channels=3))
    write(tmp_path / "tolerant.onnx", TOLERANT)
    write(tmp_path / "steep.onnx", STEEP)
    x = rng.standard_normal((2, 1, 8, 8)).astype(np.float32)
    np.save("x.npy", x)
    np.save("features.npy", np.float32([[1, np.nan, 2, 3]]))
    np.save("tiny.npy", np.full((1, 4), 1e-25, np.float32))
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        x[1, 0, 3, 4] = value
        np.save(f"{name}.npy", x)
    pixels = rng.integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    (tmp_path / "mixed").mkdir()
    Image.fromarray(pixels).save("mixed/b.jpg")
    np.save("mixed/c.npy", x[:1])
    np.save("mixed/d.npy", x[1:])
    (tmp_path / "mixed" / "a.jpg").write_bytes(b"no picture")
    return tmp_path


NOT_FINITE = {
    "nan": ("model.onnx nan.npy", "'nan.npy': input 'image' holds NaN at [1, 0, 3, 4], and", 2),
    "infinity": ("model.onnx infinite.npy", "infinity at [1, 0, 3, 4]", 2),
    "top-K": ("model.onnx nan.npy --target top-2", "'nan.npy'", 2),
    "a class": ("model.onnx nan.npy --target 1-2", "'nan.npy'", 2),
    "started at one": ("model.onnx nan.npy --composite flat --start one", "'nan.npy'", 2),
    "a gradient": ("model.onnx nan.npy --method gradient", "the explained value is not finite", 2),
    "finite input": ("steep.onnx tiny.npy --method gradient",
                     "the input is finite, but the relevance of 'x' is not. lrp-onnx verify", 1),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["png", "npz"])
@pytest.mark.parametrize(("arguments", "fact", "status"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_what_is_not_finite_is_no_explanation(
    arguments: str, fact: str, status: int, ending: str, folder: Path, capsys: Capture
) -> None:
    outcome = run_command(capsys, "explain", *arguments.split(), "-o", f"out.{ending}")
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err.count("\n") == 1
    assert fact in outcome.err
    assert not (folder / f"out.{ending}").exists()


def test_a_model_may_tolerate_nan(folder: Path, capsys: Capture) -> None:
    arguments = ["tolerant.onnx", "features.npy", "-o", "out.npz", "--composite", "epsilon"]
    assert run_command(capsys, "explain", *arguments).status == 0
    with np.load("out.npz") as arrays:
        assert np.isfinite(arrays["x_relevance"]).all()


def test_verify_finds_the_node_that_explain_speaks_of(folder: Path, capsys: Capture) -> None:
    shown = run_command(capsys, "explain", "steep.onnx", "tiny.npy", "-o", "r.npz", "--method",
                        "gradient").err  # fmt: skip
    command = re.search(r"lrp-onnx (verify \S+ \S+) with the same options shows", shown)
    assert command is not None
    outcome = run_command(capsys, *command[1].split(), "--method", "gradient")
    assert outcome.status == 1
    assert "is not finite" in outcome.err


@pytest.mark.usefixtures("memory_unmeasured")
@pytest.mark.parametrize("command", ["verify", "bench --runs 2"])
def test_a_picture_is_prepared_as_for_explain(command: str, folder: Path, capsys: Capture) -> None:
    given = [*command.split(), "three.onnx", "photo.png"]
    assert "Give --preprocess imagenet" in run_command(capsys, *given).err
    asked = ("--preprocess", "imagenet", "--target", "3")
    outcome = run_command(capsys, *given, *asked)
    assert (outcome.status, outcome.err) == (0, "")
    assert "image [1, 3, 8, 8]" in outcome.out
    # the bounds of zbox come from the pictures' preprocessing
    box = run_command(capsys, *given, *asked, "--composite", "epsilon-gamma-box")
    assert (box.status, box.err) == (0, "")


def test_all_that_is_open_is_asked_at_once(folder: Path, capsys: Capture) -> None:
    model = picture_net(3)
    model.graph.node.append(onnx.helper.make_node("Tanh", ["f"], ["features"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("features", 1, None))
    onnx.save(model, "two.onnx")
    ways = [["photo.png"], ["photo.png", "photo.png"],
            ["photo.png", "--composite", "epsilon", "--composite", "flat"]]  # fmt: skip
    told = [run_command(capsys, "explain", "two.onnx", *way).err for way in ways]
    with pytest.raises(InputError) as caught:
        lrp_onnx.explain("two.onnx", "photo.png")
    for asked in [*told, str(caught.value)]:
        assert "Give --preprocess imagenet" in asked
        assert "Besides, several outputs are of a float type. Choose one with --output" in asked
    both = ("--preprocess", "imagenet", "--output", "logits")
    assert run_command(capsys, "explain", "two.onnx", "photo.png", *both).status == 0
    one = run_command(capsys, "explain", "three.onnx", "photo.png").err
    assert "Give --preprocess imagenet" in one
    assert "Besides" not in one


def test_verify_sums_what_explain_draws(folder: Path, capsys: Capture) -> None:
    given = ["three.onnx", "photo.png", "--preprocess", "inception"]
    run_command(capsys, "explain", *given, "-o", "r.npz")
    with np.load("r.npz") as arrays:
        total = arrays["image_relevance"].sum()
    shown = run_command(capsys, "verify", *given).out
    found = re.search(r"relevance +image: (\S+) of", shown)
    assert found is not None
    assert float(found[1]) == pytest.approx(total, rel=1e-4)


def test_a_preprocess_needs_a_picture(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "verify", "three.onnx", "--preprocess", "unit")
    assert outcome.status == 2
    assert "no picture is given" in outcome.err


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_a_compiled_model_is_not_explained_again(
    command: str, folder: Path, capsys: Capture
) -> None:
    lrp_onnx.compile("model.onnx", target="input").save("compiled.onnx")
    outcome = run_command(capsys, command, "compiled.onnx", "x.npy")
    assert outcome.status == 2
    assert "already computes relevance" in outcome.err


def test_a_folder_goes_on_where_a_file_fails(folder: Path, capsys: Capture) -> None:
    arguments = ["explain", "model.onnx", "mixed", "-o", "why", "--preprocess", "unit"]
    outcome = run_command(capsys, *arguments)
    assert outcome.status == 1
    assert sorted(p.name for p in (folder / "why").glob("*.png")) == ["b.png", "c.png"]
    lines = outcome.err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["not explained"] * 2
    assert "mixed/a.jpg" in lines[0]
    assert "'mixed/d.npy': input 'image' holds infinity" in lines[1]
    assert "2 of 4 files" in outcome.out
    assert re.search(r"^wrote +2 files into why$", outcome.out, re.M)


def test_a_batch_that_cannot_be_run_is_run_one_by_one(folder: Path, capsys: Capture) -> None:
    model = text_net()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    write(folder / "text.onnx", model)
    (folder / "texts").mkdir()
    for name, token in {"a": 3, "b": 70, "c": 19, "d": 20}.items():
        np.save(f"texts/{name}.npy", np.full((1, 6), token))
    arguments = ["explain", "text.onnx", "texts", "-o", "why", "--batch", "2", "--format", "npz"]
    outcome = run_command(capsys, *arguments)
    assert outcome.status == 1
    assert sorted(p.name for p in (folder / "why").glob("*.npz")) == ["a.npz", "c.npz"]
    assert [name in outcome.err for name in ("a.npy", "b.npy", "c.npy", "d.npy")] == [
        False, True, False, True,
    ]  # fmt: skip


def test_a_folder_of_failures_leaves_nothing(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "explain", "three.onnx", "mixed", "-o", "why")
    assert outcome.status == 2
    assert "none of the 4 files can be explained. The first: picture 'mixed/a.jpg'" in outcome.err
    assert not (folder / "why").exists()


def test_a_condition_is_in_every_title(folder: Path, capsys: Capture) -> None:
    arguments = ["explain", "model.onnx", "x.npy", "--condition", "h=2,0"]
    shown = run_command(capsys, *arguments, "-o", "c.html").out
    page = (folder / "c.html").read_text(encoding="utf-8")
    assert "<h1>Relevance: model.onnx, through h: 2, 0</h1>" in page
    assert len(re.findall(r'<p class="why">[^<]+ · through h: 2, 0', page)) == 2
    assert re.search(r"sample 1 +predicted: .*; through h: 2, 0\n", shown)
    run_command(capsys, *arguments, "-o", "c.png")
    with Image.open("c.png") as image:
        assert image.info["condition"] == "h: 2, 0"


def test_a_folder_says_who_tells_of_the_steps(folder: Path, capsys: Capture) -> None:
    arguments = ["explain", "model.onnx", "mixed", "-o", "why", "--preprocess", "unit"]
    outcome = run_command(capsys, *arguments, "--method", "integrated-gradients", "--steps", "4")
    assert "lrp-onnx verify model.onnx INPUT --method integrated-gradients --steps 4" in outcome.out


def maps_net() -> onnx.ModelProto:
    """MatMul, Softmax and a ZipMap, as converters end a classifier; only the ends have types."""
    tensor = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    kind = onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, tensor)
    maps = onnx.helper.make_sequence_type_proto(kind)
    weight = np.random.default_rng(4).standard_normal((4, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["z"], "fc"),
        onnx.helper.make_node("Softmax", ["z"], ["p"], "softmax"),
        onnx.helper.make_node(
            "ZipMap", ["p"], ["maps"], "zip", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]
        ),
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])
    graph = onnx.helper.make_graph(
        nodes, "maps", [x], [onnx.helper.make_value_info("maps", maps)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.onnx.ml", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.usefixtures("memory_unmeasured")
@pytest.mark.parametrize(
    "arguments",
    ["compile -o o.onnx", "explain features -o o", "explain two.npy -o o.npz",
     "explain two.npy -o o.html --target top-2", "explain two.npy -o o.png --method saliency",
     "explain two.npy -o o.png --target 1", "explain two.npy -o o.png --target 2-0",
     "inspect", "verify two.npy", "bench --runs 2"],
)  # fmt: skip
def test_every_command_takes_a_model_whose_output_are_maps(
    arguments: str, folder: Path, capsys: Capture
) -> None:
    write(folder / "maps.onnx", maps_net())
    (folder / "features").mkdir()
    for name in ("two.npy", "features/a.npy", "features/b.npy"):
        np.save(name, np.float32([[1, 2, 3, 4], [4, 3, 2, -1]]))
    command, *rest = arguments.split()
    more = [] if "--method" in rest else ["--composite", "epsilon"]
    outcome = run_command(capsys, command, "maps.onnx", *rest, *more)
    assert (outcome.status, outcome.err) == (0, "")
    if command == "explain":
        assert outcome.out.count("predicted: class") == (2 if "top-2" not in rest else 4) * (
            2 if "features" in rest else 1
        )
    if arguments == "explain two.npy -o o.npz":
        with np.load("o.npz") as arrays:
            assert sorted(arrays.files) == ["metadata", "p", "x_relevance"]
            assert arrays["p"].sum(axis=1) == pytest.approx(1)


def test_composites_stand_side_by_side(folder: Path, capsys: Capture) -> None:
    given = ["explain", "three.onnx", "photo.png", "--preprocess", "imagenet"]
    several = ["--composite", "epsilon", "--composite", "zplus", "--composite", "auto"]
    shown = run_command(capsys, *given, *several, "-o", "all.html")
    assert (shown.status, shown.err) == (0, "")
    page = Path("all.html").read_text(encoding="utf-8")
    assert page.count("<img") == 1 + 2 * 3
    for name in ("epsilon", "zplus", "auto"):
        assert f"<figcaption>{name}</figcaption>" in page
        alone = run_command(capsys, *given, "--composite", name, "-o", "one.png").out
        total = re.search(r"relevance +(sum \S+)", alone)
        assert total is not None
        assert re.search(rf"{name} +{re.escape(total[1])}", shown.out)
    assert run_command(capsys, *given, *several, "-o", "all.png").status == 0
    with Image.open("all.png") as image:
        assert image.info["composite"] == "epsilon, zplus, auto"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("photo.png -o all.npz", "arrays are no picture"),
        ("mixed -o why", "several inputs are given"),
        ("photo.png -o a.png --target top-2", "Choose one --target"),
    ],
)
def test_composites_that_no_picture_compares(
    arguments: str, says: str, folder: Path, capsys: Capture
) -> None:
    given = ["explain", "three.onnx", *arguments.split(), "--preprocess", "imagenet"]
    outcome = run_command(capsys, *given, "--composite", "epsilon", "--composite", "zplus")
    assert (outcome.status, outcome.out) == (2, "")
    assert says in outcome.err


@pytest.mark.parametrize("kind", ["png", "html", "npz"])
def test_a_folder_has_a_page_that_leads_to_the_answers(
    kind: str, folder: Path, capsys: Capture
) -> None:
    shown = run_command(capsys, "explain", "model.onnx", "mixed", "-o", "why/", "--format", kind,
                        "--preprocess", "unit")  # fmt: skip
    assert shown.status == 1  # one is no picture, one is not finite
    page = Path("why/index.html").read_text(encoding="utf-8")
    answers = re.findall(r'<a href="([^"]+)"><img', page)
    assert answers == [f"{name}.{kind}" for name in "bc"]
    assert all((folder / "why" / name).exists() for name in answers)
    assert str(folder) not in page
    with Path("why/predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["b.jpg", "c.npy"]
    compiled = lrp_onnx.Explainer(lrp_onnx.compile("model.onnx"))
    total = compiled(np.load("mixed/c.npy")).relevance["image"].sum()
    assert float(rows[1]["relevance"]) == pytest.approx(total, rel=1e-4)
    told = re.search(r"([\d.]+)%", rows[1]["prediction"])
    assert told is not None
    assert 100 * float(rows[1]["probability"]) == pytest.approx(float(told[1]), abs=0.5)
    record = json.loads(Path("why/predictions.json").read_text(encoding="utf-8"))
    assert record[1]["prediction"] == rows[1]["prediction"]


def test_an_answer_that_is_named_index_stays(folder: Path, capsys: Capture) -> None:
    np.save("mixed/index.npy", np.load("mixed/c.npy"))
    given = ["explain", "model.onnx", "mixed", "-o", "why/", "--format", "html"]
    run_command(capsys, *given, "--preprocess", "unit")
    assert "<section>" in Path("why/index.html").read_text(encoding="utf-8")
    assert "<section>" not in Path("why/_index.html").read_text(encoding="utf-8")


def test_a_softmax_that_prefers_nothing_is_no_probability(folder: Path, capsys: Capture) -> None:
    """As that of an embedding: its largest number is told."""
    weights = np.float32([[0.1 * np.sin(k) for k in range(40)]])
    for scale, told in ((1, "0.09999"), (1e3, "%")):
        write(folder / "dense.onnx", network("y = MatMul(x, w)", (1, 1), w=scale * weights))
        np.save("one.npy", np.ones((1, 1), np.float32))
        shown = run_command(capsys, "explain", "dense.onnx", "one.npy", "-o", "out.npz").out
        (predicted,) = (line for line in shown.splitlines() if "predicted" in line)
        assert told in predicted
        assert ("%" in predicted) is (told == "%")
