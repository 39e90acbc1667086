"""The careless changes of a file: mutmut's operators and a few of ours, at every node that is behaviour.

mutmut's own runner leaves out decorated functions, constants and defaults, because it keeps all mutants of a function
side by side behind a switch. Here each mutant is a whole source text, so nothing has to be left out for that.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

SWAPS = {
    **{a: b for pair in ("min max", "amin amax", "argmin argmax", "any all", "floor ceil", "minimum maximum",
                         "zeros ones", "zeros_like ones_like", "height width") for a, b in
       (pair.split(), pair.split()[::-1])},
    "sum": "mean", "mean": "sum", "clamp_min": "clamp_max", "sorted": "list",
}  # fmt: skip

LIBRARY = m.OneOf(*(m.Name(name) for name in ("torch", "F", "np", "nn", "json", "math", "ndimage", "Image")))
CONVERSION = (
    m.Name("bool") | m.Name("list") | m.Name("tuple") | m.Name("Path")
)  # for the type checker, mostly
FUNCTION = m.Name() | m.Attribute(value=LIBRARY)


def swapped_name(node: cst.Name) -> Iterator[cst.Name]:
    """`min` becomes `max`, height becomes width."""
    if node.value in SWAPS:
        yield node.with_changes(value=SWAPS[node.value])


def dropped_statement(node: cst.SimpleStatementLine) -> Iterator[cst.SimpleStatementLine]:
    """`model.train()` becomes `pass`."""
    if m.matches(node, m.SimpleStatementLine(body=[m.Expr(m.Call()) | m.AugAssign()])):
        yield node.with_changes(body=[cst.Pass()])


def dropped_call(node: cst.Call) -> Iterator[cst.BaseExpression]:
    """`minmax(x)` and `F.relu(x)` become `x`, and so does `x.float()`."""
    if m.matches(node, m.Call(func=CONVERSION)):
        return
    if m.matches(node, m.Call(func=FUNCTION)):
        if m.matches(node, m.Call(args=[m.Arg(star="", keyword=None), m.ZeroOrMore()])):
            yield node.args[0].value
    elif m.matches(node, m.Call(func=m.Attribute())):
        yield cst.ensure_type(node.func, cst.Attribute).value


def decided_if(node: cst.If) -> Iterator[cst.If]:
    """`if flip:` always or never."""
    for word in ("True", "False"):
        yield node.with_changes(test=cst.Name(word), whitespace_before_test=cst.SimpleWhitespace(" "))


def one_less(node: cst.Integer) -> Iterator[cst.BaseExpression]:
    """`2` becomes `1`; mutmut's own makes it 3."""
    if int(node.value, 0) > 0:
        yield cst.Integer(str(int(node.value, 0) - 1))


OURS = [
    (cst.Name, swapped_name),
    (cst.SimpleStatementLine, dropped_statement),
    (cst.Call, dropped_call),
    (cst.If, decided_if),
    (cst.Integer, one_less),
]

SENTENCE = 3  # words: a text for a reader, wherever it stands
MESSAGES = ("print", "warn", "debug", "info", "warning")
ARG = m.Arg(keyword=m.Name("help") | m.Name("stacklevel") | m.Name("strict"))  # zip(strict=) only asserts
TEXT = m.SimpleString() | m.FormattedString() | m.ConcatenatedString()
# What no test should pin down: types, the list of public names, how a dataclass is made, what only a reader sees.
EXEMPT = m.OneOf(
    m.Annotation(),
    m.Assert(),
    m.Import(),
    m.ImportFrom(),
    m.Assign(targets=[m.AssignTarget(m.Name("__all__"))]),
    m.Assign(value=m.Call(m.Name("TypeVar"))),
    m.AnnAssign(value=None),
    m.AnnAssign(annotation=m.Annotation(m.Name("TypeAlias"))),
    m.If(m.Name("TYPE_CHECKING") | m.Comparison(m.Name("__name__"))),
    m.Decorator(m.Call(m.Name("dataclass") | m.Name("lru_cache"))),
    m.Call(m.Name("isinstance") | m.Name("len")),
    ARG,
)
MESSAGE = m.Raise() | m.Call(
    m.OneOf(*(m.Name(name) | m.Attribute(attr=m.Name(name)) for name in MESSAGES))
)  # their texts are exempt, not what they compute


@dataclass(frozen=True)
class Mutant:
    """One change: where, by which operator, which lines a test has to run to notice it (None: importing does)."""

    file: Path
    line: int
    kind: str
    lines: range | None
    module: cst.Module
    node: cst.CSTNode
    changed: cst.CSTNode

    def source(self) -> str:
        """The whole file with the change."""
        done = self.module.deep_replace(self.node, self.changed)
        return cst.ensure_type(done, cst.Module).code

    def diff(self) -> str:
        """The changed lines alone."""
        lines = difflib.unified_diff(
            self.module.code.splitlines(), self.source().splitlines(), n=0, lineterm=""
        )
        return "\n".join(list(lines)[3:])

    def compiles(self) -> bool:
        """Whether it is Python at all, and not the same program."""
        try:
            return ast.dump(ast.parse(self.source())) != ast.dump(ast.parse(self.module.code))
        except (SyntaxError, cst.CSTValidationError):
            return False


class Finder(cst.CSTVisitor):
    """Walks a module and keeps every mutant of it."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.above, self.found = file, [], []  # type: ignore[var-annotated]

    def on_visit(self, node: cst.CSTNode) -> bool:
        docstring = m.matches(node, m.Expr(TEXT))
        if docstring or m.matches(node, EXEMPT):
            return False
        self.above.append(node)
        in_message = any(m.matches(outer, MESSAGE) for outer in self.above)
        for kind, operator in [*mutation_operators, *OURS]:
            if not isinstance(node, kind):
                continue
            if isinstance(node, cst.BaseString) and (in_message or node_words(node) >= SENTENCE):
                continue
            if in_message and _has_text(node):
                continue
            changes: Iterable[cst.CSTNode] = operator(node)  # type: ignore[operator]
            if operator.__name__ == "operator_string":
                changes = list(changes)[:1]  # "XXnameXX"; upper and lower case tell nothing more
            if operator.__name__ == "operator_arg_removal":
                changes = [changed for changed in changes if not _touches_exempt(node, changed)]
            for changed in changes:
                lines = self._lines()
                line = self._range(node).start.line
                self.found.append(
                    Mutant(self.file, line, operator.__name__, lines, self.above[0], node, changed)
                )
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self.above and self.above[-1] is original_node:
            self.above.pop()

    def _range(self, node: cst.CSTNode) -> CodeRange:
        """Of the node or of the nearest around it: operators have no position of their own."""
        for near in (node, *reversed(self.above)):
            found = self.get_metadata(PositionProvider, near, None)
            if isinstance(found, CodeRange):
                return found
        raise LookupError("a module has a position")

    def _lines(self) -> range | None:
        """The lines of the statement; of a default, the whole function; of a constant, none."""
        functions = [i for i, node in enumerate(self.above) if isinstance(node, cst.FunctionDef)]
        inner = self.above[functions[-1] :] if functions else []
        parts = [node for node in inner if isinstance(node, (cst.Param, cst.Decorator))]
        if not inner or any(isinstance(node, cst.Decorator) for node in parts):
            return None
        if any(isinstance(node, cst.Parameters) and node is inner[0].params for node in inner):
            span = self._range(inner[0].body)
            return range(span.start.line, span.end.line + 1)
        statement = next((n for n in reversed(inner) if isinstance(n, cst.SimpleStatementLine)), inner[-1])
        first = next(
            n for n in reversed(inner) if isinstance(n, (cst.BaseCompoundStatement, cst.SimpleStatementLine))
        )
        return range(self._range(first).start.line, self._range(statement).end.line + 1)


def node_words(node: cst.BaseString) -> int:
    """How many words stand in a literal."""
    return len(node.value.split()) if isinstance(node, cst.SimpleString) else 0


def _has_text(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and any(m.matches(arg.value, TEXT) for arg in node.args)


def _touches_exempt(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """An exempt argument, or False made None, which nothing can tell apart."""
    old, new = (cst.ensure_type(call, cst.Call).args for call in (node, changed))
    gone = [arg for arg in old if not any(arg is kept for kept in new)]
    as_good = len(old) == len(new) and any(m.matches(arg.value, m.Name("False")) for arg in gone)
    return as_good or any(m.matches(arg, ARG) for arg in gone)


def mutants(file: Path) -> list[Mutant]:
    """All of a file, in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(file.read_text(encoding="utf-8")))
    finder = Finder(file)
    wrapper.visit(finder)
    return list(finder.found)


def draw(found: list[Mutant], count: int, seed: int) -> Iterator[Mutant]:
    """A random sample, every kind of change in turn: otherwise half would be arguments set to None."""
    kinds = defaultdict(list)
    for mutant in found:
        kinds[mutant.kind].append(mutant)
    rng = random.Random(seed)
    for of_kind in kinds.values():
        rng.shuffle(of_kind)
    order = sorted(kinds)
    rng.shuffle(order)
    turns = zip_longest(*(kinds[kind] for kind in order))
    able = (mutant for turn in turns for mutant in turn if mutant is not None and mutant.compiles())
    for _, mutant in zip(range(count), able):
        yield mutant
