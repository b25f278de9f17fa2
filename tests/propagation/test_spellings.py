"""A rule is what it computes: however its file spells it, the same graph is compiled."""

from __future__ import annotations

import pytest
from graph_text import text_of
from models import network

import lrp_onnx
from lrp_onnx.compiler.stages import run_stages
from lrp_onnx.options import CompileOptions

HEAD = 'summary = "a spelling"\nreference = "none"\n'
NETWORKS = {
    "relu": network(
        "z = Conv<pads=[1,1,1,1]>(x, w, b) h = Relu(z) k = Conv<strides=[2,2]>(h, v) r = Relu(k) "
        "f = Flatten(r) y = Gemm<transB=1>(f, u, c)",
        (1, 2, 6, 6), w=(3, 2, 3, 3), b=(3,), v=(4, 3, 2, 2), u=(3, 36), c=(3,),
    ),
    "silu": network(
        "z = Conv<pads=[1,1,1,1]>(x, w, b) s = Sigmoid(z) h = Mul(z, s) k = Conv(h, v) "
        "a = Add(k, x) f = Flatten(a) y = MatMul(f, u)",
        (1, 2, 6, 6), w=(3, 2, 3, 3), b=(3,), v=(2, 3, 1, 1), u=(72, 3),
    ),
}  # fmt: skip


def share(*terms: tuple[str, ...], where: str = "", factor: str = "") -> str:
    """[[share]] of terms (x, w, b) or (x, w, b, factor)."""
    rows = [
        "{ " + ", ".join(f'{k} = "{v}"' for k, v in zip("xwbf", term, strict=False)) + " }"
        for term in terms
    ]
    lines = [f'where = "{where}"' if where else "", f'factor = "{factor}"' if factor else ""]
    text = "\n".join(["[[share]]", *filter(None, lines), f"terms = [{', '.join(rows)}]"])
    return text.replace("f = ", "factor = ").replace("where = ", "where = ") + "\n"


UP, DOWN = ("pos(x)", "pos(w)", "pos(b)"), ("neg(x)", "neg(w)", "0")
GAMMA = "parameters = { gamma = { default = 0.25 }, epsilon = { default = 1e-6 } }\n"
BETA = "parameters = { beta = { default = 1 }, epsilon = { default = 1e-6 } }\n"
ZPLUS = {
    "absolute values": share(
        ("(x + abs(x))/2", "(w + abs(w))/2", "(b + abs(b))/2"), ("(x - abs(x))/2", "neg(w)", "0")
    ),
    "summands swapped": share(DOWN, UP),
    "factored constants": share(
        ("2*pos(x)", "0.5*pos(w)", "pos(b)"), ("3*neg(x)", "neg(w)/3", "0")
    ),
    "a term of a term": share(("pos(x)", "2*pos(w)", "2*pos(b)", "0.5"), DOWN),
    "terms split": share(("pos(x)", "0.5*pos(w)", "pos(b)"), ("pos(x)", "0.5*pos(w)", "0"), DOWN),
    "shares split": share(UP, DOWN, factor="0.25") + share(UP, DOWN, factor="0.75"),
    "steps": share(("x*step(x)", "step(w)*w", "pos(b)"), DOWN),
    "differences": share(("x - neg(x)", "w - neg(w)", "b - neg(b)"), ("x - pos(x)", "neg(w)", "0")),
    "signs turned": share(
        ("neg(0 - x)", "neg(0 - w)", "pos(b)"), ("pos(0 - x)", "pos(0 - w)", "0")
    ),
}
LARGER, SMALLER = ("w + gamma*pos(w)", "b + gamma*pos(b)"), ("w + gamma*neg(w)", "b + gamma*neg(b)")
ABOVE = share(("pos(x)", *LARGER), ("neg(x)", SMALLER[0], "0"), where="z > 0")
BELOW = share(("pos(x)", *SMALLER), ("neg(x)", LARGER[0], "0"), where="z < 0")
SPELLINGS = {
    "zplus": ZPLUS,
    "gamma": {
        "shares swapped": GAMMA + BELOW + ABOVE,
        "conditions turned": GAMMA
        + ABOVE.replace("z > 0", "0 < z")
        + BELOW.replace("z < 0", "0 > z"),
        "parts added up": GAMMA
        + ABOVE.replace(LARGER[0], "(1 + gamma)*pos(w) + neg(w)").replace(
            SMALLER[0], "pos(w) + (1 + gamma)*neg(w)"
        )
        + BELOW,
        "absolute values": GAMMA
        + ABOVE
        + BELOW.replace(LARGER[0], "w + gamma*(w + abs(w))/2").replace("neg(x)", "(x - abs(x))/2"),
    },
    "alpha-beta": {
        "shares swapped": BETA
        + share(("pos(x)", "neg(w)", "neg(b)"), ("neg(x)", "pos(w)", "0"), factor="0 - beta")
        + share(UP, DOWN, factor="1 + beta"),
        "shares split": BETA
        + share(UP, DOWN)
        + share(("pos(x)", "neg(w)", "neg(b)"), ("neg(x)", "pos(w)", "0"), factor="-beta")
        + share(UP, DOWN, factor="beta"),
    },
    "epsilon": {
        "parts": share(("pos(x) + neg(x)", "pos(w) + neg(w)", "b")),
        "parts of x": share(("pos(x)", "w", "b"), ("neg(x)", "w", "0")),
    },
}
ROWS = [(rule, name) for rule, spellings in SPELLINGS.items() for name in spellings]


@pytest.mark.parametrize(("rule", "name"), ROWS, ids=["-".join(row) for row in ROWS])
@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_every_spelling_is_the_library_s_graph(model, rule, name, tmp_path):
    file = tmp_path / f"{rule}.toml"
    file.write_text(HEAD + SPELLINGS[rule][name])
    assert graph(model, str(file)) == graph(model, rule)


def test_another_rule_is_another_graph(tmp_path):
    file = tmp_path / "zplus.toml"
    file.write_text(HEAD + share(UP, ("neg(x)", "0.5*neg(w)", "0")))
    assert graph(NETWORKS["silu"], str(file)) != graph(NETWORKS["silu"], "zplus")


def graph(model, rule):
    linear = {n.op_type for n in model.graph.node} & {"Conv", "Gemm", "MatMul"}
    rules = dict.fromkeys(sorted(linear), rule)
    return text_of(lrp_onnx.compile(model, rules=rules, check=False).model)


def reasons(composite):
    told = []

    def observe(stage, model, seconds, result):
        if stage == "rewrite":
            told.extend(result)

    options = CompileOptions(composite=composite, check=False)
    run_stages(NETWORKS["silu"], options, observe)
    return told


def test_a_layer_without_a_cheaper_form_says_why():
    assert reasons("gamma") == []
    assert len(reasons("wsquare")) == 3
    assert all("its terms are no sums of parts" in reason for reason in reasons("wsquare"))
