"""Mutated models: none ends in a traceback, hangs, takes all memory or is wrong in silence.

    python tests/fuzz.py --cases 2000 --seed 0 [--workers 2] [--keep FOLDER]

A case is a small model (the digits' network, onnx's operator cases, exports of PyTorch) with one to
three changes of its bytes, its protobuf structure or its meaning.  It runs in a process with 4 GiB
and 20 s of computing; exit status 1 if one case ends otherwise than compiled and right, or refused
in the form that every refusal has.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock, Thread
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "support")]

LARGEST = 20_000
"""Bytes of a model that is mutated."""
MEMORY = 4 * 2**30
SECONDS = 20
WALL = 120
"""Seconds after which a case hangs that does not compute."""
BUDGET = 0.25
"""Of a compilation: 5 s and 1 GB a step."""
FAILED = ("traceback", "hang", "memory", "crash", "form", "wrong", "slope")


# ---- models ----------------------------------------------------------------------------------


def bases() -> list[tuple[str, bytes]]:
    """The models that are mutated, by name."""
    from conformance import MODULES, cases

    import lrp_onnx.data.digits as digits

    operators = [
        (c.name, with_constants(c)) for module in MODULES for c in cases(module) if c.model
    ]
    small = [(name, data) for name, data in operators if len(data) < LARGEST]
    (own,) = Path(digits.__file__).parent.glob("*.onnx")
    exports = [*exported(), (own.stem, own.read_bytes())]
    return small + exports * max(1, len(small) // len(exports) // 3)


def with_constants(case: Any) -> bytes:
    """An operator's case whose integers are constants, as they are in exported models."""
    from onnx import ModelProto, numpy_helper

    model = ModelProto.FromString(case.model.SerializeToString())
    for value, array in zip(case.model.graph.input, case.data_sets[0][0], strict=False):
        kind = value.type.tensor_type.elem_type
        if kind in (6, 7) and value.name:
            kept = [v for v in model.graph.input if v.name != value.name]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return bytes(model.SerializeToString())


def exported() -> Iterator[tuple[str, bytes]]:
    """Exports of PyTorch that come with onnx, at an opset of today."""
    import onnx
    from onnx import version_converter

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for folder in ("pytorch-converted", "pytorch-operator"):
        for file in sorted((data / folder).glob("*/model.onnx")):
            model = onnx.load(file)
            if file.stat().st_size > LARGEST:
                continue
            try:
                model = version_converter.convert_version(model, 13)
            except (RuntimeError, version_converter.ConvertError):
                continue
            weights = {t.name for t in model.graph.initializer}
            kept = [v for v in model.graph.input if v.name not in weights]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            yield file.parent.name, model.SerializeToString()


# ---- changes ---------------------------------------------------------------------------------

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    -2,
    7,
    255,
    65_536,
    2**31 - 1,
    -(2**31),
    2**31,
    2**40,
    2**63 - 1,
    -(2**63),
)
TEXTS = ("", "x", "y", "a b", "\x1b[31m", "\u202etxt", "../up", "N", "'quoted'", "z" * 3000)
UNARY = (
    *("Relu", "Neg", "Abs", "Exp", "Sqrt", "Sigmoid", "Softmax", "Identity", "Shape", "Floor"),
    *("Erf", "Tanh", "Transpose", "Flatten", "ReduceMean", "ReduceSum", "Not", "Log", "Size"),
)
BINARY = (
    *("Add", "Sub", "Mul", "Div", "Pow", "MatMul", "Max", "Where", "Gather", "Concat", "Mod"),
    *("Reshape", "Expand", "Tile", "Conv", "Gemm", "Range", "Equal", "Less"),
)


def change_bytes(rng: random.Random, data: bytearray) -> None:
    """Flip, take out, repeat or add bytes."""
    at = rng.randrange(len(data))
    length = min(rng.choice((1, 1, 2, 4, 16, 200)), len(data) - at)
    kind = rng.randrange(5)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at : at + length]
    elif kind == 2:
        data[at:at] = data[at : at + length]
    elif kind == 3:
        data[at : at + length] = rng.randbytes(length)
    else:
        del data[at:]


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and those in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if is_repeated(field) else [value]:
                yield from messages(inner)


def is_repeated(field: Any) -> bool:
    """Whether a field is a list."""
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED) if repeated is None else bool(repeated)


def change_structure(rng: random.Random, model: Any) -> None:
    """Take out, repeat, move or replace a field of a message anywhere in the model."""
    message = rng.choice(list(messages(model)))
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if is_repeated(field) and len(value):
        change_list(rng, field, value)
    elif field.message_type is not None or rng.random() < 0.3:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, other_value(rng, value))


def change_list(rng: random.Random, field: Any, value: Any) -> None:
    at, to = rng.randrange(len(value)), rng.randrange(len(value))
    kind = rng.randrange(4)
    if kind == 0:
        del value[at]
    elif kind == 1 and field.message_type is not None:
        value.add().CopyFrom(value[at])
    elif kind == 1:
        value.append(value[at])
    elif kind == 2 and field.message_type is None:
        value[at] = other_value(rng, value[at])
    elif field.message_type is None:
        value[at], value[to] = value[to], value[at]
    else:
        kept = type(value[at])()
        kept.CopyFrom(value[at])
        value[at].CopyFrom(value[to])
        value[to].CopyFrom(kept)


def other_value(rng: random.Random, value: Any) -> Any:
    """A value of the same type that may be out of place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), value * 2))
    if isinstance(value, int):
        near = value + rng.choice((-1, 1))
        chosen = rng.choice((*NUMBERS, near, near, near))
        return chosen if -(2**31) <= chosen < 2**31 or abs(value) >= 2**31 else near
    if isinstance(value, bytes):
        return bytes(rng.randbytes(len(value)))
    return rng.choice((*TEXTS, value + "_2"))


def change_meaning(rng: random.Random, model: Any) -> None:
    """Another model that is well formed, more or less."""
    changes: list[Callable[[random.Random, Any], None]] = [
        other_operator, other_attribute, other_attribute, other_size, other_size, other_wire,
        node_between, open_axis, weight_as_input, input_as_weight, into_function, other_weight,
        other_type, into_branch, into_loop, other_opset,
    ]  # fmt: skip
    rng.choice(changes)(rng, model.graph if not model.graph.node else model)


def other_operator(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(UNARY if len(node.input) < 2 else BINARY)
    if rng.random() < 0.5:
        del node.attribute[:]


def other_attribute(rng: random.Random, model: Any) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    if not nodes:
        return
    attribute = rng.choice(rng.choice(nodes).attribute)
    if attribute.ints:
        at = rng.randrange(len(attribute.ints))
        attribute.ints[at] = rng.choice((*NUMBERS, *range(-3, 6)))
    elif attribute.HasField("i"):
        attribute.i = rng.choice((*NUMBERS, *range(-3, 6)))
    elif attribute.HasField("f"):
        attribute.f = other_value(rng, attribute.f)


def other_size(rng: random.Random, model: Any) -> None:
    values = [*model.graph.input, *model.graph.output]
    dims = rng.choice(values).type.tensor_type.shape.dim
    if not dims:
        return
    if rng.random() < 0.2:
        dims.add().dim_value = 2
    else:
        rng.choice(dims).dim_value = rng.choice((*NUMBERS, *range(6), *range(6)))


def open_axis(rng: random.Random, model: Any) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[: rng.choice((1, 1, 9))]:
            dim.dim_param = rng.choice(("N", "N", "M", ""))


def other_wire(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    known = [*(v.name for v in model.graph.input), *(o for n in model.graph.node for o in n.output)]
    known += [t.name for t in model.graph.initializer]
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*known, ""))


def node_between(rng: random.Random, model: Any) -> None:
    """A node in front of one that reads its result."""
    at = rng.randrange(len(model.graph.node))
    reader = model.graph.node[at]
    if not reader.input:
        return
    place = rng.randrange(len(reader.input))
    first, new = reader.input[place], f"between_{at}_{rng.randrange(9)}"
    op = rng.choice((*UNARY, *BINARY))
    node = type(reader)(op_type=op, input=[first, first][: 1 + (op in BINARY)], output=[new])
    reader.input[place] = new
    model.graph.node.insert(at, node)


def weight_as_input(rng: random.Random, model: Any) -> None:
    from onnx import helper

    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    model.graph.input.append(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    )
    if rng.random() < 0.5:
        model.graph.initializer.remove(tensor)


def input_as_weight(rng: random.Random, model: Any) -> None:
    import numpy as np
    from onnx import helper, numpy_helper

    values = [v for v in model.graph.input if v.type.HasField("tensor_type")]
    if len(values) < 2:
        return
    value = rng.choice(values[1:])
    kind = value.type.tensor_type
    sizes = [d.dim_value for d in kind.shape.dim]
    if kind.elem_type in (0, 8) or not 0 < np.prod(sizes or [1]) < 10_000:
        return
    draws = np.random.default_rng(rng.randrange(99)).integers(0, 3, sizes)
    array = draws.astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    model.graph.input.remove(value)


def other_weight(rng: random.Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    if len(tensor.int64_data):
        tensor.int64_data[rng.randrange(len(tensor.int64_data))] = rng.choice(NUMBERS)
    elif len(tensor.raw_data) >= 8 and tensor.data_type == 7:
        data = bytearray(tensor.raw_data)
        at = 8 * rng.randrange(len(data) // 8)
        data[at : at + 8] = rng.choice(NUMBERS).to_bytes(8, "little", signed=True)
        tensor.raw_data = bytes(data)
    elif len(tensor.dims):
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((*NUMBERS, 1, 2, 3))


def other_type(rng: random.Random, model: Any) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    value.type.tensor_type.elem_type = rng.choice((0, 1, 6, 7, 9, 10, 11, 16))


def other_opset(rng: random.Random, model: Any) -> None:
    opset = rng.choice(model.opset_import)
    if rng.random() < 0.3:
        model.opset_import.add().CopyFrom(opset)
    opset.version = rng.choice((*range(6, 28), *NUMBERS[:3]))


def into_function(rng: random.Random, model: Any) -> None:
    """A node as a function of the model, which may call itself."""
    from onnx import helper

    node = rng.choice(model.graph.node)
    body = type(node).FromString(node.SerializeToString())
    inputs = [n for n in dict.fromkeys(body.input) if n]
    name, nodes = f"F_{node.op_type}", [body]
    if rng.random() < 0.2:
        nodes.append(helper.make_node(name, inputs, ["again"], domain="fz"))
    opsets = [helper.make_opsetid(o.domain, o.version) for o in model.opset_import]
    model.functions.append(helper.make_function("fz", name, inputs, [*body.output], nodes, opsets))
    if not any(o.domain == "fz" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("fz", 1))
    node.op_type, node.domain = name, "fz"
    node.input[:] = inputs
    del node.attribute[:]


def into_branch(rng: random.Random, model: Any) -> None:
    """A node in both branches of an If with a constant or computed condition."""
    from onnx import TensorProto, helper

    at = rng.randrange(len(model.graph.node))
    node = model.graph.node[at]
    inner = type(node).FromString(node.SerializeToString())
    inner.output[:] = [f"{o}_inside" if o else "" for o in node.output]
    ends = [helper.make_empty_tensor_value_info(o) for o in inner.output if o]
    graphs = [helper.make_graph([inner], name, [], ends) for name in ("yes", "no")]
    condition = helper.make_tensor("condition_of_if", TensorProto.BOOL, [], [rng.random() < 0.5])
    choice = helper.make_node("If", ["condition_of_if"], [o for o in node.output if o])
    for name, graph in zip(("then_branch", "else_branch"), graphs, strict=True):
        choice.attribute.append(helper.make_attribute(name, graph))
    model.graph.initializer.append(condition)
    model.graph.node[at].CopyFrom(choice)


def into_loop(rng: random.Random, model: Any) -> None:
    """A node over again, on its own result, a number of times."""
    from onnx import TensorProto, helper

    at = rng.randrange(len(model.graph.node))
    node = model.graph.node[at]
    if not node.input or len(node.output) != 1 or not node.input[0]:
        return
    inner = type(node).FromString(node.SerializeToString())
    inner.input[0], inner.output[0] = "state", "next_state"
    same = helper.make_node("Identity", ["go"], ["go_on"])
    body = helper.make_graph(
        [same, inner], "again",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_empty_tensor_value_info("state")],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         helper.make_empty_tensor_value_info("next_state")],
    )  # fmt: skip
    trips = rng.choice((0, 1, 3, 1000, 10**12))
    model.graph.initializer.extend(
        [helper.make_tensor("trips_of_loop", TensorProto.INT64, [], [trips]),
         helper.make_tensor("go_of_loop", TensorProto.BOOL, [], [True])]
    )  # fmt: skip
    loop = helper.make_node("Loop", ["trips_of_loop", "go_of_loop", node.input[0]], [*node.output])
    loop.attribute.append(helper.make_attribute("body", body))
    model.graph.node[at].CopyFrom(loop)


def mutated(rng: random.Random, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The name of the base and the changed model."""
    import onnx

    name, data = rng.choice(files)
    kind = rng.choice(("bytes", "structure", "structure", "meaning", "meaning", "meaning"))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if kind == "bytes":
            changed = bytearray(data)
            change_bytes(rng, changed)
            data = bytes(changed) or b"\0"
            continue
        model = onnx.load_from_string(data)
        change = change_structure if kind == "structure" else change_meaning
        try:
            change(rng, model)
            data = model.SerializeToString()
        except (ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError):
            continue  # a change that cannot be written down changes nothing
    return f"{kind}:{name}", data


# ---- verdicts --------------------------------------------------------------------------------


def judged(rng: random.Random, data: bytes) -> tuple[str, str]:
    """What came of a model, and more words where it is no good."""
    from lrp_onnx.errors import InternalError, LrpError
    from lrp_onnx.graph.limits import OverBudget

    try:
        return compiled_and_judged(rng, data)
    except InternalError as e:
        return "traceback", f"{e} | {trace_of(e.__cause__)}"
    except OverBudget as e:
        return ("over budget", "") if not wrong_form(str(e)) else ("form", str(e))
    except LrpError as e:
        return ("refused", "") if not wrong_form(str(e)) else ("form", str(e))
    except MemoryError as e:
        return "memory", trace_of(e)
    except Exception as e:
        return "traceback", f"{type(e).__name__}: {e} | {trace_of(e)}"


def trace_of(error: BaseException | None) -> str:
    """The last calls in front of an error."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-6:]))


def wrong_form(text: str) -> bool:
    """Whether a refusal is not one paragraph of a thing, a fact and a remedy."""
    good = 20 <= len(text) <= 600 and text.endswith((".", ".)", "?"))
    sentences = re.search(r"[.;:?,] ", text)
    return not good or not sentences or not text.isprintable() or "bug of lrp-onnx" in text


def compiled_and_judged(rng: random.Random, data: bytes) -> tuple[str, str]:
    import numpy as np

    import lrp_onnx
    from lrp_onnx.compiler.judge import judge, run_plain
    from lrp_onnx.data.samples import random_feeds, wanted_by
    from lrp_onnx.errors import InputError, LrpError, ModelError
    from lrp_onnx.graph.limits import Budget

    method = rng.choice(("lrp", "lrp", "gradient"))
    compiled = lrp_onnx.compile(data, method=method, target="max", budget=BUDGET)
    limit = Budget(5.0, 2**30, 0)
    try:
        inputs = wanted_by(compiled.graph)
    except TypeError:
        return "compiled", ""
    ends = [v.name for v in compiled.graph.graph.outputs]
    added = [name for name in ends if name.endswith("_relevance")]
    own = [name for name in ends if name not in added]
    for feeds in random_feeds(inputs):
        try:
            expected = judge(data, budget=limit).run(feeds, own)
            break
        except (InputError, ModelError):
            continue
    else:
        return "compiled", ""  # nobody can run the original
    try:
        actual = run_plain(compiled.model.SerializeToString(), feeds, ends, limit)
    except ModelError:
        return "compiled", ""
    except InputError as e:
        return ("compiled", "") if compiled.warnings else ("wrong", f"does not run: {e}")
    for name in own:
        if not alike(actual[name], expected[name], 1e-3):
            return "wrong", f"output {name!r} differs"
    finite = all(np.isfinite(v).all() for v in expected.values() if is_float(v))
    for name in added:
        fed = feeds.get(name.removesuffix("_relevance"))
        if fed is not None and np.shape(actual[name]) != np.shape(fed):
            return "wrong", f"{name!r} has shape {np.shape(actual[name])}, not {np.shape(fed)}"
        if finite and not np.isfinite(actual[name]).all() and not compiled.warnings:
            return "wrong", f"{name!r} is not finite, and no warning says so"
    if rng.random() < 0.3 and finite and not compiled.warnings:
        try:
            plain = lrp_onnx.compile(
                data, method=method, target="max", budget=BUDGET, optimize=False, check=False
            )
            again = run_plain(plain.model.SerializeToString(), feeds, added, limit)
        except LrpError as e:
            return "wrong", f"not optimized it is refused: {e}"
        for name in added:
            if well_conditioned(actual[name]) and not alike(again[name], actual[name], 2e-2):
                return "wrong", f"{name!r} differs from that of the plain graph"
        if method == "gradient":
            return slope(data, compiled, feeds, actual, added, limit)
    return "compiled", ""


def is_float(array: Any) -> bool:
    import numpy as np

    return np.asarray(array).dtype.kind == "f"


def well_conditioned(array: Any) -> bool:
    """Whether no entry is far above what float32 tells apart."""
    import numpy as np

    return bool(np.isfinite(array).all()) and float(np.abs(array).max(initial=0)) < 1e6


def alike(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two results are equal but for rounding."""
    import numpy as np

    if isinstance(a, list) or isinstance(b, list) or not is_float(b):
        return str(a) == str(b)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return False
    usual = np.isfinite(b) & (np.abs(b) < 1e30)
    scale = np.abs(b[usual]).max(initial=1e-30)
    return bool((np.abs(a[usual] - b[usual]) <= tolerance * scale).all())


def slope(
    data: bytes, compiled: Any, feeds: Any, actual: Any, added: list[str], limit: Any
) -> tuple[str, str]:
    """The gradient along one direction against differences of what is explained: the largest entry
    of each sample, of an output with one axis every number.
    """
    import numpy as np

    from lrp_onnx.compiler.judge import judge

    if compiled.graph.metadata_props["lrp.starts_at"] != "output":
        return "compiled", ""  # the logits are explained, which the original does not show
    output = json.loads(compiled.graph.metadata_props["lrp.explained"])[0]
    explained = compiled.graph.metadata_props["lrp.output"]
    name = f"{output}_relevance"
    x = feeds.get(output)
    if name not in added or x is None or not is_float(x) or x.dtype.itemsize < 4:
        return "compiled", ""
    direction = np.random.default_rng(1).choice([-1.0, 1.0], x.shape).astype(x.dtype)
    told = float((actual[name] * direction).sum())
    samples = len(x) if x.ndim else 1

    def largest(step: float) -> float:
        y = judge(data, budget=limit).run({**feeds, output: x + step * direction}, [explained])
        rows = np.asarray(y[explained], np.float64)
        if rows.ndim < 2:
            return float(rows.sum())
        batched = len(rows) == samples
        return float(rows.reshape(samples, -1).max(1).sum() if batched else rows.max())

    steps = [(largest(h) - largest(-h)) / (2 * h) for h in (1e-2, 3e-3)]
    if not np.isfinite(steps).all() or abs(steps[0] - steps[1]) > 0.02 * max(map(abs, steps)):
        return "compiled", ""  # not smooth here, or too small for float32
    if abs(told - steps[1]) > 0.05 * max(abs(steps[1]), 1e-2):
        return "slope", f"gradient {told:.5g}, differences {steps[1]:.5g}"
    return "right slope", ""


# ---- processes -------------------------------------------------------------------------------


def serve(seed: int) -> None:
    """Judge the cases whose numbers come in, one a line, in forks that may die."""
    import onnx.shape_inference  # noqa: F401  # so that forks need not import them
    import onnxruntime

    import lrp_onnx.compiler.stages  # noqa: F401

    onnxruntime.set_default_logger_severity(4)
    files = bases()
    print("ready", flush=True)
    for line in sys.stdin:
        numbers = [int(n) for n in line.split()]
        while numbers:
            numbers = numbers[run_fork(seed, files, numbers) :]
        print("done", flush=True)


def run_fork(seed: int, files: list[tuple[str, bytes]], numbers: list[int]) -> int:
    """Judge cases in one fork until it dies; returns how many have their verdict."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        in_fork(seed, files, numbers, os.fdopen(writing, "w", buffering=1))
        os._exit(0)
    os.close(writing)
    judged_ones, text, waited = 0, b"", time.monotonic()
    while judged_ones < len(numbers):
        ready, _, _ = select.select([reading], [], [], max(0.0, waited + WALL - time.monotonic()))
        chunk = os.read(reading, 1 << 16) if ready else b""
        if not chunk:
            break
        text += chunk
        *lines, text = text.split(b"\n")
        for one in lines:
            print(one.decode(), flush=True)
            judged_ones, waited = judged_ones + 1, time.monotonic()
    os.close(reading)
    timed_out = judged_ones < len(numbers) and time.monotonic() >= waited + WALL
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if judged_ones == len(numbers):
        return judged_ones
    sign = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    kind = "hang" if timed_out or sign in (signal.SIGPROF, signal.SIGXCPU) else "crash"
    print(json.dumps([numbers[judged_ones], "", kind, f"signal {sign}"]), flush=True)
    return judged_ones + 1


def in_fork(seed: int, files: list[tuple[str, bytes]], numbers: list[int], out: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print
    os.dup2(1, 2)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        rng = random.Random(seed * 10**9 + number)
        base, data = mutated(rng, files)
        kind, more = judged(rng, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps([number, base, kind, more]) + "\n")
    from lrp_onnx.graph.limits import end_all

    end_all()


def run(cases: int, seed: int, workers: int, first: int, keep: Path | None) -> int:
    """Judge all cases and print what came of them."""
    began, files = time.monotonic(), list[tuple[str, bytes]]()
    counts, numbers = Counter[str](), iter(range(first, first + cases))
    servers = [
        subprocess.Popen(
            [sys.executable, __file__, "--serve", "--seed", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        for _ in range(workers)
    ]  # fmt: skip

    def attend(server: subprocess.Popen[str]) -> None:
        """Give a process cases as long as there are any, and count what it says of them."""
        assert server.stdin is not None
        assert server.stdout is not None
        for line in map(str.strip, server.stdout):
            if line in ("ready", "done"):
                with lock:
                    batch = [n for _, n in zip(range(25), numbers, strict=False)]
                if not batch:
                    break
                server.stdin.write(" ".join(map(str, batch)) + "\n")
                server.stdin.flush()
            elif line.startswith("["):
                with lock:
                    count(*json.loads(line))
        server.stdin.close()

    def count(number: int, base: str, kind: str, more: str) -> None:
        counts[kind] += 1
        if kind not in FAILED:
            return
        print(f"{kind}: case {number} ({base}): {more[:600]}", flush=True)
        if keep is not None:
            files[:] = files or bases()
            data = mutated(random.Random(seed * 10**9 + number), files)[1]
            (keep / f"{kind}_{seed}_{number}.onnx").write_bytes(data)

    lock, threads = Lock(), [Thread(target=attend, args=[server]) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listing = ", ".join(
        f"{counts[kind]} {kind}" for kind in sorted(counts, key=counts.get, reverse=True)
    )  # type: ignore[arg-type]
    failures = sum(counts[kind] for kind in FAILED)
    print(
        f"{counts.total()} mutated models, seed {seed}: {listing}; "
        f"{failures} ended otherwise ({time.monotonic() - began:.0f} s)"
    )
    return int(failures > 0 or counts.total() < cases)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the models that fail")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.seed)
        return 0
    if options.keep is not None:
        options.keep.mkdir(exist_ok=True)
    return run(options.cases, options.seed, options.workers, options.first, options.keep)


if __name__ == "__main__":
    sys.exit(main())
