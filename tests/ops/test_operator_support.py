"""Every operator of the standard is known, and what is said of it is what happens."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from onnx import defs
from onnxruntime.capi import onnxruntime_pybind11_state

from lrp_onnx import ops
from lrp_onnx.analysis.operator_support import STANDARD, every_operator, support_of, versions_of
from lrp_onnx.cli import operators
from lrp_onnx.frontend.decompose import DECOMPOSITIONS
from lrp_onnx.ops import KINDS, REGISTRY, Op

NAMES = sorted({(s.domain, s.name) for s in defs.get_all_schemas_with_history()})

REFUSABLE = {
    "": {"ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
         "Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
         "SplitToSequence"},
    "ai.onnx.ml": {"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
                   "SVMClassifier", "SVMRegressor", "CastMap", "DictVectorizer"},
    "ai.onnx.preview.training": {"Adagrad", "Adam", "Gradient", "Momentum"},
}  # fmt: skip
"""All that may be refused whatever its use."""
OPEN: dict[str, set[str]] = {}
"""Refused until someone writes them; a name goes when its operator propagates."""


@pytest.mark.parametrize("domain", STANDARD)
def test_every_operator_of_the_standard_is_known(domain):
    missing = [name for d, name in NAMES if d == domain and support_of(d, name) is None]
    assert not missing, "give each a VJP, a decomposition or a place in ops/silent.py"


def test_all_domains_of_onnx_are_looked_at():
    assert {domain for domain, _ in NAMES} == set(STANDARD)


@pytest.mark.parametrize("domain", STANDARD)
def test_no_more_is_refused_than_must_be(domain):
    refused = {s.op_type for s in every_operator() if s.domain == domain and s.support == "refused"}
    still = OPEN.get(domain, set())
    assert refused - still <= REFUSABLE.get(domain, set())
    assert still <= refused


@pytest.mark.parametrize("operator", list(every_operator()), ids=lambda s: s.name)
def test_support_says_how_or_why(operator):
    if operator.support == "propagates":
        assert operator.how
        assert set(operator.kinds) <= set(KINDS)
        record = REGISTRY.get((operator.domain, operator.op_type))
        assert operator.kinds or record is None or record.support == "expanded"
        assert operator.about or "function" in operator.how
    else:
        assert (operator.support == "refused") == bool(operator.reason)


def test_what_is_in_no_table_is_unknown():
    assert support_of("", "Conv2") is None
    assert support_of("com.example", "Conv") is None


def test_an_expansion_comes_before_a_refusal():
    assert support_of("com.microsoft", "QuickGelu").support == "propagates"
    assert ("com.microsoft", "QuickGelu") in DECOMPOSITIONS


def test_versions_begin_with_the_one_in_force_at_7():
    assert versions_of("", "Relu") == (6, 13, 14)
    assert versions_of("", "Swish") == (24,)


def test_every_contrib_operator_of_the_runtime_is_known() -> None:
    schemas = onnxruntime_pybind11_state.get_all_operator_schema()
    names = {s.name for s in schemas if s.domain == "com.microsoft"}
    assert len(names) > 100
    missing = {name for name in names if support_of("com.microsoft", name) is None}
    assert not missing, "write a decomposition, or refuse it by name in ops/contrib.py"


README = Path(ops.__file__).with_name("README.md")


def operator_table():
    """The operators by kind, as the README of the folder has them."""
    listed = list(every_operator())
    groups = dict(operators.groups())
    groups["carry none"] = [s for s in listed if s.support == "none"]
    groups["refused"] = [s for s in listed if s.support == "refused"]
    rows = [f"| {kind} | {', '.join(s.name for s in them)} |" for kind, them in groups.items()]
    table = ["| kind | operators |", "| --- | --- |", *rows, "", f"{operators.summary()}."]
    return "\n".join(table)


def test_the_table_is_the_registry(request):
    text, table = README.read_text(encoding="utf-8"), operator_table()
    head, tail = "tests/ops/test_operator_support.py -->\n", "<!-- end -->"
    before, _, rest = text.partition(head)
    written, _, behind = rest.partition(tail)
    if request.config.getoption("--update-golden"):
        README.write_text(f"{before}{head}{table}\n{tail}{behind}", encoding="utf-8")
        return
    assert written.strip() == table, "pytest --update-golden replaces the block"


def test_every_field_of_a_record_is_explained():
    text = README.read_text(encoding="utf-8").partition("## The fields")[2].partition("## Kinds")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    explained = re.findall(r"`(\w+)`", " ".join(rows))
    assert sorted(explained) == sorted(f.name for f in dataclasses.fields(Op))


def test_every_kind_is_explained():
    text = (
        README.read_text(encoding="utf-8").partition("## Kinds")[2].partition("Every operator")[0]
    )
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []


def test_every_record_of_a_standard_domain_is_an_operator():
    unknown = [key for key in REGISTRY if key[0] in STANDARD and key not in set(NAMES)]
    assert not unknown
