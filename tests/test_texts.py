"""The texts say what the code does: their tables, commands, examples, keys and links."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from lrp_onnx.lrp import composite as composites
from lrp_onnx.lrp import rule_file as rules
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.library import library
from lrp_onnx.lrp.rule_file import load_rule

ROOT = Path(__file__).parents[1]
README, RULES = ROOT / "README.md", ROOT / "rules" / "README.md"
TEXTS = [*ROOT.glob("*/README.md"), ROOT / "lrp_onnx" / "ops" / "README.md", README]
TEXTS += [ROOT / ".github" / "CONTRIBUTING.md"]
MOST_LINES = 150


def named(folder):
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def rule_table():
    loaded = [load_rule(name) for name in named(library())]
    rows = [f"| `{r.name}` | {r.summary} | {r.formula} |" for r in loaded]
    return "\n".join(["| rule | what it does | formula |", "| --- | --- | --- |", *rows])


def composite_table():
    loaded = [load_composite(name) for name in named(library().joinpath("composites"))]
    rows = [f"| `{c.name}` | {c.summary} |" for c in loaded if not c.base_only]
    return "\n".join(["| composite | rules |", "| --- | --- |", *rows])


TABLES = {"rules": rule_table, "composites": composite_table}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_the_library(name, request):
    table, text = TABLES[name](), RULES.read_text(encoding="utf-8")
    block = re.search(rf"<!-- {name}: [^>]*-->\n(.*?)<!-- end -->", text, re.S)
    assert block is not None
    if request.config.getoption("--update-golden"):
        RULES.write_text(text.replace(block.group(1), f"{table}\n"), encoding="utf-8")
        return
    assert block.group(1).strip() == table, f"--update-golden replaces the block by:\n{table}"


KEYS = {
    "rule": rules.RULE_KEYS,
    "share": rules.SHARE_KEYS,
    "term": rules.TERM_KEYS,
    "parameter": rules.PARAMETER_KEYS,
    "composite": composites.COMPOSITE_KEYS,
    "layer": composites.SELECTOR_KEYS,
}


@pytest.mark.parametrize("what", KEYS)
def test_every_key_of_a_file_is_described(what):
    text = RULES.read_text(encoding="utf-8")
    block = re.search(rf"\| key of a {what} \| meaning \|\n(.*?)\n\n", text, re.S)
    assert block is not None
    cells = [row.split("|")[1] for row in block.group(1).splitlines()[1:]]
    described = {key.strip("[]") for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert described == set(KEYS[what])


def test_the_first_text_is_short_and_has_the_two_commands():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert "\npip install . && lrp-onnx demo\n" in text
    assert '\npip install -e ".[test]" && pytest\n' in text


def blocks(language):
    """Examples of all texts, with where they stand."""
    return [
        pytest.param(block, id=f"{text.parent.name}-{k}")
        for text in TEXTS
        if text.exists()
        for k, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", text.read_text(encoding="utf-8"), re.S)
        )
        if language != "python" or "import lrp_onnx" in block
    ]


def test_the_first_python_example_is_ten_lines_long():
    block = next(p.values[0] for p in blocks("python") if README.parent.name in p.id)
    assert len(block.strip().splitlines()) <= 10 + 1  # and a blank one


@pytest.mark.parametrize("text", blocks("python"))
def test_the_python_examples_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "example", "exec"), {})
    if "why.png" in text:
        assert (tmp_path / "why.png").stat().st_size > 1000


@pytest.mark.parametrize("text", [p for p in blocks("toml") if "summary" in p.values[0]])
def test_the_toml_examples_load(tmp_path, text):
    assert tomllib.loads(text)["summary"]
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    load = load_composite if "[[layer]]" in text else load_rule
    assert load(str(file)).summary


def tracked_texts():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    return [ROOT / name for name in listed] or TEXTS


@pytest.mark.parametrize("text", tracked_texts(), ids=lambda t: str(t.relative_to(ROOT)))
def test_every_link_leads_to_a_file(text):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (text.parent / link).exists()]
    assert not missing
