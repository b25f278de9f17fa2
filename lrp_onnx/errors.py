"""One tree of errors. Each message is a paragraph: the thing (node, file), the fact, the remedy.

Names of tensors, labels and metadata are whoever made the file's choice; every message, table and
page shows them through `plain`: what steers a terminal or turns text around is escaped, what is
long is shortened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "LONGEST",
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
    "cell",
    "paragraph",
    "plain",
    "plain_json",
]

LONGEST = 600
"""Characters of a message at most."""
LONGEST_NAME = 120
"""Characters of a quoted name in a message at most."""
MOST_READ = 5000
"""Characters of a line in a table or a picture at most: more are a fault of the model."""

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line feed, marks of direction, invisible ones that no script
needs, lone surrogates."""
QUOTED = re.compile(r"""(?<![\w'"\])/])(['"])(?:(?!\1).){121,}\1(?!\w)""")


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


def plain(text: str) -> str:
    r"""The text with such characters as escapes, `\x1b` or `\u202e`."""
    return STEERING.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def plain_json(text: str) -> str:
    r"""JSON with such characters as JSON writes them, `\u202e`."""
    return STEERING.sub(lambda match: json.dumps(match[0])[1:-1], text)


def paragraph(text: str) -> str:
    """One line of at most LONGEST characters: long names lose their middle, then the text does,
    whose end says what to do.
    """
    line = QUOTED.sub(lambda m: shortened(m[0], LONGEST_NAME), plain(" ".join(text.split())))
    return shortened(line, LONGEST)


def cell(text: str) -> str:
    """Such a text for a table or a picture, without its middle if it is longer than is read."""
    return shortened(plain(text), MOST_READ)


def shortened(text: str, longest: int) -> str:
    """The text without its middle if it is longer."""
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 3]} … {text[-end:]}"
