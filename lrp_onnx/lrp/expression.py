"""The grammar of rule files: parsed, never evaluated as Python.

    condition  = sum [ ("<" | "<=" | ">" | ">=") sum ]
    sum        = product { ("+" | "-") product }
    product    = unary { ("*" | "/") unary }
    unary      = "-" unary | atom
    atom       = number | name | function "(" sum ")" | "(" sum ")"

An expression is a tree of tuples, `(operator, *operands)`; a number is a float, a name a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lrp_onnx.errors import RuleError

__all__ = ["FUNCTIONS", "Expression", "names", "parse"]

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
TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(<=|>=|[-+*/()<>]))")


def parse(text: str, allowed: frozenset[str]) -> Expression:
    """Parse `text`, in which only the names in `allowed` and the functions of `FUNCTIONS` may
    occur.

    Raises RuleError with the place of the first character that does not fit the grammar.
    """
    parser = _Parser(text, list(_tokens(text)))
    tree = parser.condition()
    parser.expect_end()
    unknown = sorted(names(tree) - allowed)
    if unknown:
        known = ", ".join(sorted(allowed))
        raise RuleError(f"expression {text!r}: unknown name {unknown[0]!r}. Known here: {known}.")
    return tree


def names(tree: Expression) -> frozenset[str]:
    """The names (not the functions) that occur in an expression."""
    if isinstance(tree, tuple):
        return frozenset().union(*(names(part) for part in tree[1:]))
    return frozenset([tree] if isinstance(tree, str) else [])


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            raise RuleError(f"expression {text!r}: cannot read {text[position:].strip()[0]!r}.")
        number, name, symbol = match.groups()
        yield ("number", number) if number else ("name", name) if name else ("symbol", symbol)
        position = match.end()


@dataclass
class _Parser:
    text: str
    tokens: list[tuple[str, str]]

    def take(self, *symbols: str) -> str | None:
        if self.tokens and self.tokens[0][0] == "symbol" and self.tokens[0][1] in symbols:
            return self.tokens.pop(0)[1]
        return None

    def expect(self, symbol: str) -> None:
        if self.take(symbol) is None:
            raise self.error(f"{symbol!r} expected")

    def expect_end(self) -> None:
        if self.tokens:
            raise self.error("the expression should end")

    def error(self, fact: str) -> RuleError:
        where = f"before {self.tokens[0][1]!r}" if self.tokens else "at the end"
        return RuleError(f"expression {self.text!r}: {fact} {where}.")

    def condition(self) -> Expression:
        left = self.sum()
        symbol = self.take("<", "<=", ">", ">=")
        return (symbol, left, self.sum()) if symbol else left

    def sum(self) -> Expression:
        left = self.product()
        while symbol := self.take("+", "-"):
            left = (symbol, left, self.product())
        return left

    def product(self) -> Expression:
        left = self.unary()
        while symbol := self.take("*", "/"):
            left = (symbol, left, self.unary())
        return left

    def unary(self) -> Expression:
        if self.take("-"):
            return ("-", 0.0, self.unary())
        return self.atom()

    def atom(self) -> Expression:
        if self.take("("):
            inner = self.sum()
            self.expect(")")
            return inner
        if not self.tokens or self.tokens[0][0] == "symbol":
            raise self.error("a number, a name or '(' expected")
        kind, token = self.tokens.pop(0)
        if kind == "number":
            return float(token)
        if not self.take("("):
            return token
        if token not in FUNCTIONS:
            raise self.error(f"unknown function {token!r} (known: {', '.join(FUNCTIONS)})")
        argument = self.sum()
        self.expect(")")
        return (token, argument)
