"""What a reader relies on in every module: a docstring, and a literal `__all__` that is true."""

from __future__ import annotations

import ast
import gc
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lrp_onnx"
MODULES = sorted(PACKAGE.rglob("*.py"))


def exported(tree: ast.Module) -> list[str] | None:
    """The names in a module's `__all__`, which must be written out."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return ast.literal_eval(node.value)
    return None


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_and_what_it_offers(file):
    gc.disable()  # a tree holds no circles, and the search is through everybody's objects
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.enable()
    assert ast.get_docstring(tree)
    if file.name == "__main__.py" or not any(not isinstance(n, ast.Expr) for n in tree.body):
        return
    names = exported(tree)
    assert names is not None, "no __all__"
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(p for p in parts if p != "__init__"))
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing


SAY_NOTHING = {"found", "given", "kept", "settled", "normed"}
"""Variables are named for the thing that they hold, whatever became of it."""


def names_that_say_nothing(tree: ast.Module) -> set[str]:
    """Such names among those that a module gives to variables and parameters."""
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return SAY_NOTHING & (stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)})


def test_variables_are_named_for_the_thing():
    gc.disable()
    try:
        trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in MODULES}
        wrong = {file: names for file, t in trees.items() if (names := names_that_say_nothing(t))}
    finally:
        gc.enable()
    assert not wrong
    assert names_that_say_nothing(ast.parse("found = 1"))
