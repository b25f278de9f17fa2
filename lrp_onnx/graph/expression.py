"""The grammar of rules and of derivatives: a part of Python's, parsed and never run.

    condition  = sum [ ("<" | "<=" | ">" | ">=" | "==") sum ]
    sum        = product { ("+" | "-") product }
    product    = unary { ("*" | "/") unary }
    unary      = "-" unary | atom
    atom       = number | name | function "(" sum ")" | "(" sum ")"

and in derivatives a choice, `sum "if" condition "else" sum`.  An expression is a tree of tuples,
`(operator, *operands)`; a number is a float, a name a string.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Collection

from lrp_onnx.errors import RuleError

__all__ = ["CHOICE", "FUNCTIONS", "Expression", "names", "parse"]

Expression = float | str | tuple["str | Expression", ...]

FUNCTIONS = {
    "pos": "max(v, 0)",
    "neg": "min(v, 0)",
    "abs": "|v|",
    "step": "1 where v > 0, else 0",
    "sigmoid": "1 / (1 + exp(-v))",
    "finite": "v where it is finite, else 0",
    "rms": "root of the mean square over each sample",
}
"""What rules may call."""
CHOICE = "if"
"""The operator of `a if c else b`, whose operands are a, b and c."""
SYMBOLS: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
COMPARISONS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
}


def parse(
    text: str, allowed: Collection[str], functions: Collection[str] = tuple(FUNCTIONS)
) -> Expression:
    """Parse `text`, in which only the names in `allowed` and these functions may occur.

    Raises RuleError with the part that does not fit the grammar.
    """

    def read(node: ast.AST, may_compare: bool = False) -> Expression:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if not abs(number) <= sys.float_info.max:
                    raise error("a number in it is too large. Write a smaller one.")
                return float(number)
            case ast.Name(id=name):
                if name not in allowed:
                    known = ", ".join(sorted(allowed))
                    raise error(f"unknown name {name!r}. Known here: {known}.")
                return name
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return ("-", 0.0, read(a))
            case ast.BinOp(left=a, op=kind, right=b) if type(kind) in SYMBOLS:
                return (SYMBOLS[type(kind)], read(a), read(b))
            case ast.Compare(left=a, ops=[kind], comparators=[b]) if type(kind) in COMPARISONS:
                if may_compare:
                    return (COMPARISONS[type(kind)], read(a), read(b))
            case ast.IfExp(test=c, body=a, orelse=b) if CHOICE in functions:
                return (CHOICE, read(a), read(b), read(c, may_compare=True))
            case ast.Call(func=ast.Name(id=name), args=[a], keywords=[]):
                if name not in functions:
                    known = ", ".join(functions)
                    raise error(f"unknown function {name!r} (known: {known}).")
                return (name, read(a))
        raise error(f"cannot read {ast.unparse(node)!r}. {EXPECTED}")

    def error(fact: str) -> RuleError:
        return RuleError(f"expression {text!r}: {fact}")

    line = " ".join(text.split())
    if len(line) > LONGEST:
        raise RuleError(
            f"expression {line[:40]!r}… is {len(line)} characters long, and {LONGEST} are read. "
            "Write it shorter."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of `1if`: it is read or refused
            tree = ast.parse(line, mode="eval").body
    except SyntaxError as e:
        raise error(f"cannot read {line[(e.offset or 1) - 1 :]!r}. {EXPECTED}") from e
    except (ValueError, MemoryError, RecursionError) as e:  # a zero byte; nested beyond the parser
        raise error(f"cannot be read. {EXPECTED}") from e
    return read(tree, may_compare=True)


LONGEST = 500
"""Characters of an expression; deeper ones than fit could not be followed."""
EXPECTED = "Write numbers, names, functions and parentheses, joined by + - * /."


def names(tree: Expression) -> frozenset[str]:
    """The names (not the functions) that occur in an expression."""
    if isinstance(tree, tuple):
        return frozenset().union(*(names(part) for part in tree[1:]))
    return frozenset([tree] if isinstance(tree, str) else [])
