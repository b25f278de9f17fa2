"""Operators of onnx's reference evaluator with what it leaves out: directions and axes of Scan, its
first version, what a Loop collects of scalars, optional values, sizes that Resize rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op

__all__ = ["CONTROL"]

Array = np.ndarray
NEWEST = onnx.defs.onnx_opset_version()


class Scan(OpRun):
    """Scan-9 with directions and axes; Scan-8 over every sample of a batch."""

    op_domain = ""

    def need_context(self) -> bool:
        return True

    def _run(self, *inputs: Any, context: Any = None, **attributes: Any) -> tuple[Array, ...]:
        if self.run_params["opsets"][""] > 8:
            return self.scanned(inputs, context, attributes)
        assert inputs[0] is None, "lengths of sequences"
        samples = zip(*inputs[1:], strict=True)
        results = [self.scanned(sample, context, attributes) for sample in samples]
        return tuple(np.stack(parts) for parts in zip(*results, strict=True))

    def scanned(self, inputs: Any, context: Any, attributes: Any) -> tuple[Array, ...]:
        """The states at the end and what every step gives."""
        body, count = self.body, attributes["num_scan_inputs"]
        states, sequences = list(inputs[: -count or None]), list(inputs[len(inputs) - count :])
        way, axes = (
            attributes.get(f"scan_input_{k}") or [0] * count for k in ("directions", "axes")
        )
        if directions := attributes.get("directions"):
            way = directions
        read = [
            np.moveaxis(np.asarray(v), a, 0)[:: -1 if w else 1]
            for v, w, a in zip(sequences, way, axes, strict=True)
        ]
        collected: list[list[Array]] = [[] for _ in body.output_names[len(states) :]]
        for parts in zip(*read, strict=True):
            feeds = {
                **(context or {}),
                **dict(zip(body.input_names, [*states, *parts], strict=True)),
            }
            outputs = self._run_body(feeds)
            states, given = list(outputs[: len(states)]), outputs[len(states) :]
            for row, value in zip(collected, given, strict=True):
                row.append(value)
        way, axes = (
            attributes.get(f"scan_output_{k}") or [0] * len(collected)
            for k in ("directions", "axes")
        )
        written = (
            np.moveaxis(np.stack(row[:: -1 if w else 1]), 0, a)
            for row, w, a in zip(collected, way, axes, strict=True)
        )
        return (*states, *written)


class Loop(load_op("", "Loop", NEWEST)):
    """Scalars are collected in a vector, not in a column."""

    op_domain = ""

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        self.scalars: set[int] = set()
        results = list(super()._run(*inputs, **attributes))
        for k in self.scalars:
            results[self.N + k] = results[self.N + k].reshape(-1)
        return tuple(results)

    def _run_body(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._run_of_body(*args, **kwargs)
        given = outputs[len(outputs) - self.K :]
        self.scalars |= {k for k, value in enumerate(given) if np.ndim(value) == 0}
        return outputs

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__("_run_of_body" if name == "_run_body" else name, value)


class Optional(OpRun):
    """The value itself: onnx's own puts it into a list that nothing takes it out of."""

    op_domain = ""

    def _run(self, x: Any = None, type: Any = None) -> tuple[Any]:
        return (x,)


class Identity(OpRun):
    """Of sequences too."""

    op_domain = ""

    def _run(self, x: Any) -> tuple[Any]:
        return (list(x) if isinstance(x, list) else x,)


class Resize(load_op("", "Resize", NEWEST)):
    """Corners are aligned with those of the output that there is, of floor(size · scale) elements.

    onnx's own aligns them with those of an output of size · scale elements, a broken number; ONNX
    Runtime, whose forward is the one explained, does not.
    """

    op_domain = ""

    def _run(self, x: Array, *given: Any, **attributes: Any) -> tuple[Array]:
        roi, scales, sizes = [*given, *[None] * 3][:3]
        mode = attributes.get("coordinate_transformation_mode")
        if mode == "align_corners" and scales is not None and np.size(scales):
            axes = attributes.get("axes") or range(x.ndim)
            sizes = np.array(
                [np.floor(x.shape[a] * s) for a, s in zip(axes, scales, strict=True)], np.int64
            )
            scales = None
        return super()._run(x, roi, scales, sizes, **attributes)


CONTROL = [Scan, Loop, Optional, Identity, Resize]
