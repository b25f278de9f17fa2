"""The fields of `CompileOptions` as the arguments of a function."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, Concatenate, ParamSpec, TypeVar

from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions

__all__ = ["takes_options", "text_of"]

P = ParamSpec("P")
First = TypeVar("First")
Result = TypeVar("Result")


def text_of(field: Field[Any]) -> str:
    """What an option means."""
    text: str = field.metadata["text"]
    return text.format(methods=", ".join(METHODS))


def takes_options(
    options: Callable[P, CompileOptions],
) -> Callable[[Callable[[First, CompileOptions], Result]], Callable[Concatenate[First, P], Result]]:
    """Let a function of (first, options) take the options' fields as its own arguments; its
    docstring lists them at `{options}`, and the methods at `{methods}`.
    """

    def decorate(
        function: Callable[[First, CompileOptions], Result],
    ) -> Callable[Concatenate[First, P], Result]:
        first, *_ = inspect.signature(function).parameters.values()
        own = inspect.signature(options).parameters.values()
        signature = inspect.Signature([first, *own])

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Result:
            bound = signature.bind(*args, **kwargs).arguments
            return function(bound.pop(first.name), CompileOptions(**bound))

        wrapper.__signature__ = signature  # type: ignore[attr-defined]  # read by help()
        listing = [f"{field.name}: {text_of(field)}" for field in fields(CompileOptions)]
        methods = [f"{m.name}: {m.formula} ({m.reference})" for m in METHODS.values()]
        text = (function.__doc__ or "").replace("    {options}", _wrapped(listing))
        wrapper.__doc__ = text.replace("    {methods}", _wrapped(methods))
        return wrapper

    return decorate


def _wrapped(entries: list[str]) -> str:
    """Entries as a docstring has them, indented."""
    first, more = " " * 4, " " * 8
    return "\n".join(
        textwrap.fill(entry, 100, initial_indent=first, subsequent_indent=more) for entry in entries
    )
