"""`imc-sim doctor`: installed versions, folders that are searched, and a check of the shipped content."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import typer

from imc_sim.cli._console import Quiet

_PACKAGES = ("imc-sim", "torch", "numpy", "scipy", "pydantic", "safetensors", "matplotlib", "pandas", "scikit-learn")
_EXTRAS = {
    "memtorch-cpu": "make memtorch, or see docs/memtorch.md",
    "distributed": "pip install 'imc-sim[dask]'",
    "numba": "pip install 'imc-sim[fast]'",
    "pyarrow": "pip install 'imc-sim[parquet]'",
}


def doctor(quiet: Quiet = False) -> None:
    """Check the installation.

    Prints versions, threads, folders and content. Exit code 1 if files are missing or the weights of a
    model are not those of its card.

    Examples:
      imc-sim doctor
    """
    from imc_sim.cli._console import working

    for title, lines in (
        ("versions", _versions),
        ("machine", _machine),
        ("backends", _backends),
        ("data", _data),
        ("content", _content),
    ):
        note = " (the first time, this compiles code for up to a minute)" if title == "backends" else ""
        with working(f"checking {title}{note}"):
            found = list(lines())
        _show(title, found)
    with working("checking weights"):
        problems = list(_problems())
    _show("checks", problems or ["every model's weights are those of its card"])
    raise typer.Exit(1 if problems else 0)


def _show(title: str, lines: list[str]) -> None:
    print(title)
    for line in lines:
        print(f"  {line}")


def _versions() -> Iterator[str]:
    from imc_sim.cli._versions import version

    yield f"python {platform.python_version()}"
    yield from (f"{name} {version(name)}" for name in _PACKAGES)
    for name, command in _EXTRAS.items():
        found = version(name)
        yield f"{name} {found}" + (f" (optional: {command})" if found == "not installed" else "")


def _machine() -> Iterator[str]:
    import torch

    yield f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    yield f"torch threads {torch.get_num_threads()}"
    cuda = torch.cuda.is_available()
    yield f"CUDA device: {torch.cuda.get_device_name(0) if cuda else 'none'}"


def _backends() -> Iterator[str]:
    """Yield a line for each backend, and for compiled code."""
    from imc_sim.array import compile_kernels, kernel_name, why_not_compiled
    from imc_sim.backends.memtorch import why_not

    yield "native: works"
    yield f"memtorch: {why_not() or 'works'}"
    left = why_not_compiled()
    yield f"products of whole numbers: {f'torch, as {left}' if left else f'compiled by numba ({kernel_name()})'}"
    found = compile_kernels()
    if found is not None:
        when = f"compiled now, in {found.seconds:.0f} s, and kept" if found.fresh else "kept"
        kept = f"{when} in {found.folder}"
        yield f"compiled code: {kept if found.folder else 'cannot be kept; set NUMBA_CACHE_DIR to a writable folder'}"


def _data() -> Iterator[str]:
    """Yield the folders of data, and whether each data set is there."""
    from imc_sim import data
    from imc_sim.data import ARCHIVES

    yield f"data root {data.data_root()}" + (" ($IMC_SIM_DATA)" if os.environ.get("IMC_SIM_DATA") else "")
    yield f"decoded copies {data.cache_folder()}" + (" ($IMC_SIM_CACHE)" if os.environ.get("IMC_SIM_CACHE") else "")
    for name, info in data.DATASETS.items():
        there = all((data.data_root() / archive.target).exists() for archive in ARCHIVES.get(name, ()))
        yield f"{name}: {'embedded' if info.embedded else 'there' if there else f'missing: imc-sim data fetch {name}'}"


def _content() -> Iterator[str]:
    from imc_sim.config import Kind, content_names, search_folders

    kinds: dict[Kind, str] = {"model": "models", "chip": "chips", "study": "studies"}
    for kind, plural in kinds.items():
        folders = [str(folder) for folder in search_folders(kind) if folder.is_dir()]
        yield f"{len(content_names(kind))} {plural} in {', '.join(dict.fromkeys(folders)) or 'no folder'}"


def _problems() -> Iterator[str]:
    """Yield missing files, families that cannot be read, and models whose weights are not those of their cards."""
    from imc_sim._errors import ImcSimError
    from imc_sim.config import REINSTALL, content_names, missing_files, unreadable_families
    from imc_sim.nn.store import load_card, verify_weights

    missing = missing_files()
    yield from (f"missing in this installation: {path}" for path in missing)
    if missing:
        yield REINSTALL
    yield from (f"family {name!r}: {error}" for name, error in unreadable_families())
    for name in content_names("model"):
        try:
            card, folder = load_card(name)
            if card.weights is not None:
                verify_weights(card, Path(folder))
        except ImcSimError as error:
            yield f"model {name!r}: {error}"
