"""The reference evaluator in float64 throughout: constants, casts, bodies and functions included.

Operators that it rounds to float32, gets wrong or is slow at are computed by those of `reference`
or by its own code without the rounding.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import onnx
import reference_signal  # noqa: F401 (adds forwards)
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op
from onnx.reference.ops.op_cast import cast_to
from reference import STAND_INS, windows
from reference_control import CONTROL

Array = np.ndarray

NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def float64(a: Any) -> Any:
    """Numbers of a float type in float64; the rest, and quantized floats, as they are."""
    if isinstance(a, list):
        return [float64(part) for part in a]
    if not isinstance(a, np.ndarray | np.generic):
        return a
    a = np.asarray(a)
    return a.astype(np.float64) if a.dtype.name in ("float16", "bfloat16", "float32") else a


class Cast(OpRun):
    op_domain = ""

    def _run(self, x, to=None, saturate=None, round_mode=None):
        to = TensorProto.DOUBLE if to in NARROW else to
        return (cast_to(np.asarray(x), to, saturate != 0, round_mode or "up"),)


class CastLike(OpRun):
    op_domain = ""

    def _run(self, x, y, saturate=None, round_mode=None):
        to = onnx.helper.np_dtype_to_tensor_dtype(y.dtype)
        return (cast_to(x, to, saturate != 0, round_mode or "up"),)


def _stand_in(name: str, compute: Callable[..., Array]) -> type[OpRun]:
    """An operator by a function of ours; with more than one output by onnx's own."""

    def run(self: OpRun, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        if len(self.onnx_node.output) > 1 or attributes.get("output_shape"):
            own = load_op("", name, self.run_params["opsets"][""])
            return own(self.onnx_node, self.run_params)._run(*inputs, **attributes)
        given = {
            k: v.encode() if isinstance(v, str) else v
            for k, v in attributes.items()
            if v is not None
        }
        return (compute(*inputs, **given),)

    return type(name, (OpRun,), {"op_domain": "", "_run": run})


class _Numpy:
    """numpy, whose float32 is float64."""

    float32 = np.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _unrounded(name: str) -> type[OpRun]:
    """onnx's own operator, without the casts to float32 in its module."""
    own = load_op("", name, onnx.defs.onnx_opset_version())
    module = {**sys.modules[own.__module__].__dict__, "np": _Numpy()}
    for key, value in list(module.items()):
        if isinstance(value, FunctionType) and value.__module__ == own.__module__:
            module[key] = _with_globals(value, module)
    return type(name, (own,), {"op_domain": "", "_run": _with_globals(own._run, module)})


def _with_globals(function: FunctionType, module: dict[str, Any]) -> FunctionType:
    parts = (function.__name__, function.__defaults__, function.__closure__)
    made = FunctionType(function.__code__, module, *parts)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _lp_pool(x: Array, p: int = 2, **attributes: Any) -> Array:
    """LpPool-18, all windows at once."""
    taps = windows(x, 0.0, **attributes)
    return (np.abs(taps) ** p).sum(axis=tuple(range(x.ndim, taps.ndim))) ** (1 / p)


class Attention(load_op("", "Attention", onnx.defs.onnx_opset_version())):
    """Its softmax in float64, whatever precision it asks for."""

    op_domain = ""

    def _run(self, *inputs, softmax_precision=None, **attributes):
        return super()._run(*inputs, softmax_precision=None, **attributes)


COMPUTED = {**STAND_INS, "LpPool": _lp_pool}
ROUNDED = ("CausalConvWithState", "LinearAttention", "DynamicQuantizeLinear", "AffineGrid")
OPERATORS = [
    *(Attention, Cast, CastLike, *CONTROL),
    *(_stand_in(name, compute) for name, compute in COMPUTED.items()),
    *map(_unrounded, ROUNDED),
]


class Float64Evaluator(ReferenceEvaluator):
    """`run` takes and gives float64 for every float type that is not a quantized one.

    A node whose inputs are the arrays that it had last is not computed again: differences along
    one input leave all that does not depend on it as it is.
    """

    def __init__(self, proto: Any, *args: Any, new_ops: Any = None, **kwargs: Any) -> None:
        super().__init__(proto, *args, new_ops=new_ops or OPERATORS, **kwargs)
        self.last: list[tuple[list[Any] | None, Any]] = [(None, None)] * len(self.rt_nodes_)

    def _init(self) -> None:
        super()._init()
        self.rt_inits_ = {name: float64(value) for name, value in self.rt_inits_.items()}
        for node in self.rt_nodes_:
            if node.onnx_node.op_type == "Constant" and isinstance(node.cst, np.ndarray):
                node.cst = float64(node.cst)
                convert = getattr(node, "cst_convert", None)
                if convert is not None:
                    node.cst_convert = lambda v, convert=convert: float64(convert(v))

    def run(self, names: Any, feeds: Any, attributes: Any = None, **options: Any) -> Any:
        feeds = {k: float64(v) for k, v in feeds.items()}
        if attributes is not None or options:
            return super().run(names, feeds, attributes, **options)
        values = {"": None, **self.rt_inits_, **feeds}
        for k, node in enumerate(self.rt_nodes_):
            values.update(zip(node.output, self._outputs(k, node, values), strict=False))
        return [values[name] for name in names or self.output_names]

    def _outputs(self, k: int, node: OpRun, values: dict[str, Any]) -> Any:
        """Of the k-th node, as before where it has no body and its inputs are the same."""
        inputs = [values[name] for name in node.input]
        if node.need_context():
            return node.run(*inputs, context=values)
        before, outputs = self.last[k]
        if not _same(node.op_type, inputs, before):
            outputs = node.run(*inputs)
            self.last[k] = inputs, outputs
        return outputs


def _same(op: str, inputs: Sequence[Any], before: Sequence[Any] | None) -> bool:
    """Whether an operator's inputs are the arrays that they were, of a Shape as far as it reads."""
    if before is None or len(inputs) != len(before):
        return False
    if op in ("Shape", "Size"):
        return np.shape(inputs[0]) == np.shape(before[0])
    return all(map(operator.is_, inputs, before))
