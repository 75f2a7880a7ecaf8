"""Every file of the package is written in full or not at all, by `imc_sim._files` alone."""

from __future__ import annotations

import ast
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from imc_sim import _files
from imc_sim._errors import ResultsWarning
from imc_sim.cli import main
from imc_sim.plotting import draw
from imc_sim.report import fill_pages, write_report
from imc_sim.report._comparison import write_comparison
from imc_sim.runs import RowRules, RowStore, lines_of
from imc_sim.runs._row_store import FolderKind, heal
from imc_sim.study import combine, merge, run
from imc_sim.testing import stand_in_evaluator

PACKAGE = Path(_files.__file__).parent
#: calls that change files or folders
WRITERS = {
    "write_text", "write_bytes", "touch", "rename", "renames", "symlink_to", "hardlink_to", "mkdir", "makedirs",
    "truncate", "copy2", "copyfile", "copyfileobj", "copytree", "move", "extract", "extractall", "mkdtemp", "mkstemp",
    "NamedTemporaryFile", "tofile", "savetxt", "savez", "savez_compressed", "open_memmap", "save", "save_file",
    "savefig", "imsave", "print_png", "print_svg", "to_csv", "to_parquet", "to_json", "to_html",
    "to_excel", "to_pickle", "to_markdown", "to_latex", "to_feather", "dump", "urlretrieve", "unpack_archive",
}  # fmt: skip
#: what else is written: downloads, which `publish` renames, the log that a run holds open, its lock, devices, and flags
#: of tests; `save` of nn/store/_weights.py is that of safetensors, which returns bytes
EXCEPTIONS = {
    "data/_fetch.py": {"part.open", "tempfile.mkdtemp", "packed.extractall"},
    "runs/_row_store.py": {"file.truncate"},
    "runs/_lock.py": {"self._file.truncate"},
    "study/_probe.py": {"Path('/proc/self/clear_refs').write_text"},
    "nn/store/_weights.py": {"save"},
    "testing/_executor_contract.py": {"flag.touch"},
    "cli/_app.py": {"os.open", "Path(os.devnull).open"},
}


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield calls that write into a path, with the name of what is called."""
    buffers = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in ("io.BytesIO()", "io.StringIO()")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("write_file"):
            buffers |= {a.arg for x in node.args if isinstance(x, ast.Lambda) for a in x.args.args}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rsplit(".", 1)[-1]
        if any(isinstance(a, ast.Name) and a.id in buffers for a in node.args[:2]):
            continue
        if opens(node, name) or renames(node, name) or (name in WRITERS and not returns_text(node, name)):
            yield node, ast.unparse(node.func)


def opens(node: ast.Call, name: str) -> bool:
    if name not in ("open", "fdopen", "memmap"):
        return False
    words = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
    modes = [w for w in words if isinstance(w, str) and len(w) <= 3 and set(w) <= set("rwaxbt+")]
    plain = not node.args and not node.keywords
    reads = {"Image.open", "tarfile.open", "opener"}
    if ast.unparse(node.func) in reads or plain:
        return False
    if ast.unparse(node.func) == "os.open":
        return "os.O_RDONLY" not in ast.unparse(node)
    return any(set(mode) & set("wax+") for mode in modes) or not (modes or all(k.arg != "mode" for k in node.keywords))


def renames(node: ast.Call, name: str) -> bool:
    """`Path.replace` takes one argument, every other `replace` two or keywords."""
    own = len(node.args) == 1 and not node.keywords
    return name == "replace" and (own or ast.unparse(node.func) == "os.replace")


def returns_text(node: ast.Call, name: str) -> bool:
    if name == "dump":  # into a text
        return ast.unparse(node.func) == "yaml.dump" and "Dumper=_Dumper" in ast.unparse(node) and len(node.args) == 1
    if ast.unparse(node.func) == "safetensors.torch.save":
        return True
    if name == "rename" and [k.arg for k in node.keywords] == ["columns"]:  # of a DataFrame
        return True
    return name.startswith("to_") and not node.args and all(k.arg != "path_or_buf" for k in node.keywords)


@pytest.mark.parametrize(
    "path", [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "_files.py"],
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)  # fmt: skip
def test_no_other_module_writes(path: Path) -> None:
    allowed = EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix(), set())
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node, name in calls(ast.parse(path.read_text(encoding="utf-8")))
        if not any(name.endswith(each) for each in allowed)
    ]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text(t)", "open(path, 'w')", "path.open('ab')", "path.open(mode='x')", "io.open(p, 'r+')",
        "data.to_csv(path)", "data.to_csv(path_or_buf=path)", "figure.savefig(path)", "np.save(path, a)",
        "torch.save(state, path)", "part.replace(path)", "os.replace(a, b)", "os.rename(a, b)",
        "yaml.dump(data, file)", "image.save(path)", "shutil.copyfile(a, b)", "os.open(p, os.O_WRONLY)",
    ],
)  # fmt: skip
def test_the_rule_finds_writers(code: str) -> None:
    assert len(list(calls(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "path.open('rb')", "open(path)", "path.open(encoding='utf-8')", "text.replace('a', 'b')",
        "data.to_csv(index=False)",
        "buffer = io.BytesIO()\ntorch.save(state, buffer)", "write_file(path, lambda file: figure.savefig(file))",
    ],
)  # fmt: skip
def test_the_rule_allows_readers(code: str) -> None:
    assert not list(calls(ast.parse(code)))


#: paths opened for writing while a test listens
_OPENED: list[Path] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED is not None and isinstance(arguments[0], str | bytes | os.PathLike):
        flags = arguments[2]
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            _OPENED.append(Path(os.fsdecode(arguments[0])))


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(_listen)  # it cannot be removed again


@pytest.fixture
def opened(_hook: None, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Yield paths that are opened for writing during the test."""
    found: list[Path] = []
    monkeypatch.setattr(sys.modules[__name__], "_OPENED", found)
    return found


STUDY = {
    "name": "small", "model": "batmann_5w1s_xnor", "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test", "episodes": 5},
    "cases": [{"name": "a", "published": 0.9}, {"name": "b", "set": {"task.keys": "binary"}}], "chips": {"min": 3},
}  # fmt: skip


def _study(folder: Path) -> None:
    results = run(STUDY, folder / "out", evaluator=stand_in_evaluator)
    merge([folder / "out"], folder / "other")
    combine([folder / "out"], formats=["csv"])
    draw(results)
    write_report(results)
    write_comparison(results)
    fill_pages([folder / "page.md"], [results])


def _device(folder: Path) -> None:
    assert main(["import", str(folder / "cells.csv"), f"--out={folder / 'out' / 'mine.yaml'}"]) == 0


@pytest.mark.parametrize(("write", "least"), [(_study, 10), (_device, 4)])
def test_only_logs_are_written_under_their_own_name(
    write: Callable[[Path], None], least: int, tmp_path: Path, opened: list[Path]
) -> None:
    """Everything else is written as `.NAME.….part` and renamed."""
    (tmp_path / "page.md").write_text("<!-- table small -->\n<!-- end of table -->\n")
    rows = "".join(f"{100 + k},{10 + k / 10}\n" for k in range(30))
    (tmp_path / "cells.csv").write_text(f"LRS (uS),HRS (uS)\n{rows}")
    opened.clear()
    write(tmp_path)
    names = {path.name for path in opened if tmp_path in path.parents}
    parts = {name for name in names if name.startswith(".") and name.endswith(".part")}
    assert names - parts <= {"trials.jsonl", ".lock"}
    assert len(parts) >= least


def test_lines_that_do_not_fit_leave_a_log_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    _files.append(log, b"one\n")

    def full(file: IO[bytes], content: bytes) -> None:
        file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files, "write_all", full)
    with pytest.raises(OSError, match=r"No space left.*log"):
        _files.append(log, b"another\n")
    assert log.read_bytes() == b"one\n"


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Inodes of the folders in which a name was made, replaced or removed since they were last synced."""
    changed: set[int] = set()

    def change(name: str, real: Callable[..., None], path: Any, *rest: Any) -> None:
        real(path, *rest)
        named = Path(os.fsdecode(rest[0] if name in ("replace", "rename") else path))
        if not named.name.startswith("."):
            changed.add(named.parent.stat().st_ino)

    for name in ("replace", "rename", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, functools.partial(change, name, getattr(os, name)))
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (fsync(file), changed.discard(os.fstat(file).st_ino))[0])
    return changed


ROWS = FolderKind("rows", "rows.yaml", "rows.jsonl", lambda: "a: 1\n", RowRules(("state",)), lambda _: False)
ROW = {"id": "0", "state": "done"}


def _stored(folder: Path) -> None:
    """Rows that a run rescued, and a damaged line."""
    (folder / "rows.rescued.jsonl").write_bytes(lines_of([ROW]))
    (folder / "rows.jsonl").write_bytes(b"no row\n")
    with pytest.warns(ResultsWarning, match="damaged"), RowStore(folder, ROWS) as store:
        assert store.rows == {"0": json.loads(lines_of([ROW]))}
    assert not (folder / "rows.rescued.jsonl").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: _files.write_file(folder / "a", "new"),
        lambda folder: _files.write_folder(folder / "b" / "c" / "d", {"x": b"1", "y": b"2"}),
        lambda folder: _files.write_folder(folder, {"x": b"1", "y": b"2"}),
        lambda folder: _files.write_folder(folder, {"s/x": b"1", "t/u/y": b"2"}),
        lambda folder: ((folder / "part").write_text("x"), _files.publish(folder / "part", folder / "whole")),
        lambda folder: _files.make_folder(folder / "b" / "c" / "d"),
        _stored,
    ],
)
def test_every_name_that_changes_is_on_disk(
    write: Callable[[Path], object], tmp_path: Path, unsynced: set[int]
) -> None:
    write(tmp_path)
    assert not unsynced


@pytest.mark.parametrize("write", [lambda path: _files.append(path, b"one\n"), heal])
def test_the_name_of_a_new_log_is_on_disk(
    write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (fsync(file), synced.append(os.fstat(file).st_ino))[0])
    write(tmp_path / "log")
    assert synced[-1] == tmp_path.stat().st_ino


def test_names_of_new_files_and_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was not synced may be gone after a power cut, with all that it holds."""
    synced: list[str] = []
    monkeypatch.setattr(_files, "sync_folder", lambda folder: synced.append(folder.relative_to(tmp_path).as_posix()))
    _files.make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [".", "a", "a/b"]
    for content, wanted in ((b"one\n", ["a"]), (b"two\n", [])):
        synced.clear()
        _files.append(tmp_path / "a" / "log", content)
        assert synced == wanted
    synced.clear()
    (tmp_path / "part").write_text("x")
    _files.publish(tmp_path / "part", tmp_path / "a" / "b" / "whole")
    assert synced == ["a/b"]
    synced.clear()
    _files.write_folder(tmp_path / "new" / "model", {"code/net.py": b"1", "card": b"2"})
    assert synced[-2:] == ["new", "."]
    assert "code" in {name.rpartition("/")[2] for name in synced[:-2]}
    synced.clear()
    _files.write_folder(tmp_path / "new" / "model", {"code/net.py": b"3"})
    assert {"new/model", "new/model/code"} <= set(synced)
    assert (tmp_path / "new" / "model" / "code" / "net.py").read_bytes() == b"3"
    assert (tmp_path / "new" / "model" / "card").read_bytes() == b"2"


@pytest.mark.parametrize(("number", "refused"), [(22, False), (95, False), (13, False), (5, True), (28, True)])
def test_only_file_systems_that_cannot_sync_a_folder_are_excused(
    number: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("fsync", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, lambda *_: (_ for _ in ()).throw(OSError(number, "no")))
            if not refused:
                _files.sync_folder(tmp_path)
                continue
            with pytest.raises(OSError, match="no"):
                _files.sync_folder(tmp_path)


def test_a_new_log_without_space_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: IO[bytes], content: bytes) -> None:
        file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files, "write_all", full)
    with pytest.raises(OSError, match="No space left"):
        _files.append(tmp_path / "log", b"first\n")
    assert (tmp_path / "log").read_bytes() == b""
