"""Names from files, in messages and on terminals and pages."""

from __future__ import annotations

import json

import pytest

from lrp_onnx.cli import tables
from lrp_onnx.cli.app import note
from lrp_onnx.errors import LONGEST, LrpError, plain, plain_json

EVIL = "a\x1b[2J\u202etxt.exe\x9b\x07\ud800"
SHOWN = r"a\x1b[2J\u202etxt.exe\x9b\x07\ud800"


def test_what_steers_a_terminal_is_escaped_and_nothing_else() -> None:
    assert plain(EVIL) == SHOWN
    assert plain("größe 猫 می‌خواهم\t→ α\n") == "größe 猫 می‌خواهم\t→ α\n"


def test_a_message_is_one_short_line() -> None:
    text = str(LrpError(f"node {'n' * 900!r}: {EVIL}\nfact. " + "more " * 200 + "Do this."))
    assert len(text) <= LONGEST
    assert text.isprintable()
    assert text.startswith("node 'nnn")
    assert text.endswith("Do this.")


def test_notes_and_tables_escape(capsys: pytest.CaptureFixture[str]) -> None:
    note(EVIL, "warning: ")
    tables.show(tables.facts([("name", EVIL)]), tables.table_of(["name"], [[EVIL]]), EVIL)
    tables.show_json({"name": EVIL})
    captured = capsys.readouterr()
    assert SHOWN in captured.err
    assert captured.out.count(SHOWN) >= 3
    assert all(c.isprintable() or c == "\n" for c in captured.out)


def test_json_stays_what_it_says() -> None:
    text = plain_json(json.dumps({"name": EVIL}, ensure_ascii=False))
    assert json.loads(text) == {"name": EVIL}
    assert text.isprintable()
