"""Several outputs explained in one file: each as if it were explained alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command
from models import Array, assert_close, network
from onnx import helper, numpy_helper

import lrp_onnx
from lrp_onnx import CompositeError, Explainer, InputError, TargetError
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify


def two_heads() -> onnx.ModelProto:
    """`logits` [N, 4] and `score` [N, 2] of one trunk; `score` through a layer of its own."""
    model = picture_net()
    rng = np.random.default_rng(1)
    weights = {"u": (192, 5), "k": (5, 2)}
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in weights.items()
    )
    model.graph.node.extend([
        helper.make_node("MatMul", ["f", "u"], ["m"], "hidden"),
        helper.make_node("Tanh", ["m"], ["t"], "tanh"),
        helper.make_node("MatMul", ["t", "k"], ["score"], "second"),
    ])  # fmt: skip
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(helper.make_tensor_value_info("score", 1, [batch, 2]))
    return model


BOTH = ("logits", "score")
X = np.random.default_rng(2).standard_normal((3, 1, 8, 8)).astype(np.float32)
SEEDS = {
    "logits": np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32),
    "score": np.random.default_rng(4).standard_normal((3, 2)).astype(np.float32),
}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"optimize": False},
        {"composite": "epsilon"},
        {"target": "top-2"},
        {"target": 1},
        {"target": "all", "relevance_at": ("h", "z")},
        {"target": "input"},
        {"target": "seed"},
        {"method": "gradient"},
        {"method": "saliency", "target": "top-2"},
        {"method": "integrated-gradients", "steps": 3},
        {"method": "grad-cam"},
        {"conditions": ("h",)},
    ],
    ids=str,
)
def test_each_is_as_if_it_were_explained_alone(request_: dict[str, Any]) -> None:
    several = Explainer(lrp_onnx.compile(two_heads(), output=BOTH, **request_))
    conditions = {"h": [0, 2]} if "conditions" in request_ else None

    def run(explainer: Explainer, seed: Any) -> Any:
        given = {"input": [1, 0, 1], "seed": seed}.get(request_.get("target"))
        return explainer(X, given, conditions=conditions)

    together = run(several, SEEDS)
    found = dict(together.relevance)
    for output in BOTH:
        alone = run(Explainer(lrp_onnx.compile(two_heads(), output=output, **request_)),
                    SEEDS[output])  # fmt: skip
        for name, relevance in alone.relevance.items():
            assert_close(found.pop(f"{output}_{name}"), relevance)
        for name, y in alone.outputs.items():
            assert_close(together.outputs[name], y)
    assert not found


def test_the_signature() -> None:
    compiled = lrp_onnx.compile(two_heads(), output=["score", "logits"], target="top-2",
                                relevance_at="t")  # fmt: skip
    names = [v.name for v in compiled.graph.graph.outputs]
    assert names == [
        *("logits", "score", "score_image_relevance", "score_t_relevance", "score_topk_index"),
        *("logits_image_relevance", "logits_topk_index"),
    ]
    metadata = compiled.graph.metadata_props
    assert json.loads(metadata["lrp.explained"]) == ["score_image", "logits_image"]
    score, logits = json.loads(metadata["lrp.outputs"])
    assert (score["output"], score["prefix"], score["class_axis"]) == ("score", "score_", "1")
    assert json.loads(score["relevance"]) == ["image", "t"]
    assert json.loads(logits["relevance"]) == ["image"]
    alone = lrp_onnx.compile(two_heads(), output=["score"])
    assert "lrp.outputs" not in alone.graph.metadata_props
    assert [v.name for v in alone.graph.graph.outputs][2:] == ["image_relevance"]


def test_the_forward_is_computed_once() -> None:
    def convolutions(output: Any) -> int:
        compiled = lrp_onnx.compile(two_heads(), output=output, method="gradient", target=0)
        return sum(node.op_type == "Conv" for node in compiled.model.graph.node)

    assert convolutions("logits") == convolutions(BOTH) == 1


TRUNK = network(
    "h = Gemm(x, w)\n r = Relu(h)\n q = Gemm(r, v)\n s = Relu(q)\n y = Gemm(s, u)", (2, 4),
    w=(4, 5), v=(5, 4), u=(4, 3),
)  # fmt: skip


def test_rules_go_by_each_outputs_own_path(tmp_path: Path) -> None:
    """The inner layer is the last on the way to `q` and not to `y`."""
    model = onnx.ModelProto()
    model.CopyFrom(TRUNK)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(helper.make_tensor_value_info("q", 1, [batch, 4]))
    composite = tmp_path / "last.toml"
    composite.write_text(
        'summary = "the last layer zplus"\nreference = "ours"\nbase = "base"\n'
        '[[layer]]\nlast = true\nkind = "linear"\nrule = "zplus"\n'
        '[[layer]]\nkind = "linear"\nrule = "epsilon"\n',
        encoding="utf-8",
    )
    compiled = lrp_onnx.compile(model, str(composite), output=["y", "q"])
    line = next(line for line in compiled.report if line.name == "q")
    assert line.rule == "epsilon"
    assert line.reason.endswith("; zplus for output 'q'")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    found = Explainer(compiled)(x).relevance
    for name in ("y", "q"):
        alone = Explainer(lrp_onnx.compile(model, str(composite), output=name))(x).relevance["x"]
        assert_close(found[f"{name}_x"], alone)


def test_a_rule_for_one_of_them_is_enough() -> None:
    lrp_onnx.compile(two_heads(), output=BOTH, rules={"second": "zplus"}, check=False)
    with pytest.raises(CompositeError, match="'third'"):
        lrp_onnx.compile(two_heads(), output=BOTH, rules={"third": "zplus"}, check=False)


@pytest.mark.parametrize("request_", [{}, {"target": "top-2"}, {"method": "integrated-gradients"},
                                      {"method": "grad-cam"}], ids=str)  # fmt: skip
def test_verify(request_: dict[str, Any]) -> None:
    verdict = verify(two_heads(), CompileOptions(output=BOTH, **request_), {"image": X})
    assert verdict.problems == ()
    for part, output in zip(verdict.parts, BOTH, strict=True):
        alone = verify(two_heads(), CompileOptions(output=output, **request_), {"image": X})
        assert part.output == output
        assert_close(np.array(part.explained), np.array(alone.explained))
        total = part.relevance[f"{output}_image"]
        assert_close(np.array(total), np.array(alone.relevance["image"]))
        assert [line.name for line in part.lines] == [f"{output}: {x.name}" for x in alone.lines]


def errors() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "unknown": ({"output": ["logits", "none"]}, "output 'none': the model has no such output"),
        "twice": ({"output": ["score", "score"]}, "output 'score' is given 2 times"),
        "too few classes": ({"target": 3}, "output 'score' has 2 classes"),
        "reached by none": ({"relevance_at": "nowhere"}, "tensor 'nowhere'"),
    }


@pytest.mark.parametrize("name", errors())
def test_errors(name: str) -> None:
    request, fact = errors()[name]
    with pytest.raises(TargetError, match=fact):
        lrp_onnx.compile(two_heads(), **{"output": BOTH, **request})


def test_seeds_are_given_by_output() -> None:
    explainer = Explainer(lrp_onnx.compile(two_heads(), output=BOTH, target="seed"))
    with pytest.raises(InputError, match="given for 'logits', and the explained outputs are"):
        explainer(X, SEEDS["logits"])
    explainer = Explainer(lrp_onnx.compile(two_heads(), output=BOTH, target="input"))
    with pytest.raises(InputError, match="output 'score' has 2 classes"):
        explainer(X, 3)


def arrays_of(file: Path) -> dict[str, Array]:
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("request_", ["", "--target top-2", "--method integrated-gradients"])
def test_explain_writes_a_picture_for_each_output(
    request_: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    onnx.save(two_heads(), "model.onnx")
    np.save("x.npy", X[:1])
    asked = ["model.onnx", "x.npy", *(f"--output={name}" for name in BOTH), *request_.split()]
    for ending in ("png", "html"):
        outcome = run_command(capsys, "explain", *asked, "-o", f"why.{ending}")
        assert (outcome.status, outcome.err) == (0, "")
        assert Path(f"why.logits.{ending}").stat().st_size > 1000
        assert Path(f"why.score.{ending}").stat().st_size > 1000
        assert not Path(f"why.{ending}").exists()
        assert [line.split()[-1] for line in outcome.out.splitlines() if line[:7] == "wrote  "] == [
            f"why.logits.{ending}", f"why.score.{ending}"
        ]  # fmt: skip
    run_command(capsys, "explain", *asked, "-o", "why.npz")
    arrays = set(arrays_of(Path("why.npz"))) - {"logits_topk_index", "score_topk_index"}
    assert arrays == {*BOTH, *(f"{name}_image_relevance" for name in BOTH), "metadata"}


def test_explain_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(two_heads(), "model.onnx")
    Path("in").mkdir()
    for k in range(2):
        np.save(f"in/{k}.npy", X[k : k + 1])
    asked = ["model.onnx", "in", *(f"--output={name}" for name in BOTH), "-o"]
    outcome = run_command(capsys, "explain", *asked, "out")
    assert (outcome.status, outcome.err) == (0, "")
    files = sorted(
        file.name for file in Path("out").glob("[!.]*") if file.stem not in ("index", "predictions")
    )
    assert files == ["0.logits.png", "0.score.png", "1.logits.png", "1.score.png"]
    assert "4 files into out" in outcome.out
    assert "0.npy, score" in outcome.out


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_commands(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    onnx.save(two_heads(), tmp_path / "model.onnx")
    runs = ["--runs=1"] if command == "bench" else []
    asked = [tmp_path / "model.onnx", *(f"--output={name}" for name in BOTH), *runs]
    told = run_command(capsys, command, *asked, "--json")
    assert told.status == 0
    if command == "inspect":
        assert json.loads(told.out)["output"] == list(BOTH)
    if command == "verify":
        assert set(json.loads(told.out)["outputs"]) == set(BOTH)
    shown = run_command(capsys, command, *asked)
    assert "logits" in shown.out
    assert "score" in shown.out


def test_evaluate_compares_maps_of_one_output() -> None:
    with pytest.raises(TargetError, match="outputs 'logits', 'score': evaluate compares maps of"):
        lrp_onnx.evaluate(two_heads(), [X[:1]], composites=["epsilon"], output=BOTH)
