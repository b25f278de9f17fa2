"""Operators of onnx's reference evaluator with what it leaves out: directions and axes of Scan, its
first version, what a Loop collects, optional values, sizes that Resize rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op

__all__ = ["CONTROL"]

Array = np.ndarray
NEWEST = onnx.defs.onnx_opset_version()


class Loop(OpRun):
    """Loop-13: what the iterations give is stacked, scalars and matrices too."""

    op_domain = ""

    def need_context(self) -> bool:
        return True

    def _run(
        self, count: Any, going: Any, *states: Any, context: Any = None, body: Any = None,
        attributes: Any = None, bindings: Any = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        names = self.body.input_names
        collected: list[list[Array]] = [[] for _ in self.body.output_names[1 + len(states) :]]
        k, going = 0, True if going is None else going
        while going and (count is None or k < count):
            feeds = dict(zip(names, [np.array(k), going, *states], strict=True))
            going, *given = self._run_body(
                {**(context or {}), **feeds}, attributes=attributes, bindings=bindings
            )
            states = tuple(given[: len(states)])
            for row, value in zip(collected, given[len(states) :], strict=True):
                row.append(value)
            k += 1
        return (*states, *(np.stack(row) if row else np.empty(()) for row in collected))


class Scan(OpRun):
    """Scan-9 with directions and axes; Scan-8 over every sample of a batch."""

    op_domain = ""

    def need_context(self) -> bool:
        return True

    def _run(
        self, *inputs: Any, context: Any = None, attributes: Any = None, bindings: Any = None,
        **own: Any,
    ) -> tuple[Array, ...]:  # fmt: skip
        def run(feeds: dict[str, Any]) -> Any:
            feeds = {**(context or {}), **feeds}
            return self._run_body(feeds, attributes=attributes, bindings=bindings)

        if self.run_params["opsets"][""] > 8:
            return self.scanned(inputs, run, own)
        assert inputs[0] is None, "lengths of sequences"
        results = [self.scanned(parts, run, own) for parts in zip(*inputs[1:], strict=True)]
        return tuple(np.stack(parts) for parts in zip(*results, strict=True))

    def scanned(self, inputs: Sequence[Any], run: Any, own: dict[str, Any]) -> tuple[Array, ...]:
        """The states at the end and what every step gives."""
        count = len(inputs) - own["num_scan_inputs"]
        states, read = list(inputs[:count]), [np.asarray(v) for v in inputs[count:]]
        collected: list[list[Array]] = [[] for _ in self.body.output_names[count:]]
        ways, axes = own.get("scan_input_directions"), own.get("scan_input_axes")
        ways, axes = _each(ways or own.get("directions"), axes, len(read))
        turned = [
            np.moveaxis(v, a, 0)[:: -1 if w else 1]
            for v, w, a in zip(read, ways, axes, strict=True)
        ]
        for parts in zip(*turned, strict=True):
            given = run(dict(zip(self.body.input_names, [*states, *parts], strict=True)))
            states = list(given[:count])
            for row, value in zip(collected, given[count:], strict=True):
                row.append(value)
        ways, axes = own.get("scan_output_directions"), own.get("scan_output_axes")
        ways, axes = _each(ways, axes, len(collected))
        written = (
            np.moveaxis(np.stack(row[:: -1 if w else 1]), 0, a)
            for row, w, a in zip(collected, ways, axes, strict=True)
        )
        return (*states, *written)


def _each(ways: Any, axes: Any, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Directions and axes, forward along the first by default."""
    return ways or [0] * count, axes or [0] * count


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

    def _run(self, x: Array, *given: Any, **own: Any) -> tuple[Array]:
        roi, scales, sizes = [*given, *[None] * 3][:3]
        aligned = own.get("coordinate_transformation_mode") == "align_corners"
        if aligned and scales is not None and np.size(scales):
            axes = own.get("axes") or range(x.ndim)
            read = (np.floor(x.shape[a] * s) for a, s in zip(axes, scales, strict=True))
            scales, sizes = None, np.array([*read], np.int64)
        return super()._run(x, roi, scales, sizes, **own)


CONTROL = [Scan, Loop, Optional, Identity, Resize]
