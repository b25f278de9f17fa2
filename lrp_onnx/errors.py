"""One tree of errors. Each message is a paragraph: the thing (node, file), the fact, the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrp_onnx.plain import paragraph

__all__ = [
    "CheckError",
    "CompositeError",
    "InputError",
    "InternalError",
    "LrpError",
    "ModelError",
    "OptionError",
    "OutputError",
    "RuleError",
    "TargetError",
    "UnsupportedError",
]


class LrpError(Exception):
    """Whatever lrp-onnx refuses to do; the message says what, where and what to do, in one line of
    at most 600 characters that a terminal may show.
    """

    def __init__(self, message: str) -> None:
        super().__init__(paragraph(message))


class ModelError(LrpError):
    """The model cannot be read, or is not a valid ONNX model."""


class UnsupportedError(LrpError):
    """Nodes on the explanation path have no rule; the message lists every one of them."""

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})
        """Per refused node, by name: why."""
        self.nodes: dict[Any, str] = {}
        """The same by node, where a body's refusal becomes part of that of the graph around it."""


class RuleError(LrpError):
    """A rule file, its parameters or its use on a node is wrong."""


class CompositeError(LrpError):
    """A composite file is wrong, unknown, or leaves a node without a rule."""


class OptionError(LrpError):
    """An argument of a function is of a type that it does not take."""


class TargetError(LrpError):
    """The explained output, input, class or tensor does not exist in the model."""


class InputError(LrpError):
    """Data handed to the explainer does not fit what the model wants."""


class OutputError(LrpError):
    """A result cannot be written."""


class CheckError(LrpError):
    """The compiled graph does not compute what it should; nothing is returned."""


class InternalError(LrpError):
    """A fault of lrp-onnx itself, that no check of the input foresaw."""
