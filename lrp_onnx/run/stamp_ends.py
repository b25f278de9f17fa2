"""Whether a compiled model has the inputs and outputs that its metadata name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lrp_onnx.errors import ModelError, plain
from lrp_onnx.graph.annotations import CONDITION, RELEVANCE, each_output
from lrp_onnx.graph.session import Runtime
from lrp_onnx.graph.stamp_claims import check_stamp

__all__ = ["check_ends"]


def check_ends(stamp: Mapping[str, str], runtime: Runtime) -> None:
    """Raise ModelError for a stamp of another model, or one that the compiler does not write."""
    check_stamp(stamp)
    inputs = {want.name for want in runtime.inputs}
    outputs = {value.name: value for value in runtime.session.get_outputs()}
    tensors = all(value.type.startswith("tensor") for value in outputs.values())
    for one in each_output(stamp):
        named = [f"{one['prefix']}{name}{RELEVANCE}" for name in json.loads(one["explained"])]
        named += [one["output"]] if tensors else []  # that of a ZipMap is no output itself
        asked = [f"{name}{CONDITION}" for name in json.loads(one["conditions"])]
        absent = [*({*named} - {*outputs}), *({*asked} - inputs)]
        shape = outputs[one["output"]].shape if one["output"] in outputs else []
        missing = [repr(plain(min(absent)))] if absent else _beyond(one, shape)
        if missing:
            what = f"{missing[0]} of {plain(one['output'])!r}" if not absent else missing[0]
            raise ModelError(
                f"the model's metadata name {what}, which it does not have. Compile the original "
                "model again."
            )


def _beyond(one: Mapping[str, str], shape: Sequence[int | str | None]) -> list[str]:
    """The axes and entries beyond the output of this shape that its metadata name."""
    head = json.loads(one.get("head") or "{}")
    rank, own = len(shape), head.get("axis")
    axes = [int(one["class_axis"] or 0), *([] if own is None else [own])]
    wrong = [f"axis {axis}" for axis in axes if rank and not -rank <= axis < rank]
    size = shape[own] if rank and own is not None and not wrong else None
    first, last = head.get("scores") or (0, 1)
    entries = (first, last - 1, head.get("objectness") or 0)
    if not isinstance(size, int):
        return wrong
    return wrong + [f"entry {k}" for k in entries if not 0 <= k < size]
