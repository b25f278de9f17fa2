"""Who may import whom, how long a chain of imports gets, and that every folder is packaged."""

from __future__ import annotations

import ast
import gc
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lrp_onnx"
MAY_IMPORT = {
    "graph": (),
    "ops": ("graph",),
    "frontend": ("graph", "ops"),
    "data": ("graph",),
    "analysis": ("graph", "frontend", "ops"),
    "lrp": ("graph", "ops", "analysis"),
    "propagation": ("graph", "ops", "analysis", "lrp"),
    "gradients": ("graph", "ops", "analysis", "lrp", "propagation", "data"),
    "rewrites": ("graph", "ops", "analysis", "lrp", "propagation"),
    "lowering": ("graph", "ops"),
    "compiler": (
        *("graph", "frontend", "data", "ops", "analysis", "lrp", "propagation", "gradients"),
        *("rewrites", "lowering"),
    ),
    "run": ("graph", "data", "compiler"),
    "scale": ("graph", "data", "run"),
    "export": ("graph", "data", "compiler", "run"),
    "validate": ("graph", "data", "compiler", "run"),
    "visual": ("graph", "data"),
    "answer": (
        *("graph", "data", "lrp", "propagation", "gradients", "compiler", "run", "validate"),
        "visual",
    ),
    "cli": (
        *("graph", "frontend", "data", "ops", "analysis", "lrp", "propagation", "gradients"),
        *("rewrites", "lowering", "compiler", "run", "validate", "visual", "scale", "export"),
        "answer",
    ),
}
"""Every folder of the package and the folders whose modules it may import.  What lies beside the
folders (errors, options, version) all may import."""
PUBLIC = ("__init__.py", "__main__.py")
"""The package's own face, which may name anything."""
LONGEST_CHAIN = 15
"""Of folders, and of modules."""


def test_every_folder_has_its_row():
    folders = {p.name for p in PACKAGE.iterdir() if any(p.glob("*.py")) and not p.is_symlink()}
    assert folders == set(MAY_IMPORT)


def test_the_rows_have_no_circle():
    below = {folder: set(row) for folder, row in MAY_IMPORT.items()}
    while below:
        ground = [folder for folder, row in below.items() if not row & set(below)]
        assert ground, f"these import each other: {', '.join(below)}"
        below = {folder: row for folder, row in below.items() if folder not in ground}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def folder_of(module: str) -> str:
    """The folder that a module lies in; nothing for those beside the folders."""
    first = [*module.split("."), ""][1]
    return first if first in MAY_IMPORT else ""


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements and those inside them, without the expressions, of which a tree is nearly all."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from statements(getattr(statement, part, ()))


@cache
def statements_of(module: str) -> list[ast.stmt]:
    """What in a module imports or assigns.

    Trees hold no circles; the search for some would take five times as long as all else here.
    """
    gc.disable()
    try:
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        wanted = ast.Import | ast.ImportFrom | ast.Assign | ast.AugAssign | ast.AnnAssign
        return [node for node in statements(tree.body) if isinstance(node, wanted)]
    finally:
        gc.enable()


@cache
def imports_of(module: str) -> dict[str, int]:
    """The modules of the package that a module imports, anywhere in it, and the line."""
    found = {}
    for node in statements_of(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrp_onnx"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[inner if inner in MODULES else str(node.module)] = node.lineno
        elif isinstance(node, ast.Import):
            found |= {a.name: node.lineno for a in node.names if a.name in MODULES}
    return found


def forbidden(module: str, imported: str) -> bool:
    """Whether the table forbids a module to import another."""
    folder, other = folder_of(module), folder_of(imported)
    if MODULES[module].parent == PACKAGE and MODULES[module].name in PUBLIC:
        return False
    if not other:
        return imported == "lrp_onnx" and folder != "cli"
    if not folder:
        return True
    return other != folder and other not in MAY_IMPORT[folder]


def test_a_module_imports_what_its_folder_may():
    wrong = [
        f"{MODULES[module]}:{line} imports {imported}"
        for module in MODULES
        for imported, line in imports_of(module).items()
        if forbidden(module, imported)
    ]
    assert not wrong


def test_the_table_forbids_what_it_should():
    assert forbidden("lrp_onnx.ops.linear", "lrp_onnx.propagation.backward_pass")
    assert forbidden("lrp_onnx.errors", "lrp_onnx.graph.builder")
    assert not forbidden("lrp_onnx.propagation.backward_pass", "lrp_onnx.ops.linear")
    assert not forbidden("lrp_onnx.propagation.backward_pass", "lrp_onnx.errors")


def chain_from(place: str, below: dict[str, set[str]]) -> list[str]:
    """The longest chain of imports that begins at a place."""

    @cache
    def longest(place: str) -> tuple[str, ...]:
        others = (longest(other) for other in sorted(below.get(place, ())))
        return (place, *max(others, key=len, default=()))

    return list(longest(place))


def test_no_chain_of_imports_is_long():
    """A folder counts as one place, as does each module beside the folders."""
    below: dict[str, set[str]] = {}
    for module in MODULES:
        place = folder_of(module) or module
        others = {folder_of(imported) or imported for imported in imports_of(module)}
        below.setdefault(place, set()).update(others - {place, "lrp_onnx"})
    longest = max((chain_from(place, below) for place in below), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_no_chain_of_modules_grows():
    """Modules that import each other count as one, such as a builder and what it builds."""
    edges = ((module, other) for module in MODULES for other in imports_of(module))
    graph = networkx.DiGraph(edge for edge in edges if "lrp_onnx" not in edge)
    groups = networkx.condensation(graph)
    longest = networkx.dag_longest_path(groups)
    names = (min(groups.nodes[group]["members"]) for group in longest)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(names)


def test_every_folder_is_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name_of(file) for file in PACKAGE.rglob("__init__.py")} | {"lrp_onnx.rules"}
    assert set(project["tool"]["setuptools"]["packages"]) == packages


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_every_folder_says_what_it_is_for(folder):
    text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text()))
    assert text
    assert len(text.splitlines()[0].split()) > 3


def test_the_text_has_the_same_table():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)/` \| .* \| (.*) \|$", text, re.M))
    words = {"root": (), "all above": MAY_IMPORT["compiler"]}
    rows = {
        folder: words[row] if row in words else tuple(row.split(", "))
        for folder, row in shown.items()
    }
    assert {k: set(v) for k, v in rows.items()} == {k: set(v) for k, v in MAY_IMPORT.items()}


def assigned_attributes(assignments: Iterable[ast.stmt]) -> list[str]:
    """Attributes of a builder that these statements assign."""
    targets = (
        node
        for assignment in assignments
        for target in getattr(assignment, "targets", [getattr(assignment, "target", None)])
        if target is not None
        for node in ast.walk(target)
    )
    return [
        f"{node.value.id}.{node.attr}, line {node.lineno}"
        for node in targets
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "emit"
    ]


def test_the_state_of_a_builder_is_its_own():
    others = [module for module in MODULES if module != "lrp_onnx.graph.builder"]
    assigned = {module: assigned_attributes(statements_of(module)) for module in others}
    assert not {module: where for module, where in assigned.items() if where}


def test_an_assigned_attribute_is_seen():
    inside = "def f():\n    with x:\n        emit.owner, emit.rule = 1, 2"
    assert len(assigned_attributes(statements(ast.parse(inside).body))) == 2
    assert not assigned_attributes(statements(ast.parse("emit.write_for(x)").body))


def test_nodes_are_made_by_the_builders_of_graph():
    others = [module for module in MODULES if folder_of(module) != "graph"]
    texts = {module: MODULES[module].read_text(encoding="utf-8") for module in others}
    made = re.compile(r"\bir\.[Nn]ode\(|\btape\.")
    assert not [module for module, text in texts.items() if made.search(text)]


def test_runtimes_and_methods_are_asked_for_facts_and_not_for_their_names():
    folders = ("ops", "analysis", "lrp", "propagation", "rewrites", "lowering", "compiler")
    asked = re.compile(r'\b(runtime|method\.name) (==|!=|not in|in) [("\']')
    texts = {
        m: f.read_text(encoding="utf-8") for m, f in MODULES.items() if folder_of(m) in folders
    }
    assert not [module for module, text in texts.items() if asked.search(text)]
    assert asked.search('if emit.runtime == "cuda":')
    assert asked.search('if method.name not in ("gradient", "saliency"):')
