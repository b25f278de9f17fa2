"""Outputs that are no scores of classes alone: what each is taken for, and the entry explained.

Small models spell heads as exporters do; the starting relevance says which entry was chosen, and
numpy which it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from head_models import (
    HEADS,
    Array,
    Choice,
    Row,
    drawn,
    model_of,
)
from models import run
from onnx import numpy_helper

import lrp_onnx
from lrp_onnx.errors import TargetError


def chosen(row: Row, y: Array, classes: slice = slice(None)) -> list[Choice]:
    """The entry that numpy finds, by sample; classes: those among which it is sought."""
    found: list[Choice] = []
    for sample in y if row.batch else y[None]:
        if row.axis is None:
            found.append(np.unravel_index(sample.argmax(), sample.shape))
            continue
        axis = row.axis - row.batch
        s = np.moveaxis(sample, axis, 0).astype(float)
        first, stop = row.scores or (0, len(s))
        among = s[first:stop] * (1 if row.objectness is None else s[row.objectness])
        if row.compared:
            among = among - among.reshape(len(among), -1).mean(1).reshape(-1, *[1] * (s.ndim - 1))
        numbers = list(range(len(among)))[classes]
        k, *place = np.unravel_index(among[classes].argmax(), among[classes].shape)
        place.insert(axis, first + numbers[k])
        found.append(tuple(place))
    return found


def start_of(row: Row, model: onnx.ModelProto, x: Array, **request: object) -> tuple[Array, Array]:
    """The explained output, and the relevance that it starts with."""
    request = {"composite": "epsilon", **request}
    compiled = lrp_onnx.compile(model, relevance_at=row.explained, check=False, **request)
    assert compiled.graph.metadata_props["lrp.output"] == row.explained
    found = run(compiled.model, {"x": x})
    assert np.isfinite(found["x_relevance"]).all()
    return found[row.explained], found[f"{row.explained}_relevance"]


def entries_of(start: Array, batch: bool) -> list[list[tuple[int, ...]]]:
    samples = start if batch else start[None]
    return [[tuple(map(int, place)) for place in np.argwhere(r)] for r in samples]


def check_start(row: Row, y: Array, start: Array, expected: Sequence[Choice]) -> None:
    """One entry of each sample, with its logit where it is a probability."""
    assert entries_of(start, row.batch) == [[tuple(map(int, e or ()))] for e in expected]
    for values, r, place in zip(y if row.batch else y[None], start if row.batch else start[None],
                                expected, strict=True):  # fmt: skip
        p, value = float(values[place]), float(r[place])
        logit = np.log(p / (1 - p)) if 0 < p < 1 else np.nan
        of_softmax = row.compared or "softmax" in row.body.lower()
        wanted = p if not row.logits or "Sigmoid" not in row.body or of_softmax else logit
        if not of_softmax:
            assert value == pytest.approx(wanted, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("symbolic", [False, True], ids=["sized", "open"])
@pytest.mark.parametrize("name", HEADS)
def test_the_largest_score_of_each_sample_is_explained(name: str, symbolic: bool) -> None:
    row = HEADS[name]
    y, start = start_of(row, model_of(row, symbolic), drawn(row))
    check_start(row, y, start, chosen(row, y))


@pytest.mark.parametrize("name", [name for name, row in HEADS.items() if row.half])
def test_in_half_precision_too(name: str) -> None:
    row = HEADS[name]
    x = drawn(row).astype(np.float16)
    y, start = start_of(row, model_of(row, half=True), x)
    assert entries_of(start, row.batch) == [[tuple(map(int, e))] for e in chosen(row, y)]


BY_CLASS = [
    name
    for name, row in HEADS.items()
    if (row.scores and row.scores[1] - row.scores[0] > 1) or name.startswith("SSD")
]


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_class_is_explained_where_its_score_is_largest(name: str) -> None:
    row = HEADS[name]
    x, model = drawn(row), model_of(row)
    y, start = start_of(row, model, x, target=2)
    check_start(row, y, start, chosen(row, y, slice(2, 3)))
    explainer = lrp_onnx.Explainer(lrp_onnx.compile(model, "epsilon", target="input",
                                                    relevance_at=row.explained))  # fmt: skip
    found = explainer(x, target=[1, 2]).relevance[row.explained]
    one, two = (chosen(row, y, slice(k, k + 1)) for k in (1, 2))
    assert entries_of(found, row.batch) == [[tuple(map(int, one[0]))], [tuple(map(int, two[1]))]]


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_difference_is_taken_where_the_first_class_is_largest(name: str) -> None:
    row = HEADS[name]
    y, start = start_of(row, model_of(row), drawn(row), target="2-0", start="one")
    for sample, place in zip(start, chosen(row, y, slice(2, 3)), strict=True):
        assert row.axis is not None
        other = list(place)
        other[row.axis - 1] -= 2
        expected = np.zeros_like(sample)
        expected[place], expected[tuple(other)] = 1, -1
        np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize("name", BY_CLASS)
def test_the_largest_classes_are_those_with_the_largest_scores_anywhere(name: str) -> None:
    row = HEADS[name]
    x, model = drawn(row), model_of(row)
    compiled = lrp_onnx.compile(model, "epsilon", target="top-3", relevance_at=row.explained)
    found = run(compiled.model, {"x": x})
    y, start = found[row.explained], found[f"{row.explained}_relevance"]
    numbers = found[f"{row.explained}_topk_index"].reshape(len(x), 3)
    assert sorted(numbers[0].tolist()) == [0, 1, 2]
    first = chosen(row, y)
    for rank in range(3):
        for n in range(len(x)):
            k = int(numbers[n, rank])
            best = chosen(row, y, slice(k, k + 1))[n]
            assert entries_of(start[n, rank], False) == [[tuple(map(int, best))]]
            assert rank or best == first[n]


def test_a_class_without_scores_is_refused() -> None:
    with pytest.raises(TargetError, match="has scores of 3 classes, 0 to 2"):
        lrp_onnx.compile(model_of(HEADS["YOLOv8"]), target=3)
    with pytest.raises(TargetError, match="Choose top-3 or less"):
        lrp_onnx.compile(model_of(HEADS["YOLOv5"]), target="top-4")
    compiled = lrp_onnx.compile(model_of(HEADS["YOLOv8"]), target="input")
    with pytest.raises(lrp_onnx.InputError, match="has 3 classes"):
        lrp_onnx.Explainer(compiled)(drawn(HEADS["YOLOv8"]), target=4)


@pytest.mark.parametrize(
    ("name", "entry"),
    [("suppressed", "1,4"), ("suppressed, apart", "1,"), ("YOLOv10", "1,4")],
)
def test_detections_of_one_score_have_no_difference_and_a_score_is_an_entry(
    name: str, entry: str
) -> None:
    row = HEADS[name]
    with pytest.raises(TargetError, match=r"largest score with argmax, or a .* such as 7,"):
        lrp_onnx.compile(model_of(row), target="2-0")
    y, start = start_of(row, model_of(row), drawn(row), target=entry)
    place = tuple(map(int, entry.strip(",").split(",")))
    expected = np.zeros_like(y)
    expected[0 if row.batch else ...][place] = y[0 if row.batch else ...][place]
    np.testing.assert_array_equal(start, expected)


@pytest.mark.parametrize("name", ["suppressed", "suppressed, apart", "YOLOv10"])
def test_a_class_is_sought_among_the_labels_of_detections(name: str) -> None:
    row = HEADS[name]
    model, x = model_of(row), drawn(row)
    asked = lrp_onnx.Explainer(
        lrp_onnx.compile(model, "epsilon", target="input", relevance_at=row.explained, check=False)
    )
    kept = 0
    for number in range(3):
        y, start = start_of(row, model, x, target=number)
        detections, r = (v[0] if row.batch else v for v in (y, start))
        if name == "suppressed, apart":
            scores, labels = detections, run(model, {"x": x})["labels"].reshape(-1)
        else:
            scores, labels, r = detections[:, 4], detections[:, 5], r[:, 4]
        best = np.where(labels == number, scores, -1).argmax()
        wanted = [best] if number in labels else []
        assert np.flatnonzero(r).tolist() == wanted
        kept += len(wanted)
        found = asked(x, target=[number]).relevance[row.explained]
        np.testing.assert_array_equal(found, start)
    assert kept, "no class is among the detections, so nothing was compared"


def test_boxes_that_are_decoded_in_place_where_only_the_run_knows() -> None:
    """PyTorch computes the places where the batch is open: fixed sizes find the scores."""
    row = HEADS["YOLOv5, in place"]
    body = "n = Shape<end=1>(x) none = Sub(n, n) p_xy = Add(at_xy, none) " + row.body.replace(
        "ScatterND(p, at_xy,", "ScatterND(p, p_xy,"
    )
    model = model_of(replace(row, body=body), symbolic=True)
    (told,) = lrp_onnx.compile(model, "epsilon", check=False).warnings
    assert "written over in place" in told
    assert "--shape x=1,3," in told
    fixed = lrp_onnx.compile(model, "epsilon", check=False, shape={"x": row.x})
    assert "scores of 3 classes at 5 to 7" in " ".join(fixed.warnings)


def test_logits_of_four_classes_are_no_boxes() -> None:
    """Their softmax beside them has the same places; a CNN's over frames was taken for a head."""
    row = HEADS["SSD"]
    text = row.body.replace("y = Softmax<axis=2>(c)", "y = Softmax<axis=2>(boxes)")
    model = model_of(replace(row, body=text))
    _, start = start_of(row, model, drawn(row), output="y")
    assert (np.count_nonzero(start, axis=2) == 1).all()  # one of every place, and no largest of all


@pytest.mark.parametrize("name", ["suppressed", "suppressed, apart"])
def test_where_nothing_is_detected_nothing_is_explained(name: str) -> None:
    row = HEADS[name]
    model = model_of(row)
    (least,) = [w for w in model.graph.initializer if w.name == "least"]
    least.CopyFrom(numpy_helper.from_array(np.float32([2]), "least"))  # above any probability
    compiled = lrp_onnx.compile(model, "epsilon")
    result = lrp_onnx.Explainer(compiled)(drawn(row))
    assert not len(result.outputs["y"])
    assert not result.relevance["x"].any()


def test_detections_without_a_batch_are_never_stacked() -> None:
    row = HEADS["suppressed, apart"]
    explainer = lrp_onnx.Explainer(lrp_onnx.compile(model_of(row), "epsilon"))
    inputs = [drawn(row), -drawn(row)]
    for x, found in zip(inputs, explainer.many(inputs), strict=True):
        np.testing.assert_array_equal(found.relevance["x"], explainer(x).relevance["x"])


def test_an_explicit_class_axis_is_the_plain_reading() -> None:
    row = HEADS["segmentation"]
    y, start = start_of(row, model_of(row), drawn(row), class_axis=1)
    np.testing.assert_array_equal(start != 0, y == y.max(1, keepdims=True))


@pytest.mark.parametrize("target", [3, "3-1", "max", "all"])
def test_other_targets_of_a_map_are_as_ever(target: int | str) -> None:
    row = HEADS["segmentation"]
    model, x = model_of(row), drawn(row)
    _, start = start_of(row, model, x, target=target)
    _, plain = start_of(row, model, x, target=target, class_axis=1)
    np.testing.assert_array_equal(start, plain)


def test_boxes_that_are_asked_for_are_one_entry() -> None:
    row = HEADS["SSD"]
    compiled = lrp_onnx.compile(model_of(row), "epsilon", output="boxes", relevance_at="boxes")
    found = run(compiled.model, {"x": drawn(row)})
    for y, r in zip(found["boxes"], found["boxes_relevance"], strict=True):
        place = np.unravel_index(y.argmax(), y.shape)
        assert np.argwhere(r).tolist() == [list(place)]
    assert any("boxes of detections, whose scores are output 'y'" in w for w in compiled.warnings)
