"""Find what the package exports, and where each exported name is defined."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.language.texts import parsed

ROOT = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def called(node: ast.AST | None) -> str:
    """Return the last name of a decorator, a base class or a raised error: `b` of `a.b(...)`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax trees of the package by the names of their files."""
    return {short(p): parsed(p.read_text(encoding="utf-8")) for p in sorted((ROOT / "imc_sim").rglob("*.py"))}


@cache
def exported() -> dict[str, set[str]]:
    """Return the names that packages and public modules export, by the file that defines them."""
    found: dict[str, set[str]] = {path: set() for path in trees()}
    for path, tree in trees().items():
        if path.endswith("/__init__.py"):
            for home, name in filter(None, (_home(path, each) for each in _all(tree))):
                found.setdefault(home, set()).add(name)
        elif not Path(path).stem.startswith("_"):
            public = [n.name for n in tree.body if isinstance(n, ast.ClassDef | Function)]
            found[path] |= {each for each in _all(tree) or public if not each.startswith("_")}
    return found


def _all(tree: ast.Module) -> list[str]:
    """Return the literal __all__ of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and called(node.targets[0]) == "__all__" and isinstance(node.value, ast.List):
            return [item.value for item in node.value.elts if isinstance(item, ast.Constant)]  # type: ignore[misc]
    return []


def _home(path: str, name: str) -> tuple[str, str] | None:
    """Return the file that defines a name of a package's __init__, following imports, and its name there."""
    place, original = _imported(path).get(name, ("", name))
    package = f"{place}/__init__.py"
    if not place:
        return path, name
    if package not in trees():
        return f"{place}.py", original
    return _home(package, original) if package != path else None


@cache
def _imported(path: str) -> dict[str, tuple[str, str]]:
    """Return the names that a file imports from this package: module as a path, name there."""
    nodes = (node for node in ast.walk(trees()[path]) if isinstance(node, ast.ImportFrom) and node.module)
    return {
        alias.asname or alias.name: (node.module.replace(".", "/"), alias.name)
        for node in nodes
        if node.module and node.module.split(".")[0] == "imc_sim"
        for alias in node.names
    }
