"""Rules of the code that no linter has."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import imc_sim
from imc_sim.config import content_names

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "imc_sim").rglob("*.py"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "Makefile"]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(imc_sim.__path__, "imc_sim.")
    if not name.endswith("__main__")
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.rsplit(".", 1)[1].startswith("_")])
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    for each in exported:
        assert getattr(module, each, None) is not None, each


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_files_are_short_functions_documented_and_input_never_asserted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} in line {node.lineno} has no docstring"


#: The only file that uses global random generators: it seeds those that MemTorch uses and restores them.
FENCES = [ROOT / "imc_sim" / folder / "_global_random.py" for folder in ("backends/memtorch", "evaluate")]


@pytest.mark.parametrize("path", [p for p in SOURCES if p not in FENCES], ids=short)
def test_no_global_random_state(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = r"seed|rand|randn|normal|choice|shuffle|permutation|randint|get_state|set_state"
    assert not re.search(rf"np\.random\.({functions})\(", text)
    assert not re.search(r"^\s*random\.(seed|random|shuffle|choice|setstate)\(", text, re.MULTILINE)


@pytest.mark.parametrize("path", [p for p in TEXTS if p.exists()], ids=short)
def test_names_in_texts_resolve(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {kind: set(content_names(kind)) for kind in ("model", "chip", "study", "queue")}
    own = {"STUDY", "MODEL", "NAME", "QUEUE", "mine", "results", "runs", "models", "…"}
    wanted = {
        "study": re.findall(r"imc-sim run (\w[\w.-]*)", text) + re.findall(r"load_study\(\"([\w-]+)\"\)", text),
        "chip": re.findall(r"--chip ([\w-]+)", text) + re.findall(r"load_chip\(\"([\w-]+)\"\)", text),
        "queue": re.findall(r"--queue (\w[\w-]*)", text),
        "model": re.findall(r"imc-sim (?:evaluate|train|map) (\w[\w-]*)", text)
        + re.findall(r"load_model\(\"([\w-]+)\"\)", text),
    }
    for kind, names in wanted.items():
        missing = (
            {name for name in names if not name.startswith("my") and not name.endswith(".yaml")} - known[kind] - own
        )
        assert not missing, f"{kind}: {missing}"


@pytest.mark.parametrize("kind", ["model", "chip", "study"])
def test_shipped_yaml_names_itself_as_its_file(kind: str) -> None:
    from imc_sim.config import find_card, find_content, read_yaml

    for name in content_names(kind):  # type: ignore[arg-type]
        data = find_card(name).data if kind == "model" else read_yaml(find_content(kind, name))  # type: ignore[arg-type]
        assert data.get("name", name) == name


def test_no_path_of_a_machine_in_the_project() -> None:
    texts = [p for folder in ("imc_sim", "docs", "models", "device_configs", "studies", "benchmarks")
             for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".md", ".yaml", ".csv"}]  # fmt: skip
    for path in [*texts, *(ROOT / name for name in ("README.md", "Makefile", "pyproject.toml", "constraints.txt"))]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(?:home|root|tmp)/\w|/site-packages/|index-url|find-links", text), path
        assert str(ROOT) not in text, path
