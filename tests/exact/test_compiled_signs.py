"""Signs of keys and queries in one compiled pass: those of torch, and refused where a value is not finite."""

from __future__ import annotations

import math
import re

import pytest
import torch

from imc_sim import AssociativeMemory, InputError, _rng
from imc_sim.array import Rows, encodings, load_chip, signs
from imc_sim.array._compiled import _signs
from imc_sim.nn import two_valued

pytestmark = pytest.mark.skipif(not _rng.compiled(), reason="numba is not installed")

SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38]


def numbers(*shape: int) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    x.view(-1)[: len(SPECIAL)] = torch.tensor(SPECIAL)[: x.numel()]
    return x


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_signs, "_MANY", 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (9, 4095), (2, 3, 2048)])
def test_signs_are_those_of_torch_and_bytes_are_one_more(shape: tuple[int, ...]) -> None:
    x = numbers(*shape)
    for codes in (False, True):
        found = signs(x, codes)
        assert found is not None
        assert torch.equal(found[0], two_valued(x))
        count = x.numel() * codes
        assert found[1][:count].tolist() == (two_valued(x).view(-1)[:count] + 1).tolist()


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 4096, 9999])
def test_values_that_are_not_finite_have_no_signs(bad: float, place: int) -> None:
    x = numbers(100, 100)
    x.view(-1)[place] = bad
    assert signs(x) is signs(x, codes=True) is Rows.of_signs(x) is None
    memory = AssociativeMemory("ideal", 100)
    with pytest.raises(InputError, match=re.escape("memory, keys: got 1 of 10000 values NaN or infinite")):
        memory.write(x, torch.arange(100))
    memory.write(numbers(100, 100), torch.arange(100))
    with pytest.raises(InputError, match=re.escape("memory, queries: got 1 of 10000 values NaN or infinite")):
        memory.search(x)


def test_other_tensors_are_left_to_torch() -> None:
    x = numbers(8, 8)
    assert signs(x) is not None
    for other in (x.double(), x.half(), x.T, x[:, ::2], x.to("meta")):
        assert signs(other) is None


def test_few_numbers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_signs, "_MANY", 65)
    assert signs(numbers(8, 8)) is None
    assert signs(numbers(13, 5)) is not None


@pytest.mark.parametrize("dim", [96, 128])
@pytest.mark.parametrize("path", ["converter.kind", "device.read.sigma", "wires.r_row_ohm", "compute", None])
def test_a_memory_has_the_same_results_without_the_compiled_signs(
    dim: int, path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same numbers of its reads, and dimensions that are a power of two or not."""
    values = {"converter.kind": "auto", "device.read.sigma": 0.1, "wires.r_row_ohm": 1.0, "compute": "int8"}
    chip = load_chip("rram_hfo2_1t1r").replace("wires.kind", "nodal" if path == "wires.r_row_ohm" else "ideal")
    chip = chip if path is None else chip.replace(path, values[path])
    keys, queries = numbers(40, dim), numbers(50, dim).flip(0)

    def found() -> list[torch.Tensor]:
        memory = AssociativeMemory(chip, dim, chips=range(2, 4))
        memory.write(keys, torch.arange(40))
        return [memory.similarity(queries), memory.search(queries)]

    compiled = found()
    monkeypatch.setattr(_signs, "_MANY", 2**60)
    plain = found()
    assert all(torch.equal(a, b) for a, b in zip(compiled, plain, strict=True))
    assert compiled[0][0, 10:].argmax(1).tolist() == [*range(39, -1, -1)]  # queries that are keys


@pytest.mark.parametrize("levels", [2, 3, 16])
@pytest.mark.parametrize("kind", encodings())
def test_signs_are_encoded_as_any_weights(kind: str, levels: int) -> None:
    for settings in ({}, {"copies": 2}) if kind == "differential" else ({},):
        encoding = encodings()[kind](**settings)
        w = two_valued(numbers(5, 9)).abs() if kind == "unipolar" else two_valued(numbers(5, 9))
        for weights in (w, w.abs()):
            one, other = encoding.encode_signs(weights, levels, "here"), encoding.encode(weights, levels, "here")
            assert torch.equal(one.weights, other.weights)
            assert torch.equal(one.levels, other.levels)
            assert (one.held is None) == (other.held is None)
            assert (one.steps, one.scale, one.places, one.reference) == (
                other.steps, other.scale, other.places, other.reference
            )  # fmt: skip
