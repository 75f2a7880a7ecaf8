"""Sweeps of networks and functions of a session: equal to a loop over chips, resumed, and known by their content."""

from __future__ import annotations

import copy
import functools
import io
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import imc_sim as imc
from imc_sim import InputError, ResultsError, ResultsWarning
from imc_sim.array import load_chip
from imc_sim.evaluate import object_digest
from imc_sim.mapping import _any_network
from imc_sim.report import write_report
from imc_sim.study import Progress, Results, _sweep, load_study
from tests.warm import run_python

SIGMA, HRS = "device.programming.sigma", "device.programming.sigma_hrs"


class SignLinear(nn.Module):
    """A binary layer as its author wrote it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.sign(), self.weight.sign())


def network_of(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(SignLinear(24, 12), nn.ReLU(), SignLinear(12, 3))


NETWORK = network_of()
BATCH = torch.randn(20, 24, generator=torch.Generator().manual_seed(1))
SCALE = 3.0


def level(model: nn.Module, chip_index: int | None) -> dict[str, float]:
    return {"level": SCALE * float(model(BATCH).mean()), "chip": -1.0 if chip_index is None else float(chip_index)}


def go(folder: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "network": NETWORK, "chip": "rram_hfo2_1t1r", "axes": {SIGMA: [0.0, 0.4]}, "score": level, "inputs": BATCH,
        "chips": 2, "out": folder, "metric": "level", "progress": False,
    }  # fmt: skip
    return imc.sweep(**(arguments | changes))


def test_rows_are_those_of_a_loop_over_chips(tmp_path: Path) -> None:
    """With columns by the names of the axes, settings that change together, and a folder that reports are made of."""
    axes = {(SIGMA, HRS): np.array([0.0, 0.4]), "compute": ["float32", "int8"]}
    table = go(tmp_path / "out", axes=axes)
    assert list(table.columns[:4]) == [SIGMA, "compute", "chips", "mean"]
    assert {"half_width", "median", "p05", "p95", "digital"} < set(table.columns)
    network = network_of().eval()
    for record in table.to_dict("records"):
        chip = imc.load_chip("rram_hfo2_1t1r").replace("compute", record["compute"])
        chip = chip.replace(SIGMA, record[SIGMA]).replace(HRS, record[SIGMA])
        with torch.no_grad():
            each = [
                SCALE * float(imc.map_model(network, chip, range(n, n + 1), inputs=BATCH[:16]).on_chip(0, BATCH).mean())
                for n in range(2)
            ]
        assert record["mean"] == pytest.approx(np.mean(each), rel=1e-12)
        with torch.no_grad():
            assert record["digital"] == SCALE * float(network(BATCH).mean())
    assert table.attrs["failed"] == 0
    text = write_report(Results.load(table.attrs["folder"])).read_text(encoding="utf-8")
    assert "Sequential@" in text


def test_a_second_call_computes_nothing_and_other_content_is_refused(tmp_path: Path) -> None:
    def counted(model: nn.Module, chip_index: int | None) -> float:
        if chip_index is not None:
            stamp(chip_index)
        return float(model(BATCH).sum())

    stamp = functools.partial(_count, tmp_path / "calls")
    first = go(tmp_path / "out", score=counted, metric="score")
    made = (tmp_path / "calls").read_text()
    assert len(made) == 2 * 2
    again = go(tmp_path / "out", score=counted, metric="score", network=network_of())
    assert again.equals(first)
    assert (tmp_path / "calls").read_text() == made
    more = go(tmp_path / "out", score=counted, metric="score", chips=3)
    assert len((tmp_path / "calls").read_text()) == 2 * 3
    assert more["chips"].tolist() == [3, 3]
    for changes in ({"network": network_of(1)}, {"inputs": BATCH + 1}, {"score": level, "metric": "level"}):
        with pytest.raises(ResultsError, match="another folder"):
            go(tmp_path / "out", **({"score": counted, "metric": "score"} | changes))


def test_a_network_is_probed_once_for_all_points_and_chips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that has changed is probed again."""
    probed: list[nn.Module] = []
    find = _any_network.find_products
    monkeypatch.setattr(_any_network, "find_products", lambda *args: (probed.append(args[0]), find(*args))[1])
    network = network_of(2)
    first = go(tmp_path / "first", network=network)
    assert len(probed) == 1
    with torch.no_grad():
        network[0].weight.mul_(-1.0)  # type: ignore[operator,union-attr]
    second = go(tmp_path / "second", network=network)
    assert len(probed) == 2
    assert not first["digital"].equals(second["digital"])
    assert not first["mean"].equals(second["mean"])


def _count(file: Path, chip: int) -> None:
    with file.open("a") as opened:
        opened.write(str(chip))


def test_workers_give_the_same_rows_for_code_of_a_script(tmp_path: Path) -> None:
    """Classes and functions of the main program, which workers cannot import."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, torch\nfrom torch import nn\nimport imc_sim as imc\n\n"
        "class Sign(nn.Linear):\n"
        "    def forward(self, x):\n        return nn.functional.linear(x.sign(), self.weight.sign())\n\n"
        "def score(model, chip_index):\n    return float(model(batch).square().mean())\n\n"
        "if __name__ == '__main__':\n"
        "    torch.manual_seed(0)\n    net, batch = nn.Sequential(Sign(24, 3)), torch.randn(20, 24)\n"
        f"    axes = {{'{SIGMA}': [0.1, 0.4]}}\n"
        "    for workers in (None, 2):\n"
        "        print(imc.sweep(net, 'rram_hfo2_1t1r', axes, score, inputs=batch, chips=2, out=f'out{workers}',\n"
        "                        workers=workers).attrs['digest'])\n"
    )
    ran = run_python(program, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    one, two = ran.stdout.split()
    assert one == two
    assert "sweep: 5 of 5 trials" in ran.stderr


def test_a_folder_of_a_sweep_can_be_read_but_not_run_without_the_network(tmp_path: Path) -> None:
    go(tmp_path / "out", axes={SIGMA: [0.4]}, chips=1)
    study = load_study(tmp_path / "out" / "study.resolved.yaml")
    with pytest.raises(InputError, match=r"Call imc_sim\.sweep again"):
        imc.run(study, tmp_path / "again")


def test_failed_trials_are_reported(tmp_path: Path) -> None:
    def score(model: nn.Module, chip_index: int | None) -> float:
        if chip_index == 1:
            raise ArithmeticError("chip 1")
        return float(model(BATCH).sum())

    with pytest.warns(ResultsWarning, match="2 trials failed; the first: .*chip 1"):
        table = go(tmp_path / "out", score=score, metric="score")
    assert (table["chips"].tolist(), table.attrs["failed"]) == ([1, 1], 2)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"axes": {"device.programming.sigmas": [0]}}, "sigmas"),
        ({"axes": {SIGMA: []}}, "axes"),
        ({"axes": [SIGMA]}, "axes: got a list; allowed: a mapping"),
        ({"score": 5}, "a function"),
        ({"metric": "rms"}, "no 'rms' in the scores; allowed: 'level', 'chip'"),
        ({"inputs": None}, "task.inputs"),
        ({"chips": 0}, "chips"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(changes: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        go(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("workers", "runs_on"), [(None, ("inline", None)), (1, ("inline", None)), (3, ("process", 3))])
def test_a_sweep_is_a_study_of_its_arguments(
    workers: int | None, runs_on: tuple[str, int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, digested = [], []
    table = pd.DataFrame(columns=["case", "chip.tile.rows", "chip.device.levels", "mean"])
    monkeypatch.setattr(
        _sweep, "run", lambda *a: (ran.append(a), types.SimpleNamespace(failed=0, table=table, digest="d"))[1]
    )
    monkeypatch.setattr(
        "imc_sim.evaluate.object_digest", lambda value, *at: (digested.append((value, *at)), f"{len(digested):064x}")[1]
    )
    axes = {"tile.rows": np.array([8, 16]), ("device.levels", "tile.cols"): [torch.tensor(4), 2]}
    found = go(
        tmp_path, axes=axes, workers=workers, chips=4, out=None, seed=9, unit="u", better="lower", version="v",
        conductances=tmp_path / "c.npz",
    )  # fmt: skip
    what = ("network", NETWORK), ("score", level), ("inputs", BATCH)
    assert digested == [(value, f"sweep, {name}", "v") for name, value in what]
    (study, folder, *executor, shown), names = ran[0], [f"{s}@{0:016x}" for s in ("Sequential", "level", "inputs")]
    task = {"kind": "function", "call": names[1], "metric": "level", "unit": "u", "better": "lower", "seed": 9}
    assert study == {
        "name": "sweep", "model": names[0], "chip": load_chip("rram_hfo2_1t1r").to_dict(), "seed": 9,
        "task": task | {"inputs": names[2]}, "chips": {"min": 4}, "conductances": str(tmp_path / "c.npz"),
        "axes": [{"path": "chip.tile.rows", "also": [], "values": [8, 16]},
                 {"path": "chip.device.levels", "also": ["chip.tile.cols"], "values": [4, 2]}],
    }  # fmt: skip
    assert (folder, tuple(executor), callable(shown)) == (Path("results") / names[0], runs_on, True)
    assert list(found.columns) == ["tile.rows", "device.levels", "mean"]
    assert found.attrs == {"folder": str(folder), "digest": "d", "failed": 0}


@pytest.mark.parametrize(
    ("terminal", "wanted", "text"),
    [
        (True, True, "\rsweep: 0 of 20 trials\rsweep: 1 of 20 trials\rsweep: 20 of 20 trials, 2 failed\n"),
        (False, True, "sweep: 0 of 20 trials\nsweep: 20 of 20 trials, 2 failed\n"),
        (True, False, ""),
        (False, False, ""),
    ],
)
def test_progress_is_one_line_of_a_terminal_or_a_line_for_every_tenth(
    terminal: bool, wanted: bool, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    with _sweep._shown(wanted) as show:
        for done, failed in ((0, 0), (1, 0), (20, 2)):
            show(Progress(done, 20, failed))
    assert screen.getvalue() == text
    screen.truncate(0)
    with _sweep._shown(wanted) as show:
        pass
    assert not screen.getvalue(), "nothing ends a line that was not begun"
    screen.seek(0)
    with _sweep._shown(wanted) as show:
        show(Progress(0, 20))
    assert screen.getvalue().endswith("\n") is wanted


# -- identity ----------------------------------------------------------------------------------------------


def scaled(factor: float, data: Any = None) -> Callable[..., Any]:
    def score(model: Any, chip_index: int | None) -> Any:
        return factor, data

    return score


def helper(x: float) -> float:
    return x + 1


def with_helper(model: Any, chip_index: int | None) -> float:
    return helper(1.0)


def doubled(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return 2 * output


def hooked(layer: nn.Module, hook: Callable[..., Tensor] = doubled) -> nn.Module:
    """Return a layer with a hook."""
    layer.register_forward_hook(hook)
    return layer


class Data:
    """A data set of the user."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


def changed(network: nn.Module, name: str, value: Any) -> nn.Module:
    setattr(network.get_submodule("0"), name, value)
    return network


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "closure": (scaled(1.0), scaled(2.0)),
    "tensor": (scaled(1.0, torch.zeros(2)), scaled(1.0, torch.tensor([0.0, 1e-7]))),
    "array type": (scaled(1.0, np.zeros(2)), scaled(1.0, np.zeros(2, np.float32))),
    "object": (scaled(1.0, Data(torch.zeros(2))), scaled(1.0, Data(torch.ones(2)))),
    "lambda": (lambda m, i: 1, lambda m, i: 2),
    "set": (scaled(1.0, {"a", "b"}), scaled(1.0, {"a", "c"})),
    "default": (functools.partial(helper, 1.0), functools.partial(helper, 2.0)),
    "weights": (network_of(0), network_of(1)),
    "attribute": (network_of(), changed(network_of(), "bits", 4)),
    "hook": (hooked(nn.Identity()), hooked(nn.Identity(), lambda layer, inputs, output: output)),
    "layer": (nn.Sequential(nn.Conv1d(1, 1, 3)), nn.Sequential(nn.Conv1d(1, 1, 3, padding=1))),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    assert object_digest(one, "x") != object_digest(other, "x")


def test_functions_that_a_function_calls_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = object_digest(with_helper, "x")
    assert object_digest(with_helper, "x") == before
    monkeypatch.setitem(globals(), "helper", lambda x: x + 2)
    assert object_digest(with_helper, "x") != before


def test_equal_content_has_one_digest_in_every_process(tmp_path: Path) -> None:
    """Whatever the hash seed; comments, line numbers and train mode change nothing."""
    made = "NAMES = {'a', 'b', 'c'}\ndef score(m, i):\n    return len(NAMES & {'a', 'x', 'y'})\n"
    code = (
        "import torch; from torch import nn; from imc_sim.evaluate import object_digest; import made\n"
        "torch.manual_seed(0); net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train({mode})\n"
        "found = object_digest([made.score, net, {{'k', 'l'}}], 'x')\n"
    )
    (tmp_path / "made.py").write_text(f"# a comment\n\n{made}")
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": f"{tmp_path}:{Path(imc.__file__).parents[1]}"}
    program = code.format(mode=True) + "print(found)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stderr
    sys.modules["made"] = types.ModuleType("made")
    sys.modules["made"].__file__ = str(tmp_path / "made.py")
    try:
        exec(made, vars(sys.modules["made"]))
        here: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]):
            exec(code.format(mode=False), here)
    finally:
        del sys.modules["made"]
    assert here["found"] == ran.stdout.strip()


@pytest.mark.parametrize(
    "made",
    [
        nn.LSTM,
        lambda *sizes: nn.utils.parametrizations.weight_norm(nn.Linear(*sizes)),
        lambda *sizes: hooked(nn.Linear(*sizes)),
    ],
    ids=["weak references", "weight norm", "hooks"],
)
def test_equal_networks_have_one_digest_whatever_was_made_before(made: Callable[..., nn.Module]) -> None:
    found = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found.append(object_digest(made(3, 2), "x"))
        hooked(nn.Identity())  # takes numbers of hooks
    assert found[0] == found[1] != found[2]


def test_code_that_no_module_holds_counts_with_its_content() -> None:
    found = []
    for factor in (2, 3):
        names: dict[str, Any] = {}
        exec(f"class A:\n    def f(self):\n        return {factor}\ndef score(m, i):\n    return A().f()\n", names)
        found += [object_digest(names["score"], "x"), object_digest(names["A"], "x")]
    assert len(set(found)) == 4


def test_content_that_cannot_be_read_needs_a_version() -> None:
    score = scaled(1.0, threading.Lock())
    with pytest.raises(InputError, match=r"_thread\.lock, whose content cannot be read.*version="):
        object_digest(score, "sweep, score")
    one, two = (object_digest(score, "sweep, score", version) for version in ("1", "2"))
    assert one != two


def test_a_network_that_keeps_a_tensor_of_its_training_is_swept(tmp_path: Path) -> None:
    """Torch does not copy a tensor that has a gradient, such as one that a module has kept."""

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network_of()
            self.kept = next(self.network.parameters()) * 2

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

    kept = Keeping()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(kept)
    found = go(tmp_path / "kept", network=kept)
    assert found["digital"].equals(go(tmp_path / "plain")["digital"])
