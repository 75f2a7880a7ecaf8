"""The first pages a newcomer reads: architecture, citation, templates, and the form of the changelog."""

from __future__ import annotations

import importlib
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml


def read(repository: Path, name: str) -> str:
    return (repository / name).read_text(encoding="utf-8")


def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads(read(repository, "pyproject.toml"))


def test_names_of_the_architecture_page_exist(repository: Path) -> None:
    names = set(re.findall(r"`(imc_sim(?:\.\w+)+)`", read(repository, "docs/architecture.md")))
    assert len(names) > 30
    for name in names:
        parts = name.split(".")
        found: Any = importlib.import_module(".".join(parts[:2]))
        for part in parts[2:]:
            found = getattr(found, part)


def test_layers_of_both_pages_are_the_enforced_ones(repository: Path) -> None:
    (contract,) = [c for c in project(repository)["tool"]["importlinter"]["contracts"] if c["id"] == "layers"]
    packages = [re.findall(r"\b[a-z]\w*", line) for line in contract["layers"]]
    enforced = [sorted(names) for names in packages if names]
    rows = re.findall(
        r"^\| (`imc_sim\..*?`) \|", read(repository, "docs/architecture.md").split("## Central")[0], re.MULTILINE
    )
    assert [sorted(re.findall(r"imc_sim\.(\w+)", row)) for row in rows] == enforced
    picture = read(repository, "CONTRIBUTING.md").split("## The layers")[1].split("```")[1].splitlines()
    pictured = [
        sorted(re.findall(r"[a-z]\w*", re.split(r"\s{3,}", line.strip())[0])) for line in picture if line.strip()
    ]
    assert pictured[: len(enforced)] == enforced


def test_stable_names_resolve(repository: Path) -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```", read(repository, "docs/architecture.md"), re.MULTILINE | re.DOTALL
    )
    found: dict[str, Any] = {}
    exec(program, found)
    assert found["M"].shape[-2] == found["crossbar"].conductance.shape[-2]
    assert found["study"].name == "quickstart"


def test_citation_has_the_version_of_the_package(repository: Path) -> None:
    citation = yaml.safe_load(read(repository, "CITATION.cff"))
    assert citation["version"] == project(repository)["project"]["version"]
    assert citation["license"] == project(repository)["project"]["license"]


def test_hooks_and_templates_are_valid(repository: Path) -> None:
    (hooks,) = yaml.safe_load(read(repository, ".pre-commit-config.yaml"))["repos"]
    assert {hook["id"] for hook in hooks["hooks"]} == {"ruff-format", "ruff", "import-linter", "conventions"}
    for path in (repository / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        template = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.name == "config.yml" or {"name", "description", "body"} <= set(template)


def test_changelog_keeps_its_form(repository: Path) -> None:
    text = read(repository, "CHANGELOG.md")
    newest = text.split("\n## ")[1]
    sections = re.findall(r"^### (\w+)$", newest, re.MULTILINE)
    assert sections == [name for name in ("Added", "Changed", "Fixed", "Removed") if name in sections]
    before, *parts = newest.split("\n### ")
    assert len(parts) >= 3
    assert "\n- " not in before, "an entry outside of a section"
    for part in parts:
        entries = [line for line in part.splitlines()[1:] if line]
        assert all(re.match(r"- (?!Added|Changed|Fixed)[A-Z`0-9]", line) for line in entries), part
        assert max(map(len, entries)) <= 200, "an entry is one line"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/controllers.md"])
def test_links_lead_to_files(page: str, repository: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read(repository, page)):
        assert (repository / page).parent.joinpath(target).exists(), target


def test_ci_tests_the_floors_only_after_versions_changed(repository: Path, tmp_path: Path) -> None:
    floors = runpy.run_path(str(repository / ".ci" / "floors.py"))
    tested = floors["tested"]
    (tmp_path / ".ci").mkdir()
    texts = {name: read(repository, name) for name in ("pyproject.toml", "constraints.txt")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert not tested(tmp_path)
    (tmp_path / floors["RECORD"]).write_text(floors["state"](tmp_path), encoding="utf-8")
    assert tested(tmp_path)
    edits = [
        ("pyproject.toml", ("[tool.ruff]", "[tool.ruff]\n# a comment"), True),
        ("pyproject.toml", ('"numpy>=1.26"', '"numpy>=1.27"'), False),
        ("pyproject.toml", ('"numba>=0.60"', '"numba>=0.61"'), False),
        ("constraints.txt", ("torch==", "torch==1"), False),
    ]
    for name, (old, new), expected in edits:
        assert old in texts[name]
        (tmp_path / name).write_text(texts[name].replace(old, new), encoding="utf-8")
        assert tested(tmp_path) == expected, (name, new)
        (tmp_path / name).write_text(texts[name], encoding="utf-8")
