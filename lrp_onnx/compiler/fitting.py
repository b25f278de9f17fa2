"""Options that several explanations share, as each of them takes them.

Where composites and methods are compared, a parameter of one composite or the steps of one method
mean nothing to the others: they are left out there, and must be of use to one at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lrp_onnx.errors import CompositeError, TargetError
from lrp_onnx.lrp.auto import AUTO
from lrp_onnx.lrp.composite import Composite, chosen_composite
from lrp_onnx.lrp.methods import METHODS, OWN_OPTIONS
from lrp_onnx.options import CompileOptions

__all__ = ["AUTO", "by_rules", "check_of_use", "fitted"]


def by_rules(method: str) -> bool:
    """Whether a method is LRP, whose rules the user chooses and whose sums conservation holds."""
    return METHODS[method].rules


def fitted(base: CompileOptions, composite: str | None, method: str) -> CompileOptions:
    """The options of one composite (None: the default) or method, without what it does not take;
    `auto` keeps every parameter, since they may decide what it chooses.

    Raises CompositeError or TargetError for a composite or method that there is not.
    """
    if method not in METHODS:
        raise TargetError(f"method {method!r} is unknown. Give one of {', '.join(METHODS)}.")
    own = METHODS[method]
    others: dict[str, Any] = {option: None for option in OWN_OPTIONS if option not in own.options}
    options = replace(base, composite=composite, method=method, **others)
    if not own.rules:
        return replace(options, rules={}, parameters={}, start=None)
    name = composite or own.composite
    if not base.parameters or name == AUTO:
        return options
    chosen = chosen_composite(name).with_rules(base.rules)
    taken: dict[str, Any] = {n: v for n, v in base.parameters.items() if _takes(chosen, n)}
    return replace(options, parameters=taken)


def check_of_use(base: CompileOptions, each: Sequence[CompileOptions]) -> None:
    """Raise CompositeError or TargetError for an option that fits none of what is compared."""
    for option in OWN_OPTIONS:
        if getattr(base, option) is not None and all(getattr(o, option) is None for o in each):
            takers = ", ".join(m.name for m in METHODS.values() if option in m.options)
            raise TargetError(
                f"{option}: no method that is compared takes it. Compare {takers}, or leave it out."
            )
    for name in base.parameters:
        if not any(name in options.parameters for options in each):
            raise CompositeError(
                f"parameter {name!r}: no composite that is compared takes it. Leave it out."
            )


def _takes(composite: Composite, parameter: str) -> bool:
    rule, _, name = parameter.rpartition(".")
    return any(selector.takes(rule, name) for selector in composite.selectors)
