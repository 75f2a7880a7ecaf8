"""Imports between the files of the package: no private module of another package, no cycles, few inner imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "imc_sim"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}

#: Functions that import inside, by module. They keep `imc-sim --help`, `imc-sim list` and `import imc_sim` free of
#: torch, and load an optional or slow package where it is used. Every command does so: `imc_sim.cli` is not listed.
INNER = {
    # numba and code compiled with it are optional
    "imc_sim._rng": "entries differences signed normal",
    "imc_sim.array._compiled._signs": "signs",
    "imc_sim.array._compiled._product": "why_not has_matrix_unit kernel_name _converted multiply _in_words _width of",
    "imc_sim.array._compiled._warm_up": "_functions",
    "imc_sim.array._programmed_weights": "rounded",
    "imc_sim.array._telegraph": "_compiled_changes",
    "imc_sim.array.circuit.merge": "_compiled",
    # torch, and packages of this one that load it
    "imc_sim._threads": "one_thread _openmp",
    "imc_sim.evaluate._card": "_work evaluate_card stated_tasks",
    "imc_sim.evaluate._device": "check_there prepare_device",
    "imc_sim.evaluate._firing": "measure_firing _layers",
    "imc_sim.evaluate._measured_cells": "_read measured_chips",
    "imc_sim.evaluate._run": "_images_named _on_chips _scored _session chip_costs run",
    "imc_sim.evaluate._sensitivity": "layer_sensitivity _variants",
    "imc_sim.evaluate._tasks": "chance",
    "imc_sim.plotting._cells": "cells_data iv_of_levels",
    "imc_sim.plotting._device": "iv_data",
    "imc_sim.report._settings": "study_settings _study",
    "imc_sim.study._acting": "of_its_model _of_chip _of_model _of_task",
    "imc_sim.study._embeddings": "study_embeddings",
    "imc_sim.study._point": "is_calibrated",
    "imc_sim.study._points": "_chip _task _described",
    "imc_sim.study._schema": "_encoding _chip _model _study",
    "imc_sim.study._settings": "_chip",
    "imc_sim.study._stored_chip": "_measures_rows",
    "imc_sim.study._sweep": "sweep",
    # slow or optional packages of others
    "imc_sim.data._readers": "read_digits",
    "imc_sim.device.fit._level_data": "cdf_data sigma_data",
    "imc_sim.device.fit._column_checks": "check_names check_distinct check_headings statistics_rows",
    "imc_sim._compressed": "load_arrays",
    "imc_sim.device.fit._contents": "frame_of binary_content _sheet",
    "imc_sim.device.fit._reader": "_parsed _wanted _values _numbers",
    "imc_sim.device.fit._estimates": "frame least_squares",
    "imc_sim.evaluate._embedding": "tsne",
    "imc_sim.plotting._backend": "import_matplotlib",
    "imc_sim.onnx._branches": "_shapes _value",
    "imc_sim.onnx._file": "onnx_package read_file _recent",
    "imc_sim.report._comparison": "read_comparison",
    "imc_sim.report._pages": "plain_table",
    "imc_sim.study._table_parts": "table _distinct _places",
    "imc_sim.runs._dask": "_local _distributed",
    "imc_sim.runs._executors": "_process _dask",
    "imc_sim.study._results": "_table",
    "imc_sim.testing": "__getattr__",
}


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the names `package.module` and `package.module.name` that an import statement of this package takes."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "imc_sim")
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "imc_sim":
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owner(name: str) -> str:
    """Return the package whose files may use a name: the part before its first private component, or `imc_sim`."""
    parts = name.split(".")
    private = [i for i, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
    return ".".join(parts[: private[0]]) if private else "imc_sim"


def foreign(module: str, tree: ast.Module) -> list[str]:
    names = (name for node in ast.walk(tree) for name in imported(node))
    return [name for name in names if not f"{module}.".startswith(f"{owner(name)}.")]


@pytest.mark.parametrize("module", TREES)
def test_no_file_imports_a_private_module_of_another_package(module: str) -> None:
    assert not foreign(module, TREES[module])


def test_a_private_import_is_found() -> None:
    tree = ast.parse("def f():\n    from imc_sim.nn._norm import Norm\n    from imc_sim.nn import Norm, _layers")
    assert foreign("imc_sim.train._x", tree) == ["imc_sim.nn._norm.Norm", "imc_sim.nn._layers"]
    assert not foreign("imc_sim.nn.networks._x", tree)


def cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for module, tree in TREES.items():
        found = {name for node in ast.walk(tree) for name in imported(node)}
        graph[module] = {name if name in TREES else name.rpartition(".")[0] for name in found} & set(TREES)
    assert not cycle(graph)


def inner(tree: ast.Module) -> set[str]:
    """Return the functions of a file that import something inside, by the name of the innermost function."""
    found = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            todo: list[ast.AST] = list(function.body)
            while todo:
                node = todo.pop()
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.add(function.name)
                elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    todo += ast.iter_child_nodes(node)
    return found


def test_functions_import_inside_only_where_it_keeps_the_start_fast() -> None:
    found = {module: inner(tree) for module, tree in TREES.items() if not module.startswith("imc_sim.cli.")}
    assert {m: names for m, names in found.items() if names} == {m: set(names.split()) for m, names in INNER.items()}
