"""The README says what the code does: its tables, its commands, its examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lrp_onnx.analysis.operator_support import every_operator
from lrp_onnx.cli import operators
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.rule import library, load_rule

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def named(folder):
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def rule_table():
    rules = [load_rule(name) for name in named(library())]
    rows = [f"| `{r.name}` | {r.summary} | {r.formula} |" for r in rules]
    return "\n".join(["| rule | what it does | formula |", "| --- | --- | --- |", *rows])


def composite_table():
    composites = [load_composite(name) for name in named(library().joinpath("composites"))]
    rows = [f"| `{c.name}` | {c.summary} |" for c in composites if not c.base_only]
    return "\n".join(["| composite | rules |", "| --- | --- |", *rows])


def operator_table():
    rows = [f"| {kind} | {names(stands)} |" for kind, stands in operators.groups()]
    others = {
        "carry none": [s for s in every_operator() if s.support == "none"],
        "refused": [s for s in every_operator() if s.support == "refused"],
    }
    rows += [f"| {what} | {names(stands)} |" for what, stands in others.items()]
    return "\n".join(
        ["| kind | operators |", "| --- | --- |", *rows, "", f"{operators.summary()}."]
    )


def names(stands):
    return ", ".join(s.name for s in stands)


TABLES = {"rules": rule_table, "composites": composite_table, "operators": operator_table}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_the_library(name, request):
    table = TABLES[name]()
    block = re.search(rf"<!-- {name}: [^>]*-->\n(.*?)<!-- end -->", TEXT, re.S)
    assert block is not None
    if request.config.getoption("--update-golden"):
        text = README.read_text(encoding="utf-8").replace(block.group(1), f"{table}\n")
        README.write_text(text, encoding="utf-8")
        return
    assert block.group(1).strip() == table, f"--update-golden replaces the block by:\n{table}"


def test_the_two_commands_stand_as_they_are():
    assert "\npip install . && lrp-onnx demo\n" in TEXT
    assert '\npip install -e ".[test]" && pytest\n' in TEXT


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def test_the_python_example_runs(tmp_path, monkeypatch):
    example = next(b for b in blocks("python") if "import lrp_onnx" in b)
    assert len(example.strip().splitlines()) <= 10 + 1  # ten lines and a blank one
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    assert (tmp_path / "why.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "text", [b for b in blocks("python") if "import lrp_onnx" in b][1:], ids=["path", "condition"]
)
def test_the_other_python_examples_run(text):
    exec(compile(text, str(README), "exec"), {})


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: tomllib.loads(text)["summary"])
def test_the_toml_examples_load(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    load = load_composite if "[[layer]]" in text else load_rule
    assert load(str(file)).summary
