"""How every operator is supported: it propagates relevance, carries none, or is refused and why.

The answers come from what the compiler itself works with: the records of operators (`ops`), and
what is expanded into others before the explanation path is looked for (`decompose`, `opset`,
`canonize`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from onnx import defs

from lrp_onnx.frontend.canonize.variadic import AS_BINARY, binary_sums
from lrp_onnx.frontend.decompose import BY_FUNCTION, DECOMPOSITIONS
from lrp_onnx.frontend.opset import CEILING, OLDEST
from lrp_onnx.frontend.opset.forms import FORMS
from lrp_onnx.frontend.opset.raising import RAISE
from lrp_onnx.ops import REGISTRY

__all__ = ["STANDARD", "OperatorSupport", "every_operator", "support_of", "versions_of"]

STANDARD = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
"""The domains that onnx defines."""
INTERNAL = "lrp"

FUNCTION = "by the function that the standard defines it by"
DECOMPOSITION = "expanded into operators that have a rule"


@dataclass(frozen=True)
class OperatorSupport:
    """One operator: `support` is "propagates", "none" or "refused"."""

    domain: str
    op_type: str
    support: str
    kinds: tuple[str, ...] = ()
    """What the rules of a composite go by, where it has a vector-Jacobian product of its own."""
    how: str = ""
    """How relevance gets through it."""
    reason: str = ""
    """Why it is refused."""
    about: str = ""
    """What its function says: formula, shapes, specification."""

    @property
    def name(self) -> str:
        """`com.microsoft.QuickGelu`; without a domain if it is the default one."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type


def support_of(domain: str, op_type: str) -> OperatorSupport | None:
    """How the operator is supported; None if nothing is known of it."""
    operator = REGISTRY.get((domain, op_type))
    support = "expanded" if operator is None else operator.support
    if operator is not None and support == "propagates":
        how = "by its vector-Jacobian product"
        about = operator.about or _doc(operator.vjp)
        if operator.kind == "body":
            how = "by the rules of the nodes in its bodies"
        return OperatorSupport(domain, op_type, "propagates", operator.kinds, how, about=about)
    decomposition = DECOMPOSITIONS.get((domain, op_type))
    if decomposition is not None and support != "none":
        return OperatorSupport(
            domain, op_type, "propagates", how=DECOMPOSITION, about=_doc(decomposition)
        )
    if operator is not None and support != "expanded":
        return OperatorSupport(domain, op_type, support, reason=operator.reason)
    if (domain, op_type) in BY_FUNCTION:
        return OperatorSupport(domain, op_type, "propagates", how=FUNCTION)
    how, about = _rewritten(op_type) if not domain else ("", "")
    return OperatorSupport(domain, op_type, "propagates", how=how, about=about) if how else None


def _rewritten(op_type: str) -> tuple[str, str]:
    """How a standard operator becomes others before relevance is looked for, and in what words."""
    if op_type in AS_BINARY:
        return "as binary additions", _doc(binary_sums)
    if op_type in RAISE and defs.get_schema(op_type, "").deprecated:
        version, rewrite = RAISE[op_type]
        return f"rewritten for opset {version}", _doc(rewrite)
    if min(versions_of("", op_type), default=0) <= CEILING:
        return "", ""
    if op_type in FORMS:
        return f"rewritten for opset {CEILING}", _doc(FORMS[op_type])
    return (FUNCTION, "") if _has_function(op_type) else ("", "")


def _has_function(op_type: str) -> bool:
    schema: Any = defs.get_schema(op_type, "")
    return bool(schema.has_function or schema.has_context_dependent_function)


def _doc(function: Callable[..., Any] | None) -> str:
    return inspect.getdoc(function) or ""


@cache
def _versions() -> dict[tuple[str, str], tuple[int, ...]]:
    since: dict[tuple[str, str], list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        since.setdefault((schema.domain, schema.name), []).append(schema.since_version)
    return {key: tuple(sorted(versions)) for key, versions in since.items()}


def versions_of(domain: str, op_type: str) -> tuple[int, ...]:
    """The opsets at which the installed onnx defines or changes the operator, since 7; the one in
    force at 7 among them.
    """
    versions = _versions().get((domain, op_type), ())
    if domain:
        return versions
    in_force = [v for v in versions if v <= OLDEST][-1:]
    return (*in_force, *(v for v in versions if v > OLDEST))


def every_operator() -> Iterator[OperatorSupport]:
    """All operators that onnx defines or a table names, the standard ones first, by name.

    One that nothing is known of is left out; a test sees to it that there is none.
    """
    named = {*_versions(), *REGISTRY, *DECOMPOSITIONS}
    for domain, op_type in sorted(named, key=lambda key: (key[0] not in STANDARD, *key)):
        support = support_of(domain, op_type)
        if support is not None and domain != INTERNAL:
            yield support
