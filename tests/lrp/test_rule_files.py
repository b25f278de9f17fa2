"""Rule and composite files: the library is well-formed, and every mistake is an error with file,
key and remedy.
"""

from __future__ import annotations

import re

import pytest
from models import network

import lrp_onnx
from lrp_onnx.compiler.stages import load_original, prepare
from lrp_onnx.errors import CompositeError, LrpError, RuleError
from lrp_onnx.graph.expression import names, parse
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.library import library
from lrp_onnx.lrp.rule_file import load_rule
from lrp_onnx.options import CompileOptions

GOOD = 'summary = "s"\nreference = "r"\n'
SHARE = '[[share]]\nterms = [{ x = "x" }]\n'
RULES = sorted(f.name[:-5] for f in library().iterdir() if f.name.endswith(".toml"))
COMPOSITES = sorted(
    f.name[:-5] for f in library().joinpath("composites").iterdir() if f.name.endswith(".toml")
)

NAMED = [
    "epsilon-gamma-box",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
    "excitation-backprop",
    "guided-backprop",
    "deconvnet",
    "beta-smooth",
    "deep-taylor",
    "deep-taylor-bounded",
    "epsilon",
    "gamma",
    "zplus",
    "alpha2-beta1",
    "alpha1-beta0",
    "flat",
    "wsquare",
    "zbox",
    "graded",
    "graded-box",
    "epsilon-relative",
    "attnlrp-gamma",
    "montavon-vgg16",
]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_library_loads(name):
    rule = load_rule(name)
    assert rule.summary
    assert rule.reference
    assert rule.formula
    assert bool(rule.shares) != (rule.relevance is not None)


@pytest.mark.parametrize("name", COMPOSITES)
def test_every_composite_of_the_library_loads(name):
    assert load_composite(name).selectors


def test_the_promised_composites_are_there():
    assert set(NAMED) <= set(COMPOSITES)


BAD_RULES = {
    "unknown key": (GOOD + SHARE + "color = 1", "unknown key 'color'"),
    "unknown top key": ("color = 1\n" + GOOD + SHARE, "unknown key 'color'"),
    "no reference": ('summary = "s"\n' + SHARE, "'reference' is missing"),
    "no summary": ('reference = "s"\n' + SHARE, "'summary' is missing"),
    "summary is a number": ('summary = 1\nreference = "r"\n' + SHARE, "'summary' is 1"),
    "neither form": (GOOD, "exactly one"),
    "both forms": (GOOD + 'relevance = "R"\n' + SHARE, "exactly one"),
    "no terms": (GOOD + "[[share]]\nterms = []", "no terms"),
    "term without x": (GOOD + '[[share]]\nterms = [{ w = "w" }]', "'x' is missing"),
    "unknown term key": (GOOD + '[[share]]\nterms = [{ x = "x", y = "w" }]', "unknown key 'y'"),
    "x of w": (GOOD + '[[share]]\nterms = [{ x = "w" }]', "unknown name 'w'"),
    "python": (GOOD + 'relevance = "__import__(R)"', "unknown function '__import__'"),
    "attribute": (GOOD + 'relevance = "R.shape"', "cannot read 'R.shape'"),
    "unbalanced": (GOOD + 'relevance = "(R"', "cannot read '(R'"),
    "trailing": (GOOD + 'relevance = "R R"', "cannot read 'R'"),
    "empty expression": (GOOD + 'relevance = ""', "'relevance' is ''"),
    "default out of range": (
        GOOD + "parameters = { e = { default = -1, minimum = 0 } }\n" + SHARE,
        "out of range",
    ),
    "parameter is a bool": (GOOD + "parameters = { e = true }\n" + SHARE, "parameter 'e' is True"),
    "unknown parameter key": (GOOD + "parameters = { e = { d = 1 } }\n" + SHARE, "unknown key 'd'"),
    "not TOML": ("summary = ", "not valid TOML"),
    "share is no table": ("share = [1]\n" + GOOD, "something else than tables"),
}


@pytest.mark.parametrize(("text", "fact"), BAD_RULES.values(), ids=BAD_RULES)
def test_a_bad_rule_file_names_file_and_fact(tmp_path, text, fact):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(RuleError) as caught:
        load_rule(str(file))
    assert str(file) in str(caught.value)
    assert fact in str(caught.value)


LAYER = '[[layer]]\nrule = "epsilon"\n'
BAD_COMPOSITES = {
    "unknown key": (GOOD + LAYER + "color = 1", "unknown key 'color'"),
    "unknown rule": (GOOD + '[[layer]]\nrule = "epsilom"', "no rule 'epsilom'"),
    "unknown kind": (GOOD + LAYER + 'kind = "dense"', "'kind' is 'dense'"),
    "unknown parameter": (GOOD + LAYER + "parameters = { gamma = 1 }", "no parameter 'gamma'"),
    "parameter out of range": (GOOD + LAYER + "parameters = { epsilon = -1 }", "out of range"),
    "no rule": (GOOD + "[[layer]]", "'rule' is missing"),
    "no layer": (GOOD, "'layer' is missing"),
    "no reference": ('summary = "s"\n' + LAYER, "'reference' is missing"),
    "bad index": (GOOD + LAYER + "index = [1]", "'index' is [1]"),
    "bad depth": (GOOD + LAYER + "depth = [0.5, 0.25]", "'depth' is [0.5, 0.25]"),
    "depth past the end": (GOOD + LAYER + "depth = [0, 2]", "'depth' is [0, 2]"),
    "no operator": (GOOD + LAYER + 'op = "Cnv"', "'Cnv' is no ONNX operator"),
    "bad op": (GOOD + LAYER + "op = 3", "'op' is 3"),
    "bad gates": ('gates = "open"\n' + GOOD + LAYER, "'gates' is 'open'"),
    "unknown base": ('base = "basis"\n' + GOOD + LAYER, "no composite 'basis'"),
}


@pytest.mark.parametrize(("text", "fact"), BAD_COMPOSITES.values(), ids=BAD_COMPOSITES)
def test_a_bad_composite_file_names_file_and_fact(tmp_path, text, fact):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(CompositeError) as caught:
        load_composite(str(file))
    assert str(file) in str(caught.value)
    assert fact in str(caught.value)


@pytest.mark.parametrize("load", [load_rule, load_composite])
@pytest.mark.parametrize("name", ["epsilom", "../rules/epsilon", "nowhere/mine.toml", ""])
def test_an_unknown_name_lists_the_known_ones(load, name):
    with pytest.raises(LrpError, match=r"Known|cannot be read"):
        load(name)


def test_a_composite_finds_a_rule_file_beside_it(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD + SHARE)
    (tmp_path / "all.toml").write_text(GOOD + '[[layer]]\nrule = "mine.toml"')
    assert load_composite(str(tmp_path / "all.toml")).selectors[0].rule.name == "mine"


SETTABLE = {
    "own rules only": (
        "epsilon-plus",
        {"epsilon": 0.5},
        {"zplus": 0.5, "epsilon": 0.5, "norm": None},
    ),
    "one rule": ("epsilon-plus", {"zplus.epsilon": 0.5}, {"zplus": 0.5, "epsilon": None}),
    "norm by name": ("epsilon-plus", {"norm.epsilon": 0.5}, {"norm": 0.5, "epsilon": None}),
}


@pytest.mark.parametrize(("composite", "parameters", "expected"), SETTABLE.values(), ids=SETTABLE)
def test_set_reaches_the_rules_it_should(composite, parameters, expected):
    layers = load_composite(composite).with_parameters(parameters).selectors
    for rule, value in expected.items():
        assert {layer.parameters.get("epsilon") for layer in layers if layer.rule.name == rule} == {
            value
        }


@pytest.mark.parametrize("key", ["gamma", "zplus.gamma", "zbox.low", "relevance"])
def test_set_of_what_nothing_takes_is_an_error(key):
    with pytest.raises(CompositeError, match="nothing takes a parameter"):
        load_composite("epsilon-plus").with_parameters({key: 1.0})


EXPRESSIONS = {
    "1 + 2*x": ("+", 1.0, ("*", 2.0, "x")),
    "-x": ("-", 0.0, "x"),
    "x - 1 - 2": ("-", ("-", "x", 1.0), 2.0),
    "pos(x) / (x + 1e-6)": ("/", ("pos", "x"), ("+", "x", 1e-6)),
    "x > 0": (">", "x", 0.0),
}


@pytest.mark.parametrize(("text", "tree"), EXPRESSIONS.items(), ids=EXPRESSIONS)
def test_the_grammar(text, tree):
    assert parse(text, frozenset("x")) == tree
    assert names(tree) == {"x"}


OUT_OF_ORDER = {
    "low above high": (1.0, -1.0),
    "one channel": ((0.0, 2.0), 1.0),
    "infinite": (0.0, float("inf")),
}


@pytest.mark.parametrize(("low", "high"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_bounds_that_are_none_are_refused(low, high):
    with pytest.raises(RuleError, match=r"Exchange them|out of range"):
        load_rule("zbox").settings({"low": low, "high": high})


def test_what_flat_is_for_holds_for_a_copy_of_another_name(tmp_path):
    (tmp_path / "even.toml").write_text(library().joinpath("flat.toml").read_text())
    uniform = {name for name in RULES if load_rule(name).uniform}
    assert uniform == {"flat"}
    model = network("y = Gemm<transB=1>(x, w)", (1, 4), w=(3, 4))
    even = lrp_onnx.compile(model, "epsilon", rules={"Gemm": str(tmp_path / "even.toml")})
    assert any("rule even gives" in warning for warning in even.warnings)
    assert not any("same share" in w for w in lrp_onnx.compile(model, "epsilon").warnings)


def test_what_zbox_is_for_holds_for_a_copy_of_another_name(tmp_path):
    (tmp_path / "bounds.toml").write_text(library().joinpath("zbox.toml").read_text())
    model = network(
        "z = Conv(x, w) y = ReduceMean(z, axes)", (1, 2, 4, 4), w=(3, 2, 3, 3), axes=[2, 3]
    )
    options = CompileOptions(composite="epsilon", rules={"Conv": str(tmp_path / "bounds.toml")})
    ranges = {"x": ([-1.0, -2.0], [3.0, 4.0])}
    with pytest.raises(RuleError, match="no default"):
        prepare(load_original(model), options)
    settings = prepare(load_original(model), options, ranges).assignment.nodes[0].settings
    assert (settings["low"], settings["high"]) == ((-1.0, -2.0), (3.0, 4.0))


def test_a_parameter_that_only_its_rule_names():
    composite = load_composite("epsilon-plus")
    assert load_rule("norm").parameters["epsilon"].by_rule_only
    own = composite.with_parameters({"epsilon": 0.5})
    reached = {x.rule.name for x in own.selectors if x.parameters.get("epsilon") == 0.5}
    assert "epsilon" in reached
    assert "norm" not in reached


@pytest.mark.parametrize(
    ("text", "fact"),
    [('{ implied = "output" }', "'implied' is 'output'"), ("{ by_rule_only = 1 }", "by_rule_only")],
)
def test_wrong_keys_of_a_parameter(tmp_path, text, fact):
    file = tmp_path / "mine.toml"
    file.write_text(f"{GOOD}parameters = {{ a = {text} }}\n{SHARE}")
    with pytest.raises(RuleError, match=fact):
        load_rule(str(file))


@pytest.mark.parametrize(("load", "folder"), [(load_rule, "."), (load_composite, "composites")])
def test_a_file_of_the_users_may_change(load, folder, tmp_path):
    file, text = tmp_path / "own.toml", library().joinpath(folder, "epsilon.toml").read_text()
    for summary in ("before", "after"):
        file.write_text(re.sub(r"(?m)^summary = .*$", f'summary = "{summary}"', text))
        assert load(str(file)).summary == summary
