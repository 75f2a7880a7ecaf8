"""Find public functions and classes with incomplete docstrings, and long private functions without one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.language.exports import Function, called, exported, trees
from tests.language.texts import Finding, parsed
from tests.language.words import VERBS

#: errors that users meet
USER_ERRORS = {
    "CheckpointError", "ImcSimError", "InputError", "KeyError", "MissingDataError", "ResultsError", "TypeError",
    "ValueError",
}  # fmt: skip
#: methods that torch calls and documents
OF_TORCH = {"forward", "backward", "extra_repr", "train"}
#: lines up to which a private function needs no docstring
LONG = 8

_SECTION = re.compile(
    r"^(Args|Attributes|Returns|Yields|Raises|Shape|Units|Reference|References|Example|Examples|Note|Notes):",
    re.MULTILINE,
)
_ENTRY = re.compile(r"^ +\*{0,2}(\w+(?:, \*{0,2}\w+)*)(?: \(.*?\))?:", re.MULTILINE)


def undocumented(text: str, name: str = "x.py", public: set[str] | None = None) -> Iterator[Finding]:
    """Yield what the docstrings of public functions, classes and methods lack."""
    for node, owner, shown in definitions(text, exported()[name] if public is None else public):
        if shown and isinstance(node, ast.ClassDef):
            gaps = gaps_of_class(node)
        elif shown and not inherited(owner, node.name) and "overload" not in decorators(node):
            gaps = gaps_of_function(node)  # type: ignore[arg-type]
        else:
            continue
        yield from ((node.lineno, f"{node.name}: {gap}") for gap in gaps)


def silent(text: str, name: str = "x.py", public: set[str] | None = None) -> Iterator[Finding]:
    """Yield private functions of more than a few lines without a sentence."""
    for node, owner, shown in definitions(text, exported()[name] if public is None else public):
        lines = (node.end_lineno or 0) - node.lineno + 1
        if shown or isinstance(node, ast.ClassDef) or node.name.startswith("__") or lines <= LONG:
            continue
        if len((ast.get_docstring(node) or "").split()) < 3 and not inherited(owner, node.name):
            yield node.lineno, f"{node.name}: {lines} lines without a sentence that says what it does"


def definitions(text: str, public: set[str]) -> Iterator[tuple[Function | ast.ClassDef, ast.ClassDef | None, bool]]:
    """Yield functions and classes of a file, the class that each belongs to, and whether users see it."""
    tree = parsed(text)
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        parent, seen = todo.pop()
        for child in ast.iter_child_nodes(parent):
            shown = False
            if isinstance(child, Function | ast.ClassDef):
                if parent is tree:
                    shown = child.name in public
                elif seen and isinstance(child, Function):
                    shown = child.name == "__call__" or not child.name.startswith("_")
                yield child, parent if isinstance(parent, ast.ClassDef) else None, shown
            todo.append((child, shown and isinstance(child, ast.ClassDef)))


# -- functions -------------------------------------------------------------------------------------------------------


def gaps_of_function(function: Function) -> Iterator[str]:
    """Yield what the docstring of a public function or method lacks."""
    doc = ast.get_docstring(function)
    if doc is None:
        if function.name not in OF_TORCH:
            yield "no docstring"
        return
    if {"property", "cached_property"} & decorators(function):
        return
    first = doc.split(None, 1)[0].rstrip(".,:;")
    if first not in VERBS:
        yield f"begins with {first!r}, not with a verb in the imperative (a missing one belongs in VERBS)"
    missing = [name for name in parameters(function) if name not in documented(doc, "Args")]
    if missing:
        yield f"Args without {', '.join(missing)}"
    section = section_of_result(function)
    # "Return the median of …" is enough, as in Google's guide
    if section and not {"Returns", "Yields"} & set(sections(doc)) and first not in ("Return", "Yield"):
        yield f"no {section}"
    raised = {called(node.exc) for node in own_nodes(function) if isinstance(node, ast.Raise)} & USER_ERRORS
    if raised - documented(doc, "Raises"):
        yield f"Raises without {', '.join(sorted(raised - documented(doc, 'Raises')))}"


def sections(doc: str) -> dict[str, str]:
    """Return the sections of a Google-style docstring by their titles."""
    parts = _SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(doc: str, *titles: str) -> set[str]:
    """Return the names that these sections document."""
    found = sections(doc)
    entries = (entry for title in titles for entry in _ENTRY.findall(found.get(title, "")))
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions and classes defined in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def decorators(node: Function | ast.ClassDef) -> set[str]:
    return {called(each) for each in node.decorator_list}


def parameters(function: Function) -> list[str]:
    """Return the names of the parameters that a docstring documents."""
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = [argument.arg for argument in given if argument is not None]
    return [name for name in names if not name.startswith("_") and name not in ("self", "cls")]


def section_of_result(function: Function) -> str:
    """Return the section that a function needs for its result: Returns, Yields or none."""
    nodes = list(own_nodes(function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
        return "Yields"
    values = [node.value for node in nodes if isinstance(node, ast.Return) and node.value is not None]
    return "Returns" if any(not isinstance(v, ast.Constant) or v.value is not None for v in values) else ""


# -- classes ---------------------------------------------------------------------------------------------------------


def gaps_of_class(node: ast.ClassDef) -> Iterator[str]:
    """Yield what the docstring of a public class lacks."""
    doc = ast.get_docstring(node)
    if doc is None:
        yield "no docstring"
        return
    missing = [name for name in fields(node) if name not in documented(doc, "Args", "Attributes")]
    if missing:
        yield f"Args or Attributes without {', '.join(missing)}"


def fields(node: ast.ClassDef) -> list[str]:
    """Return what the docstring of a class documents: fields of specifications and data classes, else __init__."""
    names = {called(base) for each in (node, *bases(node)) for base in each.bases}
    if "dataclass" in decorators(node) or names & {"BaseModel", "NamedTuple", "TypedDict"}:
        return [
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and not item.target.id.startswith("_")
            and called(item.annotation) != "ClassVar"
            and not _described(item)
        ]
    inits = [item for item in node.body if isinstance(item, Function) and item.name == "__init__"]
    return [name for each in inits if ast.get_docstring(each) is None for name in parameters(each)]


def _described(item: ast.AnnAssign) -> bool:
    """Tell whether a field has a description, or is a constant such as kind: Literal["fgsm"]."""
    if isinstance(item.value, ast.Call) and any(k.arg == "description" for k in item.value.keywords):
        return True
    kind = item.annotation
    return isinstance(kind, ast.Subscript) and called(kind) == "Literal" and not isinstance(kind.slice, ast.Tuple)


@cache
def _classes() -> dict[str, list[ast.ClassDef]]:
    """Return all classes of the package by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for node in (node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        found.setdefault(node.name, []).append(node)
    return found


def bases(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    """Yield the base classes that the package defines, nearest first."""
    for base in node.bases:
        for found in _classes().get(called(base), []):
            if found is not node:
                yield found
                yield from bases(found)


def inherited(node: ast.ClassDef | None, name: str) -> bool:
    """Tell whether a base class documents the method or property of this name."""
    members = (m for base in (bases(node) if node else ()) for m in base.body if isinstance(m, Function))
    return any(member.name == name and ast.get_docstring(member) is not None for member in members)
