"""A region as a function on arrays in float64, evaluated by onnx's reference implementation.

Its sizes are made small where nothing fixes them: an axis may have any size unless a constant of
the region has the same one.  Regions that differ in their constants alone share one evaluator,
which takes these as inputs.

A constant that copies an element a billion times makes a few nodes dear to run.  So all probing of
a model has the model's budget, and what is not known to be cheap runs in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from lrp_onnx.frontend.canonize.regions import Region
from lrp_onnx.graph.annotations import budgets, corrections
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.evaluation import FAILURES, evaluator
from lrp_onnx.graph.limits import OverBudget, budget_of, limited

__all__ = ["Evaluators", "Probe"]

Array = NDArray[Any]
Results = dict[str, Any] | list[Any]

ENOUGH = 16
"""Regions of one structure, with other constants each, that were nothing: nor is the next one."""
SMALL = 8
"""Sizes up to which an axis is left as it is."""
MOST = 1 << 16
"""Elements of the largest tensor that a region is tried on."""
CHEAP = 1 << 24
"""Operations of a node, by the model's sizes, up to which a region runs in this process."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class Evaluators:
    """Those of a model's regions, and what is known of these, by their structure."""

    def __init__(self, model: ir.Model) -> None:
        self.model, self.budget = model, budget_of(model)
        self.opset = model.graph.opset_imports.get("", 18)
        self.by_structure: dict[object, ReferenceEvaluator | None] = {}
        self.answers: dict[object, Any] = {}
        """By question, structure, content and shape."""
        self.by_structure_alone: dict[object, list[Any]] = {}

    def of(
        self, structure: object, region: Region, names: dict[ir.Value, str]
    ) -> ReferenceEvaluator | None:
        """The evaluator of a region."""
        if structure not in self.by_structure:
            self.by_structure[structure] = _evaluator(region, names, self.opset)
        return self.by_structure[structure]

    def once(self, question: str, region: Region, answer: Callable[[Probe, Any], Any]) -> Any:
        """The answer for a region, asked once for equal ones; it is told what it was for one of the
        same structure.
        """
        probe = Probe(region, self)
        key = question, probe.structure, probe.content, str(region.entry.shape)
        if key not in self.answers:
            if self._is_spent():
                return None
            others = self.by_structure_alone.setdefault((question, probe.structure), [])
            like = next((other for other in others if other is not None), None)
            hopeless = like is None and len(others) >= ENOUGH
            self.answers[key] = None if hopeless else answer(probe, like)
            others.append(self.answers[key])
        return self.answers[key]

    def run(self, probe: Probe, feeds: Mapping[str, Array]) -> Results:
        """What a region's evaluator computes.  Raises OverBudget, and what the evaluator raises."""
        evaluator = probe.evaluator
        assert evaluator is not None
        clock = time.process_time if probe.is_cheap else time.monotonic
        if self._is_spent():
            raise self.budget.over("what parts of the model are")
        began = clock()
        try:
            if probe.is_cheap:
                return evaluator.run(None, dict(feeds))
            form = evaluator.proto_.SerializeToString()
            return limited(self.budget, "a part of the model", evaluated, form, feeds)
        except OverBudget:
            self.by_structure[probe.structure] = probe.evaluator = None
            raise
        finally:
            held = budgets(self.model)
            held["probing"] = held.get("probing", 0.0) + clock() - began

    def _is_spent(self) -> bool:
        """Whether nothing more is tried, which is said."""
        if budgets(self.model).get("probing", 0.0) <= self.budget.seconds:
            return False
        corrections(self.model)["lrp/probing"] = (
            "to find out which parts of the model are a softmax or a norm takes more than the "
            f"model's budget ({self.budget.seconds:.0f} s), so the others are explained operator "
            "by operator. If the model is meant so, give a larger --budget."
        )
        return True


def evaluated(form: bytes, feeds: Mapping[str, Array]) -> Results:
    """The same in another process, which has the model's bytes."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(onnx.load_from_string(form)).run(None, dict(feeds))


class Probe:
    """One region's function: `probe(x)` is the exit's value, None where it cannot be told."""

    def __init__(self, region: Region, evaluators: Evaluators) -> None:
        self.region, self.constants, self.evaluators = region, dict[str, Array](), evaluators
        names = {region.entry: "x"}
        parts: list[object] = []
        for node in region.nodes:
            for v in node.inputs:
                if v is not None and v not in names:
                    names[v] = f"v{len(names)}"
                    self._read(v, names[v])
            for v in node.outputs:
                names[v] = f"v{len(names)}"
            parts.append((node.op_type, *("" if v is None else names[v] for v in node.inputs)))
            parts += [_content(a) for a in node.attributes.values()]
        forms = [(name, c.shape, c.dtype.kind) for name, c in self.constants.items()]
        self.structure = (*parts, *forms, names[region.exit])
        self.evaluator = evaluators.of(self.structure, region, names)
        self.is_cheap = all(map(_is_cheap, region.nodes))

    @property
    def content(self) -> object:
        """What tells it from others of the same structure."""
        return tuple(c.tobytes() for c in self.constants.values())

    def _read(self, value: ir.Value, name: str) -> None:
        """Keep a constant, of floats in float64."""
        if value.const_value is not None:
            array = value.const_value.numpy()
            is_float = value.const_value.dtype.is_floating_point()
            self.constants[name] = array.astype(np.float64) if is_float else array

    def __call__(self, x: Float) -> Float | None:
        """The result, if there are elements in it and all are finite."""
        y = self.any(x)
        return y if y is not None and y.size and np.isfinite(y).all() else None

    def any(self, x: Float) -> Float | None:
        """The result, whether finite or not."""
        if self.evaluator is None:
            return None
        try:
            with np.errstate(all="ignore"):
                (y,) = self.evaluators.run(self, {"x": x, **self.constants})
        except Exception:  # an evaluator that fails tells nothing, whatever it raises
            return None
        return np.asarray(y) if np.shape(y) == x.shape else None

    def shapes(self) -> Iterator[tuple[int, ...]]:
        """Sizes to try: small ones, then those of the model if a product of them may matter."""
        own = self.region.entry.shape
        if own is None or not len(own):
            return
        numbers = self._numbers()
        small = tuple(self._size(axis, own[axis], len(own), numbers) for axis in range(len(own)))
        yield small
        whole = tuple(d if isinstance(d, int) else n for d, n in zip(own, small, strict=True))
        shrunk = sum(m != n for m, n in zip(whole, small, strict=True))
        scalars = any(c.size == 1 and c.dtype.kind == "f" for c in self.constants.values())
        fails = self(np.ones(small)) is None
        if shrunk and np.prod(whole) <= MOST and (fails or (scalars and shrunk > 1)):
            yield whole

    def other_sizes(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """Others than these along the axes whose sizes only the run knows; None for a region that
        reads none.
        """
        own = self.region.entry.shape
        reads = any(node.op_type in ("Shape", "Size") for node in self.region.nodes)
        if own is None or not reads or all(isinstance(size, int) for size in own):
            return None
        return tuple(n if isinstance(d, int) else n + 1 for n, d in zip(shape, own, strict=True))

    def _numbers(self) -> set[int]:
        """The sizes that constants may have to do with: n, 1/n, √n and their own."""
        numbers = {n for c in self.constants.values() for n in c.shape}
        for c in self.constants.values():
            if c.dtype.kind == "i":
                numbers.update(int(n) for n in c.reshape(-1)[:SMALL])
            elif c.size == 1 and 1e-6 < (number := abs(float(c.flat[0]))) < 1e6:
                numbers.update(round(number**power) for power in (1, -1, 2, -2))
        return numbers

    def _size(self, axis: int, size: object, rank: int, numbers: set[int]) -> int:
        free = 2 if axis == 0 else 3 + axis
        if isinstance(size, int):
            return size if size <= SMALL or size in numbers else free
        shapes = [c.shape for c in self.constants.values()]
        aligned = (shape[axis - rank] for shape in shapes if len(shape) >= rank - axis)
        return next((n for n in aligned if n > 1), free)


def _is_cheap(node: ir.Node) -> bool:
    """Whether its results are known to have few elements, each of few numbers."""
    kernel = prod(node.attributes.get_ints("kernel_shape", []))
    shapes = [value.shape for value in node.outputs if value.name]
    sizes = (prod(n if isinstance(n, int) else SMALL for n in s) for s in shapes if s is not None)
    return None not in shapes and abs(kernel) * max(sizes, default=1) <= CHEAP


def _content(attribute: ir.Attr) -> object:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return attribute.name, value.numpy().tobytes()
    return attribute.name, str(value)


def _evaluator(region: Region, names: dict[ir.Value, str], opset: int) -> ReferenceEvaluator | None:
    protos = []
    for node in region.nodes:
        proto = ir.serde.serialize_node(node)
        del proto.input[:], proto.output[:]
        proto.input.extend("" if v is None else names[v] for v in node.inputs)
        proto.output.extend(names[v] for v in node.outputs)
        _in_double(proto)
        protos.append(proto)
    made = {name for proto in protos for name in proto.output}
    read = dict.fromkeys(n for proto in protos for n in proto.input if n and n not in made)
    try:
        return evaluator(protos, {"x": None, **read}, [names[region.exit]], opset)
    except (*FAILURES, NotImplementedError):  # what cannot be run is not recognized by its behavior
        return None


def _in_double(proto: onnx.NodeProto) -> None:
    """Casts to a float, and constants of one, are in float64."""
    for attribute in proto.attribute:
        if proto.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
        if attribute.HasField("t") and attribute.t.data_type in FLOATS:
            array = numpy_helper.to_array(attribute.t).astype(np.float64)
            attribute.t.CopyFrom(numpy_helper.from_array(array))
