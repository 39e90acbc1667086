"""A function's signature and docstring, read from the source of its module, which is not run.

The module of a verb loads torch, timm and scipy at its top: seconds, for a `--help`. What stands in a signature, types
and constants, is taken from where it is written: in the module, or in the one it is imported from.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

OURS = "getam"


def declared(module: str, function: str) -> Callable[..., Any]:
    """A function with the signature and docstring of the one named, and no body; its return type is left out.

    Where the module comes without its source, the function itself.

    Raises:
        LookupError: the module defines no such function, or its signature has a name that is defined nowhere.
    """
    tree = _tree(module)
    if tree is None:
        return getattr(import_module(module), function)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            bare = copy.copy(node)
            bare.body, bare.returns, bare.decorator_list = node.body[:1], None, []  # the docstring is left
            names = _names(node.args, module)
            exec(compile(ast.Module([bare], []), module, "exec", dont_inherit=True), names)
            return names[function]
    raise LookupError(f"{module} defines no function {function}")


def _value(module: str, name: str) -> Any:
    """What a name is at the top of a module."""
    tree = _tree(module)
    if tree is None:
        return getattr(import_module(module), name)
    for node in tree.body:
        match node:
            case ast.ImportFrom(module=str(source)):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _value(source, alias.name) if _is_ours(source) else _loaded(source, alias.name)
            case ast.Import():
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return import_module(alias.name)
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return eval(compile(ast.Expression(value), module, "eval"), _names(value, module))
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                return eval(compile(ast.Expression(value), module, "eval"), _names(value, module))
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise LookupError(f"{module} does not say at its top what {name} is")


def _names(node: ast.AST, module: str) -> dict[str, Any]:
    """The names in an expression or in a signature, and what they are."""
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return {name: _value(module, name) for name in found}


def _loaded(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == OURS


@functools.cache
def _tree(module: str) -> ast.Module | None:
    """Its source; None where there is none."""
    spec = find_spec(module)
    get_source = getattr(spec and spec.loader, "get_source", None)
    source = get_source(module) if get_source else None
    return None if source is None else ast.parse(source)
