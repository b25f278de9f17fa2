"""What a compilation may cost: bytes of the file, calls, memory."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import onnx
import pytest
from models import network
from onnx import helper

import lrp_onnx
from lrp_onnx.compiler.stages import run_stages
from lrp_onnx.data import digits
from lrp_onnx.options import CompileOptions

BOX = {"low": 0.0, "high": 1.0}
WIDE = network(
    "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) f = Flatten(r) g = Gemm<transB=1>(f, v) "
    "h = Relu(g) y = Gemm<transB=1>(h, u)",
    (1, 8, 4, 4), w=(32, 8, 3, 3), b=(32,), v=(256, 512), u=(10, 256),
)  # fmt: skip
MODELS = {"digits": digits.load()[0], "wide": WIDE.SerializeToString()}
COMPOSITES = {
    "epsilon": {},
    "epsilon-plus-flat": {},
    "alpha2-beta1": {},
    "epsilon-gamma-box": BOX,
    "zbox": BOX,
    "wsquare": {},
}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_file_grows_by_nodes_not_by_weights(model, composite):
    compiled = lrp_onnx.compile(
        model, composite, parameters=COMPOSITES[composite], fold="never", check=False
    ).model
    emitted = sum(node.name.startswith("lrp/") for node in compiled.graph.node)
    assert compiled.ByteSize() <= 1.15 * len(model) + 360 * emitted


def deep(nodes: int) -> onnx.ModelProto:
    """A chain of that many nodes: Conv, Relu, Conv, Relu, …, with residuals."""
    body, last = [], "x"
    for k in range(nodes // 3):
        body.append(
            f"c{k} = Conv<pads=[1,1,1,1]>({last}, w) r{k} = Relu(c{k}) a{k} = Add(r{k}, {last})"
        )
        last = f"a{k}"
    return network(" ".join(body) + f" y = GlobalAveragePool({last})", (1, 2, 4, 4), w=(2, 2, 3, 3))


def broad(nodes: int) -> onnx.ModelProto:
    """That many convolutions of one tensor, joined by one Concat."""
    parts = [f"c{k}" for k in range(nodes)]
    body = " ".join(f"{c} = Conv<pads=[1,1,1,1]>(x, w)" for c in parts)
    joined = f" j = Concat<axis=1>({', '.join(parts)}) y = GlobalAveragePool(j)"
    return network(body + joined, (1, 2, 4, 4), w=(2, 2, 3, 3))


def calls_of(model: onnx.ModelProto, composite: str | None, **options: object) -> int:
    """How many functions a compilation calls, those written in C and generators' steps included."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        lrp_onnx.compile(model, composite, **{"check": False, **options})
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "alpha2-beta1"])
@pytest.mark.parametrize("graph", [deep, broad])
def test_compile_time_is_linear_in_nodes(graph, composite):
    lrp_onnx.compile(graph(30), composite, check=False)  # what is computed once in a process
    few, more, most = (calls_of(graph(n), composite) for n in (30, 60, 120))
    assert most - more <= 2.01 * (more - few)


def test_the_search_for_garbage_stays_as_it_was():
    seen = []
    run_stages(MODELS["digits"], CompileOptions(), lambda *_: seen.append(gc.isenabled()))
    assert seen
    assert all(seen)


MEASURE = """
import sys, lrp_onnx
from lrp_onnx.validate.peak_memory import _memory as memory
lrp_onnx.compile(sys.argv[1], check=False)  # imports, pools
before = memory("VmRSS")
lrp_onnx.compile(sys.argv[2], check=False)
print(memory("VmHWM") - before)
"""


def test_compiling_needs_twice_the_models_memory(tmp_path):
    big = network("y = MatMul(x, w)", (1, 6000), w=np.zeros((6000, 6000), np.float32))
    onnx.save(big, tmp_path / "big.onnx")
    (tmp_path / "small.onnx").write_bytes(MODELS["wide"])
    code = [sys.executable, "-c", MEASURE, tmp_path / "small.onnx", tmp_path / "big.onnx"]
    grown = int(subprocess.run(code, check=True, capture_output=True, text=True).stdout)
    size = (tmp_path / "big.onnx").stat().st_size
    assert 0.5 * size <= grown <= 300e6 + 2 * size


@pytest.mark.parametrize("many", ["inputs", "outputs"])
def test_many_inputs_or_outputs_cost_no_square(many: str) -> None:
    def model(size: int) -> onnx.ModelProto:
        counts = (size, 1) if many == "inputs" else (1, size)
        inputs, outputs = (
            [helper.make_tensor_value_info(f"{end}{k}", 1, [1, 4]) for k in range(count)]
            for end, count in zip("xy", counts, strict=True)
        )
        names = [value.name for value in inputs]
        nodes = [helper.make_node("Sum", names, [value.name]) for value in outputs]
        return helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )

    lrp_onnx.compile(model(3), output="y0")
    few, more = (calls_of(model(n), None, output="y0", check=True) for n in (60, 240))
    assert more < 5 * few


def test_a_model_with_too_many_outputs_to_open_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrp_onnx.compiler.check.MOST_ENDS", 1)
    (warning,) = lrp_onnx.compile(MODELS["digits"]).warnings
    assert "takes minutes to open a model with 3 inputs and outputs" in warning
