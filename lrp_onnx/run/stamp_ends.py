"""Whether a compiled model has the inputs and outputs that its metadata name."""

from __future__ import annotations

import json
from collections.abc import Mapping

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
        axis = int(one["class_axis"] or 0)
        axes = len(outputs[one["output"]].shape) if one["output"] in outputs else 0
        if absent or (axes and not -axes <= axis < axes):
            what = repr(plain(min(absent))) if absent else f"axis {axis} of {one['output']!r}"
            raise ModelError(
                f"the model's metadata name {what}, which it does not have. Compile the original "
                "model again."
            )
