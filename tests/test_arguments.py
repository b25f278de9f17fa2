"""Every argument of every public function, with values that make no sense: a result, or one
sentence that names the argument or what it holds.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import network

import lrp_onnx
from lrp_onnx.arguments import checked

MODEL = network("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)", (1, 4), (0,), w=(4, 5), v=(5, 3))
X = np.ones((1, 4), np.float32)
COMPILED = lrp_onnx.compile(MODEL, check=False)
COSINE = lrp_onnx.compile(MODEL, check=False, target="similarity")
EXPLAINER = lrp_onnx.Explainer(COMPILED)
ANSWER = lrp_onnx.explain(MODEL, X)


class Silent:
    """Not even `repr` works."""

    def __repr__(self) -> str:
        raise ValueError


NONSENSE: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "yes": lambda: True,
    "part": lambda: 1.5,
    "not a number": lambda: float("nan"),
    "negative": lambda: -1,
    "huge": lambda: 10**30,
    "of numpy": lambda: np.int64(7),
    "empty text": lambda: "",
    "escape": lambda: "\x1b[31m",
    "zero byte": lambda: "a\0b",
    "long": lambda: "n" * 5000,
    "no unicode": lambda: "\ud800",
    "bytes": lambda: b"\xff\0",
    "empty": list,
    "hole": lambda: [None],
    "rows of different lengths": lambda: [[1, 2], [3]],
    "text by text": lambda: {"a": "b"},
    "nothing by number": lambda: {1: None},
    "object": Silent,
    "objects": lambda: np.array([None, "a"], object),
    "scalar": lambda: np.array(1j),
    "no sample": lambda: np.zeros((0, 4), np.float32),
}
HEATMAP = {"path": "a.png", "relevance": np.ones((8, 8))}
CALLS: dict[str, tuple[Callable[..., object], Mapping[str, Any]]] = {
    "compile": (lrp_onnx.compile, {"source": MODEL, "check": False}),
    "explain": (lrp_onnx.explain, {"model": COMPILED.graph, "input": X}),
    "evaluate": (
        lrp_onnx.evaluate,
        {"source": MODEL, "inputs": X, "composites": ["epsilon"], "redraw": 0, "points": 2},
    ),
    "save_heatmap": (lrp_onnx.save_heatmap, HEATMAP),
    "similarity": (
        lrp_onnx.similarity,
        {"explainer": lrp_onnx.Explainer(COSINE), "x": X, "other": X},
    ),
    "Explainer": (lrp_onnx.Explainer, {"compiled": COMPILED}),
    "Explainer.__call__": (EXPLAINER.__call__, {"x": X}),
    "Explainer.unchecked": (EXPLAINER.unchecked, {"x": X}),
    "Explainer.feeds": (EXPLAINER.feeds, {"x": X}),
    "Explainer.run": (EXPLAINER.run, {"feeds": {"x": X}, "names": ["y"]}),
    "Explainer.on_device": (EXPLAINER.on_device, {"x": X}),
    "Explainer.many": (EXPLAINER.many, {"inputs": [X]}),
    "Compiled.save": (COMPILED.save, {"path": "c.onnx"}),
    "Result.to_pandas": (EXPLAINER(X).to_pandas, {}),
    "Explanation.save": (ANSWER.save, {"path": "a.npz"}),
    "Explanation.to_pandas": (ANSWER.to_pandas, {}),
}
OF_VALUES = {
    "source": "bytes|model|cannot be read|folder",
    "model": "bytes|cannot be read|folder",
    "compiled": "open the model|cannot be read|folder",
    "input": "no picture|output|text",
    "inputs": "input 'x'|no sample|input",
    "relevance": "no picture",
    "path": "output",
    "feeds": "this input",
    "names": "output name",
    "relevance_at": "tensor",
    "activation_at": "tensor|activation",
    "conditions": "tensor|condition",
    "rules": "rule",
    "parameters": "parameter",
    "class_axis": "class axis",
    "explain": "input",
    "reference": "no picture|not a picture",
    "baseline": "no picture|not a picture",
    "name": "no relevance",
    "x": "input",
    "subtitle": "title",
    "other": "input",
    "composites": "composite",
    "methods": "method",
}
"""What else a message may call an argument whose type is right and whose value is not."""


def arguments() -> Iterator[Any]:
    for name, (function, _) in CALLS.items():
        for one in inspect.signature(function).parameters.values():
            if one.kind != one.VAR_KEYWORD:
                yield pytest.param(name, one.name, id=f"{name}, {one.name}")


@pytest.mark.filterwarnings("ignore:.*provider:UserWarning")
@pytest.mark.parametrize(("call", "argument"), list(arguments()))
def test_nonsense_is_named(
    call: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, others = CALLS[call]
    for value, made in NONSENSE.items():
        try:
            result = function(**{**others, argument: made()})
            if inspect.isgenerator(result):
                list(result)
        except lrp_onnx.InternalError as error:
            pytest.fail(f"{value}: {error}")
        except lrp_onnx.LrpError as error:
            text = str(error)
            named = [argument, *OF_VALUES.get(argument, argument).split("|")]
            assert any(word in text for word in named), (value, text)
            assert len(text) <= 600, value
            assert text.isprintable(), value


def test_every_public_function_is_tried() -> None:
    public = {n for n in lrp_onnx.__all__ if callable(getattr(lrp_onnx, n)) and n[0].islower()}
    methods = {
        f"{kind.__name__}.{name}"
        for kind in (lrp_onnx.Explainer, lrp_onnx.Compiled, type(ANSWER), type(EXPLAINER(X)))
        for name, one in vars(kind).items()
        if inspect.isfunction(one) and (name == "__call__" or not name.startswith("_"))
    }
    assert public | methods <= CALLS.keys() | {"Compiled.weight_bytes"}


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, [3, np.int8(3)], [True, 3.0, "3", None]),
        (float, [3, 3.5, np.float32(1)], [False, "3", 1j]),
        (bool, [True], [1, None]),
        (str | None, ["a", None], [b"a", 3]),
        (typing.Sequence[str], [["a"], (), ["a", "b"]], ["a", [3], {"a"}]),
        (dict[str, tuple[int, str]], [{}, {"a": (3, "b")}], [{"a": (3,)}, {3: (3, "b")}]),
        (typing.Iterable[int], [iter("a"), [3]], [3, np.array(3)]),
        (str | dict[str, object], ["a", {"a": 1}], [["a"], {1: 1}]),
    ],
)
def test_what_an_annotation_takes(kind: Any, right: list[object], wrong: list[object]) -> None:
    def function(argument: object) -> object:
        return argument

    function.__annotations__["argument"] = kind
    for value in right:
        assert checked(function)(value) is value
    for value in wrong:
        with pytest.raises(lrp_onnx.OptionError, match="argument argument="):
            checked(function)(value)
