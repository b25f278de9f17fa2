"""Whatever is wrong with what the user gives: one paragraph, status 2, and no file is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Outcome, picture_net, run_command, text_net, write
from onnx import TensorProto, helper
from PIL import Image

LONGEST = 700
OLDER = b"an older result"


def _with_external(path: Path, location: str, length: int) -> None:
    """A model whose weight lies in another file, `length` bytes of it."""
    model = picture_net()
    weight = next(t for t in model.graph.initializer if t.name == "v")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.dims[:] = [length // 16, 4]
    entries = {"location": location, "offset": "0", "length": str(length)}
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def _with_nodes(path: Path, *nodes: onnx.NodeProto) -> None:
    """A graph x -> y of these nodes, valid or not."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.domain", 1)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )


def _node(op: str, inputs: str, outputs: str, domain: str = "") -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), f"{op}_{outputs}", domain=domain)


def _unwritable(path: Path) -> None:
    path.write_bytes(OLDER)
    path.chmod(0o444)


Make = Callable[[Path], object]

FILES: dict[str, Make] = {
    "model.onnx": lambda path: write(path, picture_net()),
    "text.onnx": lambda path: write(path, text_net()),
    "table.onnx": lambda path: _with_nodes(path, _node("Relu", "x", "y")),
    "three.onnx": lambda path: write(path, picture_net(channels=3)),
    "empty.onnx": lambda path: path.write_bytes(b""),
    "truncated.onnx": lambda path: path.write_bytes(picture_net().SerializeToString()[:-200]),
    "random.onnx": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "readme.onnx": lambda path: path.write_text("# A model\n\nDownload it from the site.\n"),
    "folder.onnx": lambda path: path.mkdir(),
    "large.onnx": lambda path: _with_external(path, "weights.data", 3_000_000_000),
    "outside.onnx": lambda path: _with_external(path, "../secret.data", 3072),
    "absolute.onnx": lambda path: _with_external(path, "/etc/passwd", 3072),
    "cycle.onnx": lambda path: _with_nodes(path, _node("Add", "x y", "a"), _node("Relu", "a", "y")),
    "dangling.onnx": lambda path: _with_nodes(path, _node("Add", "x nowhere", "y")),
    "operator.onnx": lambda path: _with_nodes(path, _node("Frobnicate", "x", "y")),
    "domain.onnx": lambda path: _with_nodes(
        path, _node("Relu", "x", "a"), _node("Swirl", "a", "b", "my.domain"),
        _node("Twist", "b", "y", "my.domain"),
    ),
    "names.onnx": lambda path: path.write_bytes(
        picture_net().SerializeToString().replace(b"relu", b"\xff\xfe\xfd\xfc")
    ),
    "broken.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)),
    "picture.png": lambda path: Image.new("RGB", (9, 9), "red").save(path),
    "notes.txt": lambda path: path.write_text("no picture"),
    "wrong.npy": lambda path: np.save(path, np.zeros((1, 1, 9, 8), np.float32)),
    "double.npy": lambda path: np.save(path, np.full((1, 1, 8, 8), 1e300)),
    "image.npy": lambda path: np.save(path, np.zeros((1, 1, 8, 8), np.float32)),
    "rule.toml": lambda path: path.write_text('summary = "s"\n[[share]]\nterms = [{ x = "x" }]\n'),
    "composite.toml": lambda path: path.write_text('summary = "s"\nreference = "r"\nlayers = []\n'),
    "broken.toml": lambda path: path.write_text("summary = \n"),
    "nested.toml": lambda path: path.write_text(f"a = {'[' * 5000}{']' * 5000}"),
    "digits.toml": lambda path: path.write_text(f"a = {'9' * 9000}"),
    "parentheses.toml": lambda path: path.write_text(
        f'summary = "s"\nreference = "r"\nrelevance = "{"(" * 1000}R{")" * 1000}"\n'
    ),
    "hex.toml": lambda path: path.write_text(f"a = 0x{'f' * 9000}"),
    "long.toml": lambda path: path.write_text(
        'summary = "s"\nreference = "r"\n[[layer]]\nkind = "linear"\nrule = "' + "r" * 999 + '"\n'
    ),
    "number.toml": lambda path: path.write_text(
        f'summary = "s"\nreference = "r"\nrelevance = "R * {"9" * 400}"\n'
    ),
    "itself.toml": lambda path: path.write_text(
        'summary = "s"\nreference = "r"\nbase = "itself.toml"\n'
    ),
    "locked.onnx": _unwritable,
    **{f"pipe.{kind}": os.mkfifo for kind in ("onnx", "npy", "png", "toml", "csv", "wav", "txt")},
    "endless.npz": lambda path: path.symlink_to("/dev/zero"),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command line with files by name, and words that its one paragraph must hold."""

    arguments: str
    words: list[str] = field(default_factory=list)
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.arguments.replace(" ", "_")


def _compile(rest: str, *words: str, model: str = "model.onnx", name: str = "") -> Case:
    return Case(f"compile {model} -o older.onnx {rest}".strip(), list(words), name)


def _model(model: str, *words: str) -> Case:
    return _compile("", *words, model=model, name=model)


CASES = [
    _model("missing.onnx", "missing.onnx", "No such file", "Check the path"),
    _model("empty.onnx", "empty.onnx", "is empty"),
    _model("truncated.onnx", "truncated.onnx", "truncated"),
    _model("random.onnx", "random.onnx", "not an ONNX model"),
    _model("readme.onnx", "readme.onnx", "not an ONNX model"),
    _model("folder.onnx", "folder.onnx", "is a folder"),
    _model("large.onnx", "weights.data", "missing", "beside the model"),
    _model("outside.onnx", "../secret.data", "outside the model's folder"),
    _model("absolute.onnx", "/etc/passwd", "outside the model's folder"),
    _model("cycle.onnx", "cycle.onnx", "not a valid ONNX model"),
    _model("dangling.onnx", "dangling.onnx", "nowhere"),
    _model("names.onnx", "names.onnx", "damaged"),
    _model("operator.onnx", "operator.onnx", "Frobnicate"),
    _model("domain.onnx", "Swirl", "Twist", "2 nodes"),
    _compile("--composite epsilon-minus", "epsilon-minus", "Known:"),
    _compile("--composite base", "only there to be extended", "epsilon-plus-flat, "),
    _compile("--composite nowhere.toml", "nowhere.toml", "No such file"),
    _compile("--composite composite.toml", "composite.toml", "'layers'"),
    _compile("--composite broken.toml", "broken.toml", "TOML"),
    _compile("--composite nested.toml", "nested.toml", "too deep"),
    _compile("--composite digits.toml", "digits.toml", "not valid TOML"),
    _compile("--composite hex.toml", "hex.toml", "hundreds of digits"),
    _compile("--composite long.toml", "long.toml", "there is no rule 'rrr"),
    _compile("--rule Conv=number.toml", "number.toml", "too large"),
    _compile("--composite itself.toml", "itself.toml"),
    _compile("--rule Conv=parentheses.toml", "parentheses.toml", "2001 characters long"),
    _compile("--rule Conv=zminus", "zminus", "Known:"),
    _compile("--rule Conv=rule.toml", "rule.toml", "'reference'"),
    _compile("--rule Conv", "PATTERN=RULE"),
    _compile("--rule nowhere*=epsilon", "nowhere*"),
    _compile("--composite epsilon --set gamma=1", "gamma", "It has"),
    _compile("--set epsilon.gamma=1", "epsilon.gamma", "It has"),
    _compile("--set epsilon=-1", "-1", "out of range"),
    _compile("--set epsilon=much", "--set 'epsilon=much'", "neither a number"),
    _compile("--set epsilon", "NAME=VALUE"),
    _compile("--set epsilon=1,x", "list of numbers"),
    _compile("--composite epsilon-gamma-box", "--set low=", "--set high="),
    _compile("--output probabilities", "probabilities", "logits"),
    _compile("--explain picture", "picture", "image"),
    _compile("--target 4", "4", "0 to 3"),
    _compile("--target 1-9", "1-9", "0 to 3"),
    _compile("--target best", "best", "argmax"),
    _compile("--target top-9", "top-9"),
    _compile("--class-axis 2", "class axis 2", "logits"),
    _compile("--start zero", "zero", "auto, logit, contrast, one"),
    _compile("--relevance-at nowhere", "nowhere"),
    _compile("--relevance-at conv", "'conv': that is a node; its output is tensor 'z'. Give that."),
    _compile("--opset 12", "12", "13 to 21"),
    _compile("--opset many", "--opset"),
    _compile("--print-after never", "never", "canonize"),
    _compile("--method shap", "'shap'", "integrated-gradients"),
    _compile("--method gradient --composite epsilon", "'epsilon'", "plain gradient"),
    _compile("--method gradient --rule conv=gamma", "rules", "plain gradient"),
    _compile("--method gradient --set gamma=1", "parameters", "plain gradient"),
    _compile("--method saliency --start logit", "'logit'", "start at one"),
    _compile("--steps 8", "steps", "integrated-gradients"),
    _compile("--method gradient --baseline mean", "baseline", "integrated-gradients"),
    _compile("--method integrated-gradients --steps 0", "steps 0"),
    _compile("--method integrated-gradients --condition z", "condition 'z'"),
    _compile("--condition nowhere", "'nowhere'", "inspect MODEL --tensors"),
    _compile("--condition relu", "'relu': that is a node; its output is tensor 'h'. Give that."),
    _compile("--condition h=1", "'h=1'", "has none, but 'h'", "`lrp-onnx explain` alone"),
    Case(
        "explain model.onnx image.npy -o older.png --condition h=a,b", ["whole numbers", "'h=11,3'"]
    ),
    _compile("--runtime gpu", "runtime 'gpu'"),
    _model("pipe.onnx", "pipe.onnx", "a device or a pipe"),
    _compile("--composite pipe.toml", "pipe.toml", "a device or a pipe"),
    _compile("--labels pipe.txt --target cat", "pipe.txt", "a device or a pipe"),
    *(
        Case(f"explain model.onnx {name} -o older.png --preprocess unit", [name, "a device or a"])
        for name in ("pipe.npy", "pipe.png", "endless.npz")
    ),
    *(
        Case(f"explain table.onnx {name} -o older.png", [name[:8], "a device or a pipe"])
        for name in ("pipe.csv", "pipe.wav --rate 9")
    ),
    Case("ops Foo", ["Foo", "lrp-onnx ops"]),
    Case("compile model.onnx", ["-o"]),
    Case("compile", ["MODEL.onnx"]),
    Case("compil model.onnx", ["Did you mean 'compile'"]),
    Case("compile model.onnx -o nowhere/out.onnx", ["nowhere", "does not exist"]),
    Case("compile model.onnx -o folder.onnx", ["folder.onnx", "is a folder"]),
    Case("compile model.onnx -o model.onnx", ["the model itself"]),
    Case("explain model.onnx broken.png -o older.png --preprocess unit", ["broken.png"]),
    Case("explain model.onnx notes.txt -o older.png --preprocess unit", ["notes.txt"]),
    Case(
        "explain model.onnx absent.png -o older.png --preprocess unit",
        ["absent.png", "Check the path"],
    ),
    Case("explain model.onnx a_text -o older.png", ["no file 'a_text'", "Check the path"]),
    Case("explain model.onnx picture.png -o older.png", ["--preprocess imagenet", "unit"]),
    Case("explain model.onnx picture.png -o older.png --preprocess vgg", ["vgg", "imagenet"]),
    Case("explain text.onnx picture.png -o older.png --preprocess unit", ["ids", "not a picture"]),
    Case("explain model.onnx wrong.npy -o older.png", ["wrong.npy", "[1, 1, 9, 8]"]),
    Case("explain model.onnx double.npy -o older.png", ["double.npy"]),
    Case("explain model.onnx x=image.npy -o older.png", ["'x'", "'image'"]),
    Case("verify model.onnx image.npy image.npy", ["one file too many"]),
    Case(
        "explain model.onnx image.npy image.npy -o older.png", ["many are written", "Name a folder"]
    ),
    Case("explain model.onnx image=image.npy image=image.npy -o older.png", ["twice"]),
    Case("explain model.onnx image.npy -o older.gif", ["older.gif", ".html, .npz"]),
    Case("explain model.onnx image.npy -o older.png --labels absent.txt", ["absent.txt"]),
    Case("explain model.onnx image.npy -o older.png --target input", ["--target input=3"]),
    Case("explain model.onnx -o older.png", ["no input is given", "FILE"]),
    Case("inspect domain.onnx", ["Swirl", "Twist"]),
    Case("inspect model.onnx --graph older.jpg", ["older.jpg", ".svg"]),
    Case("verify model.onnx absent.npy", ["absent.npy", "Check the path"]),
    Case("verify empty.onnx", ["is empty"]),
    Case("bench model.onnx --runs 0", ["--runs"]),
    Case("bench model.onnx --batch 1,0", ["--batch 1,0", "1,8,64"]),
    Case("bench empty.onnx", ["is empty"]),
    Case("rules nothing", ["nothing", "Known:"]),
    Case("rules absent.toml", ["absent.toml"]),
    Case("demo -o nowhere", ["nowhere"]),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with older results in it; files outside it lie beside it."""
    place = tmp_path / "here"
    place.mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(3072))
    for name in ("older.onnx", "older.png", "older.jpg"):
        (place / name).write_bytes(OLDER)
    monkeypatch.chdir(place)
    return place


def _make_files(arguments: str, folder: Path) -> None:
    for name, make in FILES.items():
        if any(name == word.rpartition("=")[2] for word in arguments.split()):
            make(folder / name)


def _state(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content."""
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def _is_one_paragraph(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].startswith("lrp-onnx: ") and lines[0].endswith(".")


def _assert_refused(outcome: Outcome, words: list[str]) -> None:
    assert outcome.status == 2, outcome
    assert _is_one_paragraph(outcome.err), outcome.err
    assert len(outcome.err) <= LONGEST, len(outcome.err)
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused_in_one_paragraph(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_files(case.arguments, folder)
    before = _state(folder)
    outcome = run_command(capsys, *case.arguments.split())
    _assert_refused(outcome, case.words)
    assert _state(folder) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_write_protected_file_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _make_files("model.onnx locked.onnx", folder)
    outcome = run_command(capsys, "compile", "model.onnx", "-o", "locked.onnx")
    _assert_refused(outcome, ["locked.onnx", "write-protected"])
    assert (folder / "locked.onnx").read_bytes() == OLDER


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "compile", "absent.onnx", "-o", "older.onnx", "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert _is_one_paragraph(outcome.err.splitlines()[-1])


def test_nan_in_a_weight_compiles_with_a_warning_and_fails_verify(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "nan.onnx", picture_net(scale=float("nan")))
    compiled = run_command(capsys, "compile", "nan.onnx", "-o", "nan.lrp.onnx")
    assert compiled.status == 0
    assert "warning: " in compiled.err
    assert "'w'" in compiled.err
    assert "NaN" in compiled.err
    assert (folder / "nan.lrp.onnx").is_file()
    verified = run_command(capsys, "verify", "nan.onnx")
    assert verified.status == 1
    assert "not finite" in verified.err


SLOW = """
import signal, sys, time
from lrp_onnx.cli import main as cli
from lrp_onnx.compiler import compiled, stages

# a shell that runs the tests in the background has SIGINT ignored, which children inherit
signal.signal(signal.SIGINT, signal.default_int_handler)

def slow(*given):
    print("now", flush=True)
    time.sleep(60)

{patch}
sys.exit(cli.main(["compile", "model.onnx", "-o", "older.onnx"]))
"""
MOMENTS = {
    "while a stage runs": "stages.lower = slow",
    "while the file is written": "compiled.Compiled.model = property(slow)",
}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted(moment: str, folder: Path) -> None:
    _make_files("model.onnx", folder)
    before = _state(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(patch=MOMENTS[moment])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert _is_one_paragraph(err)
    assert "interrupted" in err
    assert _state(folder) == before


@pytest.mark.parametrize("model", ["absent.onnx", "dangling.onnx", "names.onnx"])
def test_a_real_process_says_the_same(model: str, folder: Path) -> None:
    """Also what libraries write to stderr by themselves is not there."""
    _make_files(model, folder)
    done = subprocess.run(
        [sys.executable, "-m", "lrp_onnx", "compile", model, "-o", "older.onnx"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert done.stdout == ""
    _assert_refused(Outcome(done.returncode, done.stdout, done.stderr), [model])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_stdout(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lrp_onnx", "rules"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
        )  # fmt: skip
    _assert_refused(Outcome(done.returncode, "", done.stderr), ["standard output", "space"])


def test_an_error_nobody_foresaw_is_a_paragraph_too(folder: Path) -> None:
    program = (
        "import sys; from lrp_onnx.cli import main as cli; from lrp_onnx.compiler import stages; "
        "stages.lower = None; "
    )
    _make_files("model.onnx", folder)
    done = subprocess.run(
        [sys.executable, "-c", program + "sys.exit(cli.main(sys.argv[1:]))",
         "compile", "model.onnx", "-o", "older.onnx"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    _assert_refused(Outcome(done.returncode, done.stdout, done.stderr), ["bug", "--debug"])


def test_the_paragraph_check_fails_on_two_lines() -> None:
    assert _is_one_paragraph("lrp-onnx: one thing.\n")
    assert not _is_one_paragraph("lrp-onnx: one thing.\nTraceback.\n")
    assert not _is_one_paragraph("one thing.\n")


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the stream")
def test_a_closed_stdout_and_a_narrow_encoding_are_no_error(folder: Path) -> None:
    command = f'"{sys.executable}" -m lrp_onnx'
    narrow = {
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path),
    }
    done = subprocess.run(
        f"{command} ops Conv && {command} ops Conv >&-",
        shell=True, capture_output=True, text=True, check=False, env={**os.environ, **narrow},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Conv" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_and_no_home(folder: Path) -> None:
    """Bytes that the encoding does not know, in the names of all files; nowhere to keep a cache."""
    _make_files("model.onnx image.npy", folder)
    names = [os.fsdecode(name) for name in (b"a\xff.onnx", b"b\xff.npy", b"c\xff.png")]
    for old, new in zip(("model.onnx", "image.npy"), names, strict=False):
        (folder / old).rename(folder / new)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "lrp_onnx", "explain", *names[:2], "-o", names[2], "--quiet"],
        capture_output=True, text=True, check=False,
        env=environment | {"LC_ALL": "POSIX", "HOME": "/proc/nowhere"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / names[2]).is_file()
    assert "mkdir" not in done.stderr


def test_an_error_of_several_lines_that_nobody_foresaw() -> None:
    program = (
        "import sys; from lrp_onnx.cli import main as cli\n"
        "class Odd:\n"
        "    def __getattr__(self, name): raise TypeError('first\\nsecond\\x1b[31m')\n"
        "cli.app = Odd(); cli.main(['rules'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    _assert_refused(Outcome(done.returncode, done.stdout, done.stderr), ["bug", "first second"])
