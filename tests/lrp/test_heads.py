"""Outputs that are no scores of classes alone: what each is taken for, and the entry explained.

Small models spell heads as exporters do; the starting relevance says which entry was chosen, and
numpy which it should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from models import run
from onnx import TensorProto, helper, numpy_helper

import lrp_onnx
from lrp_onnx.errors import TargetError

Array = np.ndarray
Choice = tuple[int, ...] | None
X = (2, 3, 8, 8)
CLASSES = 3


@dataclass(frozen=True)
class Row:
    """A model as ONNX text, with its weights; `scores` are the indices of class scores along
    `axis`.
    """

    body: str
    outputs: Sequence[str] = ("y",)
    weights: Mapping[str, Any] = field(default_factory=dict)
    explained: str = "y"
    axis: int | None = 1
    scores: tuple[int, int] | None = None
    objectness: int | None = None
    compared: bool = False
    batch: bool = True
    x: tuple[int, ...] = X
    logits: bool = True
    """Whether relevance starts at the logit of the entry."""
    integers: Sequence[str] = ()
    half: bool = True
    """Whether the runtime has all its operators in half precision."""


def conv(*channels: int) -> dict[str, Any]:
    """Weights v0, v1, … of convolutions with that many channels."""
    return {f"v{k}": (n, 3, 3, 3) for k, n in enumerate(channels)}


def maps(*names: str) -> str:
    """A convolution of x for each weight."""
    return " ".join(f"{name} = Conv<pads=[1,1,1,1]>(x, v{k}) " for k, name in enumerate(names))


DECODE = "d0 = Mul(b, stride) d1 = Add(d0, anchors) "
GRID = {"stride": np.float32(8), "anchors": np.arange(64, dtype=np.float32).reshape(1, 1, 64) * 3}
V8 = (
    maps("m0", "m1") + "m = Concat<axis=1>(m0, m1) f = Reshape(m, flat) "
    "b, s = Split<axis=1>(f, parts) " + DECODE + "p = Sigmoid(s) "
)
V8_WEIGHTS = {**conv(4, CLASSES), **GRID, "flat": [0, 4 + CLASSES, -1], "parts": [4, CLASSES]}
V5 = (
    maps("m") + "r = Reshape(m, five) t = Transpose<perm=[0,1,3,4,2]>(r) p = Sigmoid(t) "
    "xy, wh, c = Split<axis=4>(p, parts) x0 = Mul(xy, two) x1 = Add(x0, stride) x2 = Mul(x1, "
    "stride) w0 = Mul(wh, two) w1 = Mul(w0, w0) w2 = Mul(w1, stride) "
    "o = Concat<axis=4>(x2, w2, c) "
)


def v5(classes: int) -> dict[str, Any]:
    return {**conv(3 * (5 + classes)), "two": np.float32(2), "stride": np.float32(8),
            "five": [0, 3, 5 + classes, 8, 8], "parts": [2, 2, 1 + classes],
            "flat": [0, -1, 5 + classes]}  # fmt: skip


X5 = maps("b0", "o0", "c0") + (
    "b = Mul(b0, stride) o = Sigmoid(o0) c = Sigmoid(c0) m = Concat<axis=1>(b, o, c) "
)
PLACES = maps("m0", "m1") + (
    "t0 = Transpose<perm=[0,2,3,1]>(m0) t1 = Transpose<perm=[0,2,3,1]>(m1) "
)
SSD = PLACES + "boxes = Reshape(t0, of_box) c = Reshape(t1, of_class) "
SSD_WEIGHTS = {**conv(8, 6), "of_box": [0, -1, 4], "of_class": [0, -1, 3]}
QUERIES = maps("m") + (
    "f = Reshape(m, flat) k = Transpose<perm=[0,2,1]>(f) a0 = MatMul(queries, f) a = "
    "Softmax<axis=2>(a0) h = MatMul(a, k) c = MatMul(h, wc) b = MatMul(h, wb) boxes = Sigmoid(b) "
)
QUERIES_WEIGHTS = {**conv(5), "flat": [0, 5, -1], "queries": (1, 6, 5), "wc": (5, 3), "wb": (5, 4)}
SUPPRESSED = SSD.replace("boxes =", "all =") + (
    "p = Sigmoid(c) s = Transpose<perm=[0,2,1]>(p) "
    "n = NonMaxSuppression(all, s, most, overlap, least) i = Gather<axis=1>(n, at_place) "
    "e = Squeeze(all, first) boxes = Gather<axis=0>(e, i) "
    "g = GatherND(s, n) scores0 = Identity(g) labels = Gather<axis=1>(n, at_class) "
)
NMS_WEIGHTS = {**SSD_WEIGHTS, "most": [5], "overlap": np.float32([0.5]),
               "least": np.float32([0.1]), "at_place": np.array(2), "at_class": np.array(1),
               "first": [0], "last": [1]}  # fmt: skip
TOP = PLACES + (
    "q0 = Reshape(t0, of_box) b = Mul(q0, stride) q1 = Reshape(t1, of_class) p = Sigmoid(q1) "
    "best = ReduceMax<keepdims=0>(p, two) v, i = TopK<axis=1>(best, count) "
    "u = Unsqueeze(i, two) i4 = Expand(u, to_box) i3 = Expand(u, to_class) "
    "gb = GatherElements<axis=1>(b, i4) gs = GatherElements<axis=1>(p, i3) "
    "fs = Reshape(gs, rest) ts, ti = TopK<axis=1>(fs, count) place = Div(ti, classes) "
    "label = Mod(ti, classes) pu = Unsqueeze(place, two) p4 = Expand(pu, to_box) "
    "fb = GatherElements<axis=1>(gb, p4) su = Unsqueeze(ts, two) lf = Cast<to=1>(label) "
    "lu = Unsqueeze(lf, two) y = Concat<axis=2>(fb, su, lu)"
)
TOP_WEIGHTS = {**SSD_WEIGHTS, "two": [2], "count": [5], "to_box": [1, 1, 4], "to_class": [1, 1, 3],
               "rest": [0, -1], "classes": np.array(3), "stride": np.float32(8)}  # fmt: skip
SWAP = "y = Transpose<perm=[0,2,1]>(o)"
HEADS = {
    "YOLOv8": Row(V8 + "y = Concat<axis=1>(d1, p)", weights=V8_WEIGHTS, scores=(4, 7)),
    "YOLOv8, places first": Row(V8 + "o = Concat<axis=1>(d1, p) " + SWAP, weights=V8_WEIGHTS,
                                axis=2, scores=(4, 7)),
    "YOLOv8 with masks": Row(
        maps("m0", "m1", "m2") + "b = Reshape(m0, f4) " + DECODE + "s0 = Sigmoid(m1) "
        "p = Reshape(s0, f3) k = Reshape(m2, f5) y = Concat<axis=1>(d1, p, k) protos = "
        "Conv(x, v0)", ["y", "protos"],
        {**conv(4, 3, 5), **GRID, "f4": [0, 4, -1], "f3": [0, 3, -1], "f5": [0, 5, -1]},
        scores=(4, 7)),
    "YOLOv8 with poses": Row(
        maps("m0", "m1", "m2") + "b = Reshape(m0, f4) " + DECODE + "s0 = Sigmoid(m1) "
        "p = Reshape(s0, f1) k = Reshape(m2, f23) xy, v = Split<axis=2>(k, parts) xs = Mul(xy, "
        "stride) vs = Sigmoid(v) j = Concat<axis=2>(xs, vs) jf = Reshape(j, f6) "
        "y = Concat<axis=1>(d1, p, jf)",
        weights={**conv(4, 1, 6), **GRID, "f4": [0, 4, -1], "f1": [0, 1, -1], "parts": [2, 1],
                 "f23": [0, 2, 3, 64], "f6": [0, 6, -1]}, scores=(4, 5)),
    "YOLOv8 of two sizes": Row(
        maps("m0", "m1") + "o0 = Sigmoid(m1) a = Concat<axis=1>(m0, o0) s0 = MaxPool<kernel_shape="
        "[2,2],strides=[2,2]>(m0) s1 = MaxPool<kernel_shape=[2,2],strides=[2,2]>(m1) o1 = "
        "Sigmoid(s1) e = Concat<axis=1>(s0, o1) af = Reshape(a, flat) ef = Reshape(e, flat) "
        "y = Concat<axis=2>(af, ef)", weights={**conv(4, 3), "flat": [0, 7, -1]}, scores=(4, 7)),
    "YOLOv5": Row(V5 + "y = Reshape(o, flat)", weights=v5(3), axis=2, scores=(5, 8), objectness=4),
    "YOLOv5, places last": Row(V5 + "o2 = Reshape(o, flat) y = Transpose<perm=[0,2,1]>(o2)",
                               weights=v5(3), scores=(5, 8), objectness=4),
    "YOLOv5 of one class": Row(V5 + "y = Reshape(o, flat)", weights=v5(1), axis=2, scores=(4, 5)),
    "YOLOX": Row(X5 + "y = Reshape(m, flat)", scores=(5, 8), objectness=4,
                 weights={**conv(4, 1, 3), "flat": [0, 8, -1], "stride": np.float32(8)}),
    "YOLOv6": Row(
        maps("b0", "c0") + "b = Mul(b0, stride) c = Sigmoid(c0) one = Expand(ones, to) "
        "m = Concat<axis=1>(b, one, c) y = Reshape(m, flat)", scores=(5, 8),
        weights={**conv(4, 3), "flat": [0, 8, -1], "stride": np.float32(8),
                 "ones": np.float32(1), "to": [2, 1, 8, 8]}),
    "NanoDet": Row(maps("c0", "b") + "c = Sigmoid(c0) m = Concat<axis=1>(c, b) "
                   "y = Reshape(m, flat)", weights={**conv(3, 8), "flat": [0, 11, -1]},
                   scores=(0, 3)),
    "YOLOv10": Row(TOP, weights=TOP_WEIGHTS, axis=2, scores=(4, 5), x=(1, 3, 8, 8),
                   logits=False, half=False),
    "YOLOv10 of one tensor": Row(
        TOP.replace("best =", "bp = Concat<axis=2>(b, p) b_, p_ = Split<axis=2>(bp, parts) best =")
        .replace("ReduceMax<keepdims=0>(p", "ReduceMax<keepdims=0>(p_")
        .replace("(b, i4)", "(b_, i4)").replace("(p, i3)", "(p_, i3)"),
        weights={**TOP_WEIGHTS, "parts": [4, 3]}, axis=2, scores=(4, 5), x=(1, 3, 8, 8),
        logits=False, half=False),
    "suppressed": Row(
        SUPPRESSED + "su = Unsqueeze(scores0, last) lf = Cast<to=1>(labels) lu = Unsqueeze(lf, "
        "last) y = Concat<axis=1>(boxes, su, lu)", weights=NMS_WEIGHTS, scores=(4, 5),
        x=(1, 3, 8, 8), batch=False, logits=False, half=False),
    "suppressed, apart": Row(SUPPRESSED + "y = Identity(scores0)", ["boxes", "labels", "y"],
                             NMS_WEIGHTS, axis=None, x=(1, 3, 8, 8), batch=False, logits=False,
                             half=False, integers=["labels"]),
    "SSD": Row(SSD + "y = Softmax<axis=2>(c)", ["boxes", "y"], SSD_WEIGHTS, axis=2, compared=True),
    "SSD of sigmoids": Row(SSD + "y = Sigmoid(c)", ["y", "boxes"], SSD_WEIGHTS, axis=2),
    "SSD, places last": Row(
        maps("m0", "m1") + "boxes = Reshape(m0, of_box) y = Reshape(m1, of_class)",
        ["boxes", "y"], {**conv(8, 6), "of_box": [0, 4, -1], "of_class": [0, 3, -1]},
        compared=True),
    "faces with landmarks": Row(
        SSD + "l0 = Conv<pads=[1,1,1,1]>(x, v2) l1 = Transpose<perm=[0,2,3,1]>(l0) landmarks = "
        "Reshape(l1, of_points) y = Softmax<axis=2>(c)", ["boxes", "y", "landmarks"],
        {**SSD_WEIGHTS, "v2": (20, 3, 3, 3), "of_points": [0, -1, 10]}, axis=2, compared=True),
    "scores with centerness": Row(
        SSD + "l0 = Conv<pads=[1,1,1,1]>(x, v2) l1 = Transpose<perm=[0,2,3,1]>(l0) l2 = "
        "Reshape(l1, of_one) centerness = Sigmoid(l2) y = Sigmoid(c)",
        ["boxes", "y", "centerness"],
        {**SSD_WEIGHTS, "v2": (2, 3, 3, 3), "of_one": [0, -1, 1]}, axis=2),
    "DETR": Row(QUERIES + "y = Identity(c)", ["y", "boxes"], QUERIES_WEIGHTS, axis=2,
                compared=True),
    "RT-DETR": Row(QUERIES + "p = Sigmoid(c) y = Concat<axis=2>(boxes, p)",
                   weights=QUERIES_WEIGHTS, axis=2, scores=(4, 7)),
    "segmentation": Row(maps("y"), weights=conv(4)),
    "segmentation, channels last": Row(maps("m") + "y = Transpose<perm=[0,2,3,1]>(m)",
                                       weights=conv(4), axis=3),
    "segmentation by softmax": Row(maps("m") + "y = Softmax<axis=1>(m)", weights=conv(4)),
    "saliency": Row(maps("m") + "y = Sigmoid(m)", weights=conv(1)),
    "map without channels": Row(maps("m") + "y = Squeeze(m, one)",
                                weights={**conv(1), "one": [1]}, axis=None),
    "map reshaped": Row(maps("m") + "s = Sigmoid(m) y = Reshape(s, to)",
                        weights={**conv(1), "to": [-1, 8, 8]}, axis=None),
    "segmentation without a batch": Row(
        "u = Unsqueeze(x, zero) m = Conv<pads=[1,1,1,1]>(u, v0) y = Squeeze(m, zero)",
        weights={**conv(4), "zero": [0]}, axis=0, batch=False, x=X[1:]),
    "landmarks": Row(
        maps("m") + "p = GlobalAveragePool(m) f = Flatten(p) l = Gemm(f, w) y = Reshape(l, to)",
        weights={**conv(5), "w": (5, 12), "to": [0, 6, 2]}, axis=2),
    "landmarks in triples": Row(
        "f = Flatten(x) l = Gemm(f, w) s = Sigmoid(l) y = Reshape(s, to)",
        weights={"w": (192, 15), "to": [-1, 5, 3]}, axis=2),
}  # fmt: skip


def model_of(row: Row, symbolic: bool = False, half: bool = False) -> onnx.ModelProto:
    """The row's model; with `symbolic` the batch is open, in half precision with `half`."""
    outputs = ", ".join(f"float {name}" for name in row.outputs)
    graph = onnx.parser.parse_graph(f"g (float x) => ({outputs}) {{ {row.body} }}")
    element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    rng = np.random.default_rng(5)
    for name, value in row.weights.items():
        array = 0.3 * rng.standard_normal(value) if isinstance(value, tuple) else np.asarray(value)
        kind = array.dtype.kind
        array = array.astype(np.int64 if kind == "i" else np.float16 if half else np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    shape = ["N", *row.x[1:]] if symbolic else row.x
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", element, shape))
    for value in graph.output:
        kind = TensorProto.INT64 if value.name in row.integers else element
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, None))
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def drawn(row: Row) -> Array:
    return np.random.default_rng(7).standard_normal(row.x).astype(np.float32)


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


ROWS = "l = MatMul(x, w) "
CTC = maps("m") + "p = ReduceMax<keepdims=0>(m, high) t = Transpose<perm=[0,2,1]>(p) "
PLAIN = {
    "classifier": Row("y = MatMul(x, w)", weights={"w": (4, 8)}, x=(2, 4)),
    "classifier by softmax": Row(ROWS + "y = Softmax(l)", weights={"w": (4, 8)}, x=(2, 4)),
    "multi-label": Row(ROWS + "y = Sigmoid(l)", weights={"w": (4, 8)}, x=(2, 4)),
    "two softmaxes side by side": Row(
        ROWS + "k = MatMul(x, v) p = Softmax(l) q = Softmax(k) y = Concat<axis=1>(p, q)",
        weights={"w": (4, 8), "v": (4, 3)}, x=(2, 4)),
    "two classes of one sigmoid": Row(
        ROWS + "p = Sigmoid(l) q = Sub(one, p) y = Concat<axis=1>(q, p)",
        weights={"w": (4, 1), "one": np.float32(1)}, x=(2, 4)),
    "four numbers": Row("y = MatMul(x, w)", weights={"w": (4, 4)}, x=(2, 4)),
    "box of a picture": Row("f = Flatten(x) y = MatMul(f, w)", weights={"w": (192, 4)}),
    "landmarks in a row": Row("f = Flatten(x) y = MatMul(f, w)", weights={"w": (192, 136)}),
    "tagging": Row("y = MatMul(x, w)", weights={"w": (4, 9)}, x=(2, 5, 4)),
    "tagging with four tags": Row("y = MatMul(x, w)", weights={"w": (4, 4)}, x=(2, 5, 4)),
    "tagging with two tags, reshaped": Row(
        "r = Reshape(x, rows) l = MatMul(r, w) y = Reshape(l, to)", x=(2, 5, 4),
        weights={"w": (4, 2), "rows": [-1, 4], "to": [-1, 5, 2]}),
    "language model": Row("h = MatMul(x, w) t = Tanh(h) y = MatMul(t, v)",
                          weights={"w": (4, 6), "v": (6, 30)}, x=(2, 5, 4)),
    "gated linear unit": Row("l = MatMul(x, w) a, b = Split<axis=2>(l, parts) g = Sigmoid(b) "
                             "y = Mul(a, g)", weights={"w": (4, 12), "parts": [6, 6]},
                             x=(2, 5, 4)),
    "events by frame": Row(ROWS + "y = Sigmoid(l)", weights={"w": (4, 9)}, x=(2, 5, 4)),
    "CTC of a picture": Row(CTC + "y = MatMul(t, w)",
                            weights={**conv(5), "high": [2], "w": (5, 7)}),
    "CTC of a picture by softmax": Row(CTC + "l = MatMul(t, w) y = Softmax(l)",
                                       weights={**conv(5), "high": [2], "w": (5, 7)}),
    "CTC, convolutions alone": Row(maps("m") + "y = ReduceMean<keepdims=0>(m, high)",
                                   weights={**conv(7), "high": [2]}),
    "CTC, height of one": Row(maps("m") + "y = ReduceMean<keepdims=1>(m, high)",
                              weights={**conv(7), "high": [2]}),
    "frames of a convolution": Row("y = Conv<pads=[1,1]>(x, v)", weights={"v": (7, 4, 3)},
                                   x=(2, 4, 9)),
    "characters of a captcha": Row(
        "f = Flatten(x) l = Gemm(f, w) y = Reshape(l, to)",
        weights={"w": (192, 24), "to": [-1, 4, 6]}),
    "classifier with places of size one": Row(maps("m") + "y = GlobalAveragePool(m)",
                                              weights=conv(7)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_others_keep_their_meaning(name: str) -> None:
    row = PLAIN[name]
    compiled = lrp_onnx.compile(model_of(row, symbolic=True), "epsilon", relevance_at="y",
                                start="one")  # fmt: skip
    assert "lrp.head" not in compiled.graph.metadata_props
    found = run(compiled.model, {"x": drawn(row)})
    y, start = found["y"], found["y_relevance"]
    axis = 1 if y.ndim in (2, 4) else 2
    expected = np.zeros_like(y)
    np.put_along_axis(expected, np.expand_dims(y.argmax(axis), axis), 1, axis)
    np.testing.assert_array_equal(start, expected)


SEVERAL = {
    "two tasks of tags": Row(ROWS + "y = MatMul(x, v)", ["l", "y"], {"w": (4, 9), "v": (4, 4)},
                             x=(2, 5, 4)),
    "where an answer begins and ends": Row(
        "a = MatMul(x, w) y = Squeeze(a, two) b = MatMul(x, v) z = Squeeze(b, two)", ["y", "z"],
        {"w": (4, 1), "v": (4, 1), "two": [2]}, x=(2, 5, 4)),
    "two classifiers of pictures": Row(
        maps("m") + "p = GlobalAveragePool(m) f = Flatten(p) y = MatMul(f, w) z = MatMul(f, u)",
        ["y", "z"], {**conv(5), "w": (5, 4), "u": (5, 2)}),
    "logits and features": Row("h = MatMul(x, w) y = MatMul(h, v)", ["y", "h"],
                               {"w": (4, 6), "v": (6, 3)}, x=(2, 4)),
    "probabilities and logits": Row(ROWS + "y = Softmax(l)", ["y", "l"], {"w": (4, 6)}, x=(2, 4)),
    "boxes of three sizes": Row(maps("y", "z"), ["y", "z"], conv(4, 3)),
    "four classes beside sigmoid boxes": Row(
        QUERIES.replace("wc)", "wd)") + "y = Identity(c)", ["boxes", "y"],
        {**QUERIES_WEIGHTS, "wd": (5, 4)}),
    "four classes beside boxes": Row(
        SSD + "y = Identity(c)", ["boxes", "y"], {**SSD_WEIGHTS, "v1": (8, 3, 3, 3),
                                                   "of_class": [0, -1, 4]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_outputs_are_an_error_where_none_is_the_scores(name: str) -> None:
    with pytest.raises(TargetError, match="Choose one with --output"):
        lrp_onnx.compile(model_of(SEVERAL[name]), "epsilon")


def test_several_scores_are_named() -> None:
    body = SSD + "y = Sigmoid(c) z = Neg(boxes) q = Sigmoid(z) k = Concat<axis=2>(boxes, y)"
    row = Row(body, ["boxes", "y", "k"], SSD_WEIGHTS)
    with pytest.raises(TargetError, match=r"several have scores \('y', 'k'\)"):
        lrp_onnx.compile(model_of(row), "epsilon")


def test_boxes_that_are_asked_for_are_one_entry() -> None:
    row = HEADS["SSD"]
    compiled = lrp_onnx.compile(model_of(row), "epsilon", output="boxes", relevance_at="boxes")
    found = run(compiled.model, {"x": drawn(row)})
    for y, r in zip(found["boxes"], found["boxes_relevance"], strict=True):
        place = np.unravel_index(y.argmax(), y.shape)
        assert np.argwhere(r).tolist() == [list(place)]
    assert any("boxes of detections, whose scores are output 'y'" in w for w in compiled.warnings)
