"""How far roundings decide a relevance: it is computed again from an input whose last binary digits
are others.

An input differs by no more than that from what its file or camera would give on another day, and
every layer behind it rounds anew.  That estimates how far a float32 map is off from the same graph
in float64, without a float64 kernel: on deep dense networks it lay between a third and three times
of that where it matters, and up to twelve times above at 1e-7 (`tests/run/test_sensitivity.py`
allows a fifth to thirty times).
Equal numbers stay equal, so that a tie stays one.

Where no input is of floats, as of token ids, the weights are changed alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir

from lrp_onnx.compiler.judge import judge
from lrp_onnx.graph.annotations import EXPLAINED, RELEVANCE, each_output, stamp_of
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.session import runtime_form
from lrp_onnx.run.sensitivity import Sensitivity

__all__ = ["Run", "sensitivity", "with_other_digits"]

Run = Callable[[Mapping[str, Array], Sequence[str]], Mapping[str, Array]]
"""Arrays by name, of the inputs and of the outputs of those names."""
PATTERNS = (1, 2, 3)
"""Which of an input's last binary digits are changed, in turn."""
LONGEST = 10.0
"""Seconds after which no further pattern is taken."""
CARRIERS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def sensitivity(model: ir.Model, run: Run, feeds: Mapping[str, Array]) -> Sensitivity:
    """Run a compiled model a few times more, and compare.

    run: what runs it. feeds: all its inputs. Raises what `run` does.
    """
    stamp, began = each_output(stamp_of(model.metadata_props)), time.monotonic()
    apart = {
        f"{one['prefix']}{name}{RELEVANCE}": one["class_axis"] != "0"
        for one in stamp
        for name in json.loads(one[EXPLAINED.removeprefix("lrp.")])
    }
    maps, names = run(feeds, list(apart)), list(apart)
    if not any(array.dtype.kind == "f" for array in feeds.values()):
        other = _by_other_weights(model, feeds, names)
        return Sensitivity(max(_change(maps[n], other[n], apart[n]) for n in names), "weights")
    most = 0.0
    for digits in PATTERNS:
        other = run({n: with_other_digits(a, digits) for n, a in feeds.items()}, names)
        most = max(most, *(_change(maps[n], other[n], apart[n]) for n in names))
        if time.monotonic() - began > LONGEST:
            break
    return Sensitivity(most, "input")


def with_other_digits(array: Array, digits: int = 1) -> Array:
    """Floats whose last binary digits are others where `digits` has a 1; other arrays, and what is
    not finite, as they are.
    """
    if array.dtype.kind != "f" or array.dtype.itemsize not in CARRIERS:
        return array
    carrier = CARRIERS[array.dtype.itemsize]
    other = (np.ascontiguousarray(array).view(carrier) ^ carrier(digits)).view(array.dtype)
    return np.where(np.isfinite(array) & np.isfinite(other), other, array)


def _by_other_weights(
    model: ir.Model, feeds: Mapping[str, Array], names: Sequence[str]
) -> Mapping[str, Array]:
    with _other_weights(model), runtime_form(model) as form:
        return judge(form, plain=False).run(feeds, names)


@contextmanager
def _other_weights(model: ir.Model) -> Iterator[None]:
    """The model with other last digits in its matrices, as long as the block runs; numbers, which
    may be sizes or limits, stay.
    """
    weights = [v for v in model.graph.initializers.values() if _is_matrix(v.const_value)]
    own = {v: v.const_value for v in weights}
    try:
        for value, tensor in own.items():
            assert tensor is not None
            value.const_value = ir.tensor(with_other_digits(tensor.numpy()), name=value.name)
        yield
    finally:
        for value, tensor in own.items():
            value.const_value = tensor


def _is_matrix(tensor: ir.TensorProtocol | None) -> bool:
    kinds = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
    return tensor is not None and tensor.dtype in kinds and len(tensor.shape) > 1


def _change(own: Array, other: Array, apart: bool) -> float:
    """max|ΔR| / max|R|, of the sample where it is largest; 0 where there is no relevance, or it is
    not finite.
    """
    if own.shape != other.shape:
        return np.inf
    rows = len(own) if apart and own.ndim else 1
    a, b = (r.astype(np.float64).reshape(rows, -1) for r in (own, other))
    with np.errstate(invalid="ignore"):
        change, largest = np.abs(a - b).max(1, initial=0.0), np.abs(a).max(1, initial=0.0)
    sound = np.isfinite(change) & (largest > 0)
    return float(np.max(change[sound] / largest[sound], initial=0.0))
