"""Texts from files as people may read them: what steers a terminal or turns text around is escaped,
what is long is shortened.

Names of tensors, labels and metadata are whoever made the file's choice; every message, table and
page shows them through here.
"""

from __future__ import annotations

import json
import re

__all__ = ["LONGEST", "paragraph", "plain", "plain_json"]

LONGEST = 600
"""Characters of a message at most."""
LONGEST_NAME = 120
"""Characters of a quoted name in a message at most."""

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line feed, marks of direction, invisible ones that no script
needs, lone surrogates."""
QUOTED = re.compile(r"""(?<![\w'"\])/])(['"])(?:(?!\1).){121,}\1(?!\w)""")


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


def shortened(text: str, longest: int) -> str:
    """The text without its middle if it is longer."""
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 3]} … {text[-end:]}"
