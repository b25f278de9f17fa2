"""Every emitted operator has a CUDA kernel for its types: without a GPU, by the wheel's registry.

What computes on data must be placed on CUDA; arithmetic on shapes may stay on the CPU, where the
runtime puts it by design.  Operators of the model's own are its own matter.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import indexing
import onnx
import pytest
import tables_signal
import test_decompose
import test_half_precision
import test_methods_everywhere
import test_quantized
import test_vjp
import test_vjp_operands
from attention import ATTENTION, Shaped
from cuda_stub import CUDA, LIBRARY, Placed, placements
from models import Case
from test_networks import BOX, NETWORKS, PLAIN, RECIPES, rules_of

import lrp_onnx

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason=f"no {LIBRARY.name} is made for this machine: kernels are those of Linux on x86-64",
)

CPU_ONLY = {
    "DFT": "the derivative of a DFT",
    "Unique": "finds again which elements a Unique kept",
    "Sinh": "the derivative of Cosh",
    "Cosh": "the derivative of Sinh",
}
"""Every emitted operator that has no CUDA kernel.  Each comes only behind a forward operator that
has none either, so that its operands are on the CPU already.
"""

Named = Iterator[tuple[str, onnx.ModelProto]]
SEEDED = {"target": "seed", "check": False}
GRADIENT = {**SEEDED, "composite": "gradient", "start": "one"}


def compiled(model: onnx.ModelProto, runtime: str = "cuda", **request: object) -> onnx.ModelProto:
    return lrp_onnx.compile(model, runtime=runtime, **request).model


def networks() -> Named:
    for name, model in NETWORKS.items():
        for composite in (*RECIPES, *PLAIN):
            boxed = BOX if "zbox" in str(rules_of(composite, model)) else {}
            for runtime in ("cuda", "portable") if name in ("cnn", "residual") else ("cuda",):
                request = {"composite": composite, "parameters": boxed, "check": False}
                yield f"{name}/{composite}/{runtime}", compiled(model, runtime, **request)


def rows(cases: Iterable[Case]) -> Named:
    for case in cases:
        yield str(case), compiled(case.model(), **GRADIENT)


def kinds(cases: Iterable[Case]) -> Iterator[Case]:
    """The first of each kind: the same operator, attributes by name and words, inputs given."""
    known = set()
    for case in cases:
        attributes = {k: v if isinstance(v, str) else "" for k, v in case.attributes.items()}
        given = {k: v if v is None else isinstance(v, tuple) for k, v in case.inputs.items()}
        kind = (case.op, case.opset, case.outputs, case.then, str(attributes), str(given))
        if kind not in known:
            known.add(kind)
            yield case


def operators() -> Named:
    cases = [*test_vjp.ROWS, *test_vjp_operands.ROWS, *tables_signal.ROWS, *indexing.ROWS]
    yield from rows(kinds(cases))


def unknown_sizes() -> Named:
    cases = list(test_vjp.UNKNOWN)
    cases += [c.unknown() for c in (*tables_signal.ROWS, *indexing.ROWS) if not c.sized]
    yield from rows(kinds(cases))


def wide() -> Named:
    """In double precision, the rows that can be made so: literal floats are single."""
    own = (test_vjp.LINEAR, test_vjp.POOLS, test_vjp.REDUCTIONS, test_vjp.ARITHMETIC, ATTENTION)
    for case in (row.in_dtype("float64") for rows_of in own for row in rows_of):
        single = any(a.dtype == "float32" for a in case.constants().values())
        if not single and not isinstance(case, Shaped):
            yield from rows([case])


def decompositions() -> Named:
    for row in test_decompose.ROWS:
        if row.floats:
            request = {**GRADIENT, "output": row.outputs[0], "explain": list(row.floats)}
            yield str(row), compiled(row.model(), **request)


def structures() -> Named:
    """Recurrent, with bodies, a transformer."""
    for name, (model, *_) in test_methods_everywhere.NETWORKS.items():
        for composite in ("attnlrp", "gradient"):
            yield f"{name}/{composite}", compiled(model, composite=composite, **SEEDED)


def half() -> Named:
    for row in test_half_precision.ROWS:
        for composite in row.composites:
            model = test_half_precision.in_half(row.model())
            yield f"{row}/{composite}", compiled(model, composite=composite, check=False)


def quantized() -> Named:
    for row in test_quantized.ROWS:
        model = test_quantized.model(row.quantized, row, row.feeds()[0])
        yield str(row), compiled(model, composite="epsilon", **SEEDED)


def requests() -> Named:
    """Targets, methods, conditions."""
    model = NETWORKS["cnn"]
    for target in ("argmax", 1, "1-2", "all", "max", "top-2", "input", "seed"):
        yield f"target {target}", compiled(model, target=target, check=False)
    for method in ("gradient", "input-x-gradient", "saliency", "integrated-gradients"):
        yield method, compiled(model, method=method, check=False)
    yield "condition", compiled(model, conditions=["c1"], relevance_at=["r0"], check=False)
    yield "plain", compiled(model, optimize=False, check=False)
    for opset in (18, 19, 20, 21):
        yield f"opset {opset}", compiled(model, opset=opset, check=False)


GROUPS: list[Callable[[], Named]] = [
    networks, operators, unknown_sizes, wide, decompositions, structures, half, quantized, requests,
]  # fmt: skip


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [a.g for a in node.attribute if a.HasField("g")]


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Those of its bodies too."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from nodes(body)


def computing(graph: onnx.GraphProto, data: Set[str] = frozenset()) -> Iterator[onnx.NodeProto]:
    """Nodes that compute on inputs, not on shapes or constants only; in bodies too.

    In a body every input is data.
    """
    known = {*data, *(i.name for i in graph.input)} - {t.name for t in graph.initializer}
    for node in graph.node:
        read = set(node.input)
        for body in bodies(node):
            yield from computing(body, known)
            read |= {name for inner in nodes(body) for name in inner.input}
        if read & known and node.op_type not in ("Shape", "Size"):
            known |= set(node.output)
            yield node


def elsewhere(model: onnx.ModelProto, placed: list[Placed]) -> dict[str, str]:
    """Emitted nodes that compute on data and not on CUDA: on the CPU, or without any kernel."""
    there = {p.node for p in placed if p.provider == CUDA}
    own = {n.name: n.op_type for n in computing(model.graph) if n.name.startswith("lrp/")}
    names = [n.name for n in nodes(model.graph) if n.name in own]
    assert len(names) == len(own), "a name stands for two nodes"
    return {name: op for name, op in own.items() if name not in there}


def with_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each CastLike as the Cast, of another name, that the runtime writes out for it."""
    for node in nodes(model.graph):
        if node.op_type == "CastLike" and node.name.startswith("lrp/"):
            del node.input[1:]
            node.op_type = "Cast"
            node.attribute.append(onnx.helper.make_attribute("to", onnx.TensorProto.FLOAT))
    return model


@cache
def found(group: Callable[[], Named], folder: Path) -> dict[str, list[str]]:
    """Which operators do not run on CUDA, and where; whichever worker is first leaves that in the
    folder.
    """
    file = folder / f"cuda_{group.__name__}.json"
    if file.exists():
        return json.loads(file.read_text())
    models = {name: with_casts(model) for name, model in group()}
    kept = defaultdict(list)
    with TemporaryDirectory() as stubs:
        placed = placements(models, Path(stubs))
    for name, model in models.items():
        for node, op in elsewhere(model, placed[name]).items():
            kept[op].append(f"{name}: {node}")
    written = file.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps(kept))
    written.rename(file)
    return dict(kept)


@pytest.mark.of_the_rest
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_what_is_emitted_runs_on_cuda(group: Callable[[], Named], folder_of_the_run: Path) -> None:
    without = found(group, folder_of_the_run)
    assert {op: where[:5] for op, where in without.items() if op not in CPU_ONLY} == {}


@pytest.mark.of_the_rest
def test_the_list_of_what_does_not_is_strict(folder_of_the_run: Path) -> None:
    assert set().union(*(found(group, folder_of_the_run) for group in GROUPS)) == set(CPU_ONLY)


SMALL = """<ir_version: 8, opset_import: ["": 18]>
g (float[N,4] x) => (float[N,4] y, {result} z) <bool true = {{1}}> {{ y = Neg(x) {body} }}"""
BODIES = {  # what computes z, and which of its nodes have no kernel
    "float ArgMax": ("int64[N,1]", "z = ArgMax<axis=1>(x)", []),
    "int64 ArgMax": ("int64[N,1]", "i = Cast<to=7>(x) z = ArgMax<axis=1>(i)", ["ArgMax"]),
    "no kernel": ("float[N,4]", "z = Sinh(x)", ["Sinh"]),
    "no kernel, in a body": (
        "float[N,4]", "z = If(true) <then_branch = t () => (float[N,4] p) { p = Sinh(x) }, "
        "else_branch = e () => (float[N,4] q) { q = Neg(x) }>", ["Sinh"]),
    "no kernel, behind a body": (
        "float[N,4]", "b = If(true) <then_branch = t () => (float[N,4] p) { p = Exp(x) }, "
        "else_branch = e () => (float[N,4] q) { q = Neg(x) }> z = Sinh(b)", ["Sinh"]),
    "no kernel, on a shape": ("float[2]", "s = Shape(x) f = Cast<to=1>(s) z = Sinh(f)", []),
}  # fmt: skip


@pytest.fixture(scope="module")
def placed_bodies() -> dict[str, tuple[onnx.ModelProto, list[Placed]]]:
    models = {}
    for name, (result, body, _) in BODIES.items():
        models[name] = onnx.parser.parse_model(SMALL.format(result=result, body=body))
        for node in nodes(models[name].graph):
            node.name = f"lrp/{node.output[0]}"
    with TemporaryDirectory() as folder:
        placed = placements(models, Path(folder))
    return {name: (model, placed[name]) for name, model in models.items()}


@pytest.mark.parametrize("name", BODIES)
def test_a_missing_kernel_is_seen(
    name: str, placed_bodies: dict[str, tuple[onnx.ModelProto, list[Placed]]]
) -> None:
    assert list(elsewhere(*placed_bodies[name]).values()) == BODIES[name][2]
