"""What came of a mutated model: compiled and right, refused in the form that refusals have, or not.

Compared are the forward pass with the original's, the relevance's shape and whether it is finite,
of a sample the optimized graph with the plain one, and gradients with finite differences.
"""

from __future__ import annotations

import json
import random
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lrp_onnx
from lrp_onnx.compiler.judge import judge, run_plain
from lrp_onnx.data.samples import random_feeds, wanted_by
from lrp_onnx.errors import InputError, InternalError, LrpError, ModelError, plain
from lrp_onnx.graph.annotations import has_batch, stamp_of
from lrp_onnx.graph.limits import Budget, OverBudget

__all__ = ["FAILED", "judged"]

FAILED = ("traceback", "hang", "memory", "crash", "form", "wrong", "slope")
"""Verdicts that no model should get; the others are GOOD."""
COMPARED, SLOPE, ALONE = "right", "right with its slope", "compiled, nothing to compare with"
BUDGET = 0.25
"""Of a compilation: 5 s and 1 GB a step."""
LIMIT = Budget(5.0, 2**30, 0)
"""Of a run."""
LARGEST = 10**7
"""Elements of a tensor that are compared here."""

Feeds = Mapping[str, Any]
Verdict = tuple[str, str]
"""A word, and more words where the model is no good."""


def judged(rng: random.Random, data: bytes) -> Verdict:
    """What came of a model."""
    method = rng.choice(("lrp", "lrp", "gradient"))
    try:
        compiled = lrp_onnx.compile(data, method=method, target="max", budget=BUDGET)
        return _Compiled(data, method, compiled).judged(rng)
    except InternalError as e:
        return "traceback", f"{e} | {_trace_of(e.__cause__)}"
    except OverBudget as e:
        return ("over budget", "") if not wrong_form(str(e)) else ("form", str(e))
    except LrpError as e:
        return ("refused", "") if not wrong_form(str(e)) else ("form", str(e))
    except MemoryError as e:
        return "memory", _trace_of(e)
    except Exception as e:
        return "traceback", f"{type(e).__name__}: {e} | {_trace_of(e)}"


def wrong_form(text: str) -> bool:
    """Whether a refusal is not one paragraph of a thing, a fact and a remedy."""
    good = 20 <= len(text) <= 600 and text.endswith((".", ".)", "?"))
    sentences = re.search(r"[.;:?,] ", text)
    shown = (
        "\n" not in text and plain(text) == text
    )  # signs of scripts are not all printable to Python
    return not good or not sentences or not shown or "bug of lrp-onnx" in text


def _trace_of(error: BaseException | None) -> str:
    """The last calls in front of an error."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-6:]))


class _Compiled:
    """A mutated model that was compiled."""

    def __init__(self, data: bytes, method: str, compiled: lrp_onnx.Compiled) -> None:
        self.data, self.method, self.compiled = data, method, compiled
        ends = [str(v.name) for v in compiled.graph.graph.outputs]
        self.added = [name for name in ends if name.endswith("_relevance")]
        self.own = [name for name in ends if name not in self.added]
        self.original = judge(data, budget=LIMIT)

    def judged(self, rng: random.Random) -> Verdict:
        """Whether it computes what it should on input that the original accepts."""
        accepted = self.accepted()
        if accepted is None:
            return ALONE, ""
        feeds, expected = accepted
        try:
            actual = self.run(self.compiled, feeds, [*self.own, *self.added])
        except ModelError:
            return ALONE, ""
        except InputError as e:
            return (ALONE, "") if self.compiled.warnings else ("wrong", f"does not run: {e}")
        finite = all(np.isfinite(v).all() for v in expected.values() if _is_float(v))
        if fault := self.fault_of(feeds, expected, actual, finite):
            return "wrong", fault
        if rng.random() >= 0.3 or not finite or self.compiled.warnings:
            return COMPARED, ""
        if fault := self.fault_beside_plain(feeds, actual):
            return "wrong", fault
        return self.slope(feeds, actual) if self.method == "gradient" else (COMPARED, "")

    def accepted(self) -> tuple[Feeds, Feeds] | None:
        """Input that the original accepts, and its outputs; None where nobody can run it."""
        try:
            inputs = wanted_by(self.compiled.graph)
        except TypeError:
            return None
        for feeds in random_feeds(inputs):
            try:
                expected = self.original.run(feeds, self.own)
            except (InputError, ModelError):
                continue
            sizes = [np.size(y) for y in (*feeds.values(), *expected.values())]
            if max(sizes) < LARGEST and min(map(np.size, expected.values())):
                return feeds, expected  # of nothing there is nothing to explain
        return None

    def run(self, compiled: lrp_onnx.Compiled, feeds: Feeds, names: list[str]) -> dict[str, Any]:
        return run_plain(compiled.model.SerializeToString(), feeds, names, LIMIT)

    def fault_of(self, feeds: Feeds, expected: Feeds, actual: Feeds, finite: bool) -> str | None:
        """What is wrong with the outputs, if anything."""
        for name in self.own:
            if not alike(actual[name], expected[name], 1e-3):
                return f"output {name!r} differs"
        for name in self.added:
            fed, shape = feeds.get(name.removesuffix("_relevance")), np.shape(actual[name])
            if fed is not None and shape != np.shape(fed):
                return f"{name!r} has shape {shape}, not {np.shape(fed)}"
            if finite and not np.isfinite(actual[name]).all() and not self.compiled.warnings:
                return f"{name!r} is not finite, and no warning says so"
        return None

    def fault_beside_plain(self, feeds: Feeds, actual: Feeds) -> str | None:
        """What differs from the graph without rewrites, if anything."""
        options = {"method": self.method, "target": "max", "budget": BUDGET}
        try:
            plain = lrp_onnx.compile(self.data, optimize=False, check=False, **options)
            again = self.run(plain, feeds, self.added)
        except LrpError as e:
            return f"not optimized it is refused: {e}"
        for name in self.added:
            both = actual[name], again[name]
            if _told_apart(both, feeds) and not alike(again[name], actual[name], 2e-2):
                return f"{name!r} differs from that of the plain graph"
        return None

    def slope(self, feeds: Feeds, actual: Feeds) -> Verdict:
        """The gradient along one direction against differences of what is explained: the largest
        entry of each sample where there are samples, of an output with one axis every number.
        """
        metadata = self.compiled.graph.metadata_props
        if metadata["lrp.starts_at"] != "output":
            return COMPARED, ""  # the logits are explained, which the original does not show
        name = json.loads(metadata["lrp.explained"])[0]
        explained, x = metadata["lrp.output"], feeds.get(name)
        relevance = f"{name}_relevance"
        if relevance not in self.added or x is None or not _is_float(x) or x.dtype.itemsize < 4:
            return COMPARED, ""
        direction = np.random.default_rng(1).choice([-1.0, 1.0], x.shape).astype(x.dtype)
        told = float((actual[relevance] * direction).sum())
        batched = has_batch(stamp_of(metadata))

        def largest(step: float) -> float:
            y = self.original.run({**feeds, name: x + step * direction}, [explained])
            return _largest(np.asarray(y[explained], np.float64), batched)

        steps = [(largest(h) - largest(-h)) / (2 * h) for h in (1e-2, 3e-3)]
        if not np.isfinite(steps).all() or abs(steps[0] - steps[1]) > 0.02 * max(map(abs, steps)):
            return COMPARED, ""  # not smooth here, or too small for float32
        if abs(told - steps[1]) > 0.05 * max(abs(steps[1]), 1e-2):
            return "slope", f"gradient {told:.5g}, differences {steps[1]:.5g}"
        return SLOPE, ""


def _largest(y: Any, batched: bool) -> float:
    if y.ndim < 2:
        return float(y.sum())
    return float(y.reshape(len(y), -1).max(1).sum() if batched else y.max())


def _is_float(array: Any) -> bool:
    return bool(np.asarray(array).dtype.kind == "f")


def _told_apart(maps: tuple[Any, ...], feeds: Feeds) -> bool:
    """Whether entries are neither far above what float32 tells apart nor, beside the input, all
    below it, as the log of a probability of 1 less a few roundings is.
    """
    largest = max(float(np.abs(array).max(initial=0)) for array in maps)
    floats = [float(np.abs(x).max(initial=0)) for x in feeds.values() if _is_float(x)]
    finite = bool(np.isfinite(maps[0]).all())
    return finite and 1e-5 * max(floats, default=0.0) <= largest < 1e6


def alike(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two results are equal but for rounding."""
    if isinstance(a, list) or isinstance(b, list) or not _is_float(b):
        return str(a) == str(b)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return False
    usual = np.isfinite(b) & (np.abs(b) < 1e30)
    scale = np.abs(b[usual]).max(initial=1e-30)
    return bool((np.abs(a[usual] - b[usual]) <= tolerance * scale).all())
