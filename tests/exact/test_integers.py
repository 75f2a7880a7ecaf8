"""Products of integers: equal to the bit to the tile-by-tile path, and to the formula written out."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imc_sim import _rng, _threads
from imc_sim._quantiles import PARTS, WIDTH
from imc_sim._rng import Stream
from imc_sim.array import (
    Chip,
    CompiledReadout,
    Crossbar,
    Encoding,
    Rows,
    Tile,
    _programmed_weights,
    compile_kernels,
    encodings,
    load_chip,
)
from imc_sim.array._compiled import _product, _readout, _warm_up
from imc_sim.array._plan import Plan
from imc_sim.array._read_noise import ReadPower
from imc_sim.array.encoding.base import Coefficients
from imc_sim.device import Device, RelativeVariation
from imc_sim.mapping import bytes_per_chip, map_model
from imc_sim.nn import Conv2d, Linear
from imc_sim.nn.networks import BatmannController
from imc_sim.study import load_study, points_of

needs_kernel = pytest.mark.skipif(_product.why_not() is not None, reason=str(_product.why_not()))

ADCS = {
    "ideal": {"kind": "ideal"},
    "8 bits": {"kind": "auto", "bits": 8},
    "3 bits of the rows in use": {"kind": "auto", "bits": 3, "rows": "used"},
}
COMPUTE = ("float32", "int16", "int8")


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]:
    """Return the results of some work with the compiled kernel, which must have been used, and without it.

    Where the processor has a matrix unit, the kernel's results without it are compared as well, if the work repeats
    the same reads.
    """
    monkeypatch.setattr(_readout, "_SMALL", 1)
    monkeypatch.setattr(_readout, "_SMALL_MERGED", 1)
    monkeypatch.setattr(_readout, "_NARROW", 1)
    monkeypatch.setattr(_threads, "_LEAST_S", 0.0)
    calls: list[bool] = []
    multiply = _product.multiply

    def counted(*arguments) -> Tensor | None:
        y = multiply(*arguments)
        calls.append(y is not None)
        return y

    monkeypatch.setattr(_product, "multiply", counted)

    def run(work: Callable[[], Tensor], repeats: bool = True) -> tuple[Tensor, Tensor]:
        calls.clear()
        in_one_call = work()
        assert calls
        assert all(calls)
        with monkeypatch.context() as without:
            without.setattr(_product, "has_matrix_unit", lambda: False)
            assert not repeats or torch.equal(in_one_call, work())
        with monkeypatch.context() as without:
            without.setattr(_product, "why_not", lambda: "switched off")
            count = len(calls)
            plain = work()
            assert len(calls) == count
        return in_one_call, plain

    return run


def chip_of(encoding: Encoding, compute: str, converter: str, tile: Tile, sigma: float = 0.3) -> Chip:
    device = Device(g_lrs_S=1e-4, g_hrs_S=1e-5, programming=RelativeVariation(sigma=sigma))
    chip = Chip(device=device, encoding=encoding, tile=tile, compute=compute)  # type: ignore[arg-type]
    return chip.replace("converter", ADCS[converter])


def weights_and_inputs(encoding: Encoding, out: int, inputs: int, batch: int) -> tuple[Tensor, Tensor]:
    """Return weights and inputs among the values of the encoding."""
    generator = torch.Generator().manual_seed(out + inputs)
    among = torch.tensor(encoding.values or ((0.0, 1.0) if encoding.name == "unipolar" else (-1.0, 1.0)))
    shapes = ((out, inputs), (batch, inputs))
    w, x = (among[torch.randint(0, len(among), shape, generator=generator)] for shape in shapes)
    return w, x


def compiled(kind: str, converter: str, compute: str) -> bool:
    """The kernel computes it: no matrix product of float32, and no sums beyond its range."""
    if converter == "ideal" and (not kind.startswith("tnn") or kind == "tnn_v"):  # else x^2 has its own coefficient
        return True
    return kind not in ("bnn_iii", "bnn_iv", "tnn_v")


CASES = [(k, v, c) for k in encodings() for v in ADCS for c in COMPUTE if compiled(k, v, c)]


@needs_kernel
@pytest.mark.parametrize("shape", [(7, 50, 5), (70, 200, 13), (1, 1, 1)])
@pytest.mark.parametrize(("kind", "converter", "compute"), CASES)
def test_results_equal_the_tile_by_tile_path(both, kind: str, converter: str, compute: str, shape: tuple) -> None:
    encoding = encodings()[kind]()
    w, x = weights_and_inputs(encoding, *shape)
    for tile in (Tile(rows=30, cols=20), Tile(rows=128, cols=128)):
        bar = Crossbar.program(w, chip_of(encoding, compute, converter, tile), chips=2, seed=3)
        in_one_call, plain = both(lambda bar=bar: bar.mvm(x))
        assert torch.equal(in_one_call, plain)


@needs_kernel
@pytest.mark.parametrize("shape", [(7, 50, 5), (70, 200, 13), (33, 140, 101), (1, 1, 1)])
@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("converter", ADCS)
def test_read_noise_has_the_samples_of_the_tile_by_tile_path(both, converter: str, compute: str, shape: tuple) -> None:
    """Each vector is a read with the next number; imbalanced cells add a constant."""
    encoding = encodings()["differential"]()
    w, x = weights_and_inputs(encoding, *shape)
    chip = chip_of(encoding, compute, converter, Tile(rows=30, cols=20), sigma=0.2)

    def work(chip: Chip) -> Tensor:
        bar = Crossbar.program(w, chip, chips=range(2, 4), seed=3, epoch=5, unit_inputs=True)
        bar.take_reads(7)
        return torch.cat([bar.mvm(x), bar.mvm(x)], dim=1)

    noisy, plain = both(lambda: work(chip.replace("device.read.sigma", 0.1)))
    assert torch.equal(noisy, plain)
    if shape != (1, 1, 1):
        assert not torch.equal(noisy, work(chip))
        assert not torch.equal(noisy[:, : len(x)], noisy[:, len(x) :])


@needs_kernel
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("read", [{"sigma": 0.1}, {"telegraph": {"probability": 0.5, "amplitude": 0.3}}])
@pytest.mark.parametrize("kind", encodings())
def test_noise_of_every_encoding_is_that_of_the_tile_by_tile_path(
    kind: str, read: dict, unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the kernel must leave it to that path: variances that depend on the inputs, and traps."""
    for name in ("_SMALL", "_SMALL_MERGED", "_NARROW"):
        monkeypatch.setattr(_readout, name, 1)
    encoding = encodings()[kind]()
    w, x = weights_and_inputs(encoding, 7, 50, 5)
    x = torch.where(x == 0, 1.0, x) if unit and encoding.name != "unipolar" else x
    chip = chip_of(encoding, "float32", "8 bits", Tile(rows=30, cols=20)).replace("device.read", read)

    def work(chip: Chip) -> Tensor:
        return Crossbar.program(w, chip, chips=2, seed=3, unit_inputs=unit and encoding.name != "unipolar").mvm(x)

    found, quiet = work(chip), work(chip.replace("device.read", {}))
    assert not torch.equal(found, quiet)
    monkeypatch.setattr(_product, "why_not", lambda: "switched off")
    assert torch.equal(found, work(chip))


@needs_kernel
@pytest.mark.parametrize("rows", [20, 128])
@pytest.mark.parametrize("range_", ["max", "calibrated"])
def test_read_noise_of_convolutions_is_that_of_one_read_per_image(both, rows: int, range_: str) -> None:
    """Parts of a batch and threads read the same as the whole."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = Conv2d(3, 10, 3, "xnor", bias=False, stride=2)
        model = nn.Sequential(layer, nn.Flatten(), Linear(200, 6, "xnor", bias=False)).eval()
        images = torch.randn(7, 3, 9, 11)
    chip = load_chip("rram_hfo2_1t1r").replace("converter", ADCS["8 bits"] | {"range": range_})
    chip = chip.replace("tile.rows", rows).replace("device.read.sigma", 0.1)

    def work(parts: int = 7, threads: int = 1) -> Tensor:
        analog = map_model(model, chip, chips=2)
        analog.calibrate(images)
        analog(images[:3])
        analog.batch = parts
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return analog(images)
        finally:
            torch.set_num_threads(before)

    in_one_call, plain = both(work)
    assert torch.equal(in_one_call, plain)
    assert torch.equal(in_one_call, work(parts=2))
    assert torch.equal(in_one_call, work(threads=3))


@pytest.mark.parametrize(("kind", "converter"), [("tnn_i", "ideal"), ("bnn_i", "8 bits")])
def test_the_wire_term_of_conversions_is_the_same_everywhere(
    kind: str, converter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows that the input switches, an affine function replaces the wires; its constant part is float64."""
    monkeypatch.setattr(_readout, "_SMALL", 1)
    encoding = encodings()[kind]()
    w, x = weights_and_inputs(encoding, 50, 200, 1000)
    chip = chip_of(encoding, "float32", converter, Tile(), sigma=0.1)
    bar = Crossbar.program(w, chip.replace("wires", {"kind": "nodal", "r_row_ohm": 3.0, "r_col_ohm": 3.0}))
    first = bar.mvm(x)
    monkeypatch.setattr(_product, "why_not", lambda: "switched off")
    assert torch.equal(first, bar.mvm(x))


@needs_kernel
def test_noise_that_depends_on_the_inputs_uses_the_tile_by_tile_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """For inputs that may be 0 the kernel does not know the variance and must not be used."""
    monkeypatch.setattr(_readout, "_SMALL", 1)
    monkeypatch.setattr(_product, "multiply", lambda *_: pytest.fail("the kernel was used"))
    w, x = weights_and_inputs(encodings()["differential"](), 20, 90, 8)
    chip = load_chip("rram_hfo2_1t1r").replace("device.read.sigma", 0.1)
    x[:, ::2] = 0.0
    quiet, loud = (Crossbar.program(w, chip.replace("device.read.sigma", s)).mvm(x) for s in (1e-9, 0.1))
    assert 0.0 < float((quiet - loud).std()) < 3.0


@needs_kernel
@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "rows"),
    [(2, 5, 1, 0, 128), (3, 3, 2, 1, 20), (12, 3, 1, 1, 50), (16, 2, 2, 0, 16), (6, 1, 1, 0, 128)],
)
def test_convolutions_read_their_patches_in_place(
    both, compute: str, channels: int, kernel: int, stride: int, padding: int, rows: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = Conv2d(channels, 10, kernel, "sign", bias=False, stride=stride, padding=padding)
        model = nn.Sequential(layer).eval()
        images = torch.randn(3, channels, 9, 11).sign()
    chip = load_chip("rram_hfo2_1t1r").replace("compute", compute).replace("converter", ADCS["8 bits"])
    analog = map_model(model, chip.replace("tile.rows", rows), chips=2)
    in_one_call, plain = both(lambda: analog(images))
    assert torch.equal(in_one_call, plain)
    with torch.no_grad():
        assert torch.corrcoef(torch.stack([in_one_call[0].flatten(), model(images).flatten()]))[0, 1] > 0.9


@needs_kernel
def test_threads_and_batches_change_no_bit(both) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = BatmannController("xnor_binary_fc", width=20, dim=70).eval()
    images = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    chip = load_chip("rram_hfo2_1t1r").replace("compute", "int8").replace("converter", ADCS["8 bits"])
    analog = map_model(model, chip, chips=2)
    whole, plain = both(lambda: analog(images))
    assert torch.equal(whole, plain)
    parts = torch.cat([analog(images[:1]), analog(images[1:])], dim=1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threads = analog(images)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole, parts)
    assert torch.equal(whole, threads)


@needs_kernel
@pytest.mark.parametrize("top", [1, 7, 127])
def test_inputs_of_few_bits_are_exact(both, top: int) -> None:
    generator = torch.Generator().manual_seed(top)
    w = torch.randn(20, 90, generator=generator)
    x = torch.randint(-top, top + 1, (6, 90), generator=generator).float()
    chip = load_chip("ideal").replace("device.levels", 16).replace("compute", "int8")
    bar = Crossbar.program(w, chip.replace("device.programming.sigma", 0.1))
    in_one_call, plain = both(lambda: bar.mvm(x))
    assert torch.equal(in_one_call, plain)


@pytest.mark.parametrize("compute", ["int16", "int8"])
@pytest.mark.parametrize("kind", encodings())
def test_results_are_exact_where_the_device_has_enough_levels(kind: str, compute: str) -> None:
    encoding = encodings()[kind]()
    w, x = weights_and_inputs(encoding, 40, 130, 9)
    chip = chip_of(encoding, compute, "ideal", Tile(), sigma=0.0)
    y = Crossbar.program(w, chip).mvm(x)[0]
    if (kind, compute) == ("tnn_v", "int8"):  # it converts the current of HRS cells too, which is no level
        assert 0.0 < float((y - x @ w.T).abs().max()) < 1.0
    else:
        assert torch.equal(y, x @ w.T)


def test_sixteen_bits_equal_float32() -> None:
    """No conductance difference of binary cells reaches 8 windows: 16 bits hold all of float32's grid."""
    w, x = weights_and_inputs(encodings()["differential"](), 30, 200, 9)
    chip = load_chip("rram_hfo2_1t1r").replace("converter", ADCS["8 bits"])
    single, sixteen, eight = (Crossbar.program(w, chip.replace("compute", c), 2).mvm(x) for c in COMPUTE)
    assert torch.equal(single, sixteen)
    assert not torch.equal(single, eight)


def test_eight_bits_equal_the_formula() -> None:
    """Conductances, their integers, sums of a tile, ADC codes: one line each."""
    w, x = weights_and_inputs(encodings()["differential"](), 9, 70, 6)
    chip = load_chip("rram_hfo2_1t1r").replace("tile", {"rows": 32, "cols": 128}).replace("compute", "int8")
    bar = Crossbar.program(w, chip.replace("converter", ADCS["8 bits"]), seed=4)
    cells = bar.cells(0).numpy()[:, 0, :, :, 0]
    cells = np.round(cells * 4096) / 4096
    difference = cells[:, 0] - cells[:, 1]
    unit = 2.0 ** np.ceil(np.log2(np.abs(difference).max() / 127))
    whole = np.round(difference / unit)
    assert np.abs(whole).max() <= 127 < np.abs(whole).max() * 2
    y = np.zeros((6, 9))
    for begin in (0, 32, 64):
        rows = slice(begin, min(begin + 32, 70))
        u = x.numpy()[:, rows].astype(int) @ whole[:, rows].T.astype(int) * unit
        step = 32 / 127
        y += np.clip(np.round(u / step * (1 + 1e-6)), -127, 127) * step
    assert np.allclose(bar.mvm(x)[0].numpy(), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("compute", "levels"), [("int8", 2), ("int16", 2), ("float32", 2), ("int8", 16)])
@pytest.mark.parametrize("converter", ["ideal", "8 bits"])
def test_reported_rounding_is_that_of_a_product(compute: str, levels: int, converter: str) -> None:
    chip = load_chip("rram_hfo2_1t1r").replace("compute", compute).replace("device.levels", levels)
    w = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    bar = Crossbar.program(w, chip.replace("converter", ADCS[converter]), chips=range(3, 5))
    rounding = bar.rounding(1)
    used = (bar.ideal.matrix(1) if converter == "ideal" else torch.cat([*bar.readout.weights[1].linear], 1)).double()
    if converter == "ideal":
        one_by_one = bar.read(1, Rows(torch.eye(50)), 0).T.double() / bar.plan.targets.scale
        assert torch.allclose(one_by_one, used, rtol=1e-6, atol=0)
    siemens = bar.conductance[1].transpose(-1, -2).reshape(-1, 128)[:60, :50]
    error = used / (levels - 1) - (siemens[0::2] - siemens[1::2]) / chip.device.window_S
    assert rounding.compute == compute
    assert rounding.largest == pytest.approx(float(error.abs().max()), rel=1e-6)
    assert rounding.rms == pytest.approx(float(error.square().mean().sqrt()), rel=1e-6)
    assert 0.3 * rounding.step * 0.5 < rounding.largest <= rounding.step * 1.01


def test_the_mapping_report_states_the_rounding() -> None:
    model = nn.Sequential(Linear(40, 8, "sign", bias=False), Linear(8, 4, "int8", bias=False)).eval()
    chip = load_chip("rram_hfo2_1t1r")
    report = map_model(model, chip.replace("compute", "int8")).report
    binary, digital = report.to_dict()["layers"]
    assert binary["rounding"]["compute"] == "int8"
    assert binary["rounding"]["rms"] > 10 * map_model(model, chip).report.to_dict()["layers"][0]["rounding"]["rms"]
    assert digital["rounding"] is None
    assert "int8  " in report.to_text()
    both = map_model(model, chip.replace("policy.int8", "crossbar")).report.to_dict()["layers"]
    assert [row["rounding"]["compute"] for row in both] == ["float32", "float64"]


def test_real_inputs_use_the_same_integers() -> None:
    generator = torch.Generator().manual_seed(2)
    w, x = torch.randn(20, 64, generator=generator), torch.randn(5, 64, generator=generator)
    bar = Crossbar.program(w, load_chip("rram_hfo2_1t1r").replace("compute", "int8"))
    assert torch.allclose(bar.mvm(x)[0], x @ bar.ideal.matrix(0).T * bar.plan.targets.scale, rtol=1e-5, atol=1e-5)
    assert bar.mvm(x[:0]).shape == (1, 0, 20)


@needs_kernel
@pytest.mark.parametrize("compute", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["differential", "bnn_v", "tnn_iii"])
def test_memory_of_a_chip_includes_the_copy_for_the_kernel(both, kind: str, compute: str) -> None:
    model = nn.Sequential(Linear(96, 60, "xnor", bias=False), Linear(60, 70, "xnor", bias=False)).eval()
    chip = chip_of(encodings()[kind](), compute, "8 bits", Tile()).replace("device.read.sigma", 0.1)
    x = torch.randn(4, 96, generator=torch.Generator().manual_seed(0))
    if kind != "differential":  # noise that depends on the inputs does not use the kernel
        chip = chip.replace("device.read.sigma", 0.0)
    analog = map_model(model, chip)
    both(lambda: analog(x), repeats=False)
    held = 0
    for layer in analog.analog_layers.values():
        readout = layer.crossbar.readout
        assert isinstance(readout, CompiledReadout)
        used, (copy,) = readout.weights[0], readout._packed.values()
        assert copy is not None
        power = [p for p in (used.power.square, used.power.linear) if p is not None]
        tensors = [*used.linear, *(used.square or ()), *power, copy.weights]
        held += sum(t.numel() * t.element_size() for t in tensors)
    assert held == bytes_per_chip(model, chip)


@needs_kernel
def test_everything_is_compiled_before_it_is_used() -> None:
    """A study finds every compiled function ready, for the types that it calls it with."""
    assert compile_kernels() is not None
    again = compile_kernels()
    assert again is not None
    assert not again.fresh
    functions = _warm_up._functions()
    before = [tuple(f.signatures) for f in functions]
    assert all(before)
    chip = load_chip("rram_hfo2_1t1r").replace("converter", ADCS["8 bits"]).replace("device.read.sigma", 0.1)
    model = nn.Sequential(Conv2d(64, 64, 5, "xnor", bias=False)).eval()
    for stuck in (0.0, 0.1):
        map_model(model, chip.replace("device.faults.stuck_lrs", stuck))(torch.randn(2, 64, 12, 12))
    map_model(model, chip.replace("device.read.sigma", 0.0))(torch.randn(2, 64, 12, 12))
    assert [tuple(f.signatures) for f in functions] == before


def test_stored_results_keep_their_names() -> None:
    study = load_study("quickstart")
    point = points_of(study)[0]
    assert "compute" not in point.content["chip"]
    other = copy.copy(point)
    object.__setattr__(other, "chip", {**(point.chip or {}), "compute": "int8"})
    other.__dict__.pop("content", None)
    assert other.content["chip"]["compute"] == "int8"


@needs_kernel
@pytest.mark.parametrize("shape", [(7, 5), (70, 24), (1, 1), (330, 1030)])
def test_compiled_samples_equal_those_of_numpy(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same columns in the same order for any width of a line; the differences of pairs are equal too."""
    table = np.random.default_rng(0).random((4, WIDTH)).astype(np.float32)
    rows = np.random.default_rng(1).integers(0, 4, shape[0] * shape[1]).astype(np.int32)
    stream = Stream(7, "layer", "programming")
    monkeypatch.setattr(_rng, "_LARGE", 1)
    compiled = stream.entries(table, rows, chip=3, epoch=2)
    monkeypatch.setattr(_rng, "compiled", lambda: False)
    assert np.array_equal(compiled, stream.entries(table, rows, chip=3, epoch=2))
    assert np.array_equal(compiled, table[rows, stream.columns(len(rows), 3, 2)])
    tails = stream.columns(len(rows), 3, 2) >= PARTS
    assert tails.any() == (len(rows) > 10_000)
    normal = _rng.normal_quantiles()[stream.columns(len(rows), 3, 2, block=9)]
    assert np.array_equal(normal, stream.normal(len(rows), 3, 2, block=9))
    with monkeypatch.context() as again:
        again.setattr(_rng, "compiled", lambda: True)
        assert np.array_equal(normal, stream.normal(len(rows), 3, 2, block=9))
    units = rows.reshape(shape).astype(np.float32) - 2.0
    assert stream.differences(table, units, 3, 2) is None
    monkeypatch.setattr(_rng, "compiled", lambda: True)
    levels = np.stack([units.clip(min=0), (-units).clip(min=0)], 1).astype(np.int32).reshape(-1)
    whole = (table * 1000).astype(np.int16)
    g = stream.entries(whole.astype(np.float32), levels, 3, 2).reshape(shape[0], 2, shape[1])
    found = stream.differences(whole, units, 3, 2)
    assert found is not None
    assert np.array_equal(found[0], g[:, 0] - g[:, 1])
    assert found[1] == np.abs(g[:, 0] - g[:, 1]).max()


@needs_kernel
@pytest.mark.parametrize(("compute", "top", "unit"), [("int8", 127, 2.0**-7), ("int16", 32639, 2.0**-12)])
@pytest.mark.parametrize("beyond", [0, 1])
def test_compiled_rounding_equals_that_of_torch(compute: str, top: int, unit: float, beyond: int) -> None:
    """To the bit, also signs of zeros; halves are rounded to even. One step above the range doubles the unit."""
    plan = Plan.of(torch.ones(1, 1), encodings()["differential"](), load_chip("ideal").replace("compute", compute), "")
    eighths = torch.arange(-8 * 50, 8 * 50 + 1) / 8
    x = torch.cat([eighths, torch.tensor([-0.0, float(top + beyond)])])[None, None] * unit
    compiled, step = _programmed_weights.rounded(
        Coefficients(x.clone(), None, None, largest=(top + beyond) * unit), plan
    )
    plain, same = _programmed_weights.rounded(Coefficients(x.clone(), None, None), plan)
    assert step == same == unit * (1 + beyond)
    assert torch.equal(compiled.linear.view(torch.int32), plain.linear.view(torch.int32))
    assert not torch.equal(plain.linear, x)


@needs_kernel
@pytest.mark.parametrize("other", [0, 1000])
def test_the_number_of_words_is_that_of_the_largest_conductance_difference(other: int) -> None:
    """On any tile; none where it needs more than two, or is not an integer."""
    for largest, words in ((127, 1), (-127, 1), (128, 2), (-32639, 2), (32640, None), (-(2.0**31), None), (0.5, None)):
        tiles = torch.full((70, 6), float(other)), torch.zeros(70, 5)
        tiles[1][69, 4] = largest
        weights = _programmed_weights.ProgrammedWeights(tiles, None, None, ReadPower(), unit=1.0)
        packed = _product.Packed.of(weights, run=11)
        assert (packed and packed.words) == (words and max(words, 2 if other else 1))
        if packed is not None:
            assert packed.bound == max(abs(largest), 6 * other)
            assert packed.sums[1, 69] == largest


@needs_kernel
@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize(("levels", "stuck"), [(2, 0.0), (16, 0.0), (2, 0.1)])
def test_programming_is_the_same_without_numba(
    compute: str, levels: int, stuck: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = torch.randn(33, 70, generator=torch.Generator().manual_seed(0))
    chip = load_chip("rram_hfo2_1t1r").replace("compute", compute).replace("device.levels", levels)
    chip = chip.replace("device.faults.stuck_lrs", stuck)
    monkeypatch.setattr(_rng, "_LARGE", 1)
    compiled = [Crossbar.program(w, chip, 2, seed=5, epoch=4).ideal.matrix(c) for c in range(2)]
    monkeypatch.setattr(_rng, "compiled", lambda: False)
    plain = [Crossbar.program(w, chip, 2, seed=5, epoch=4).ideal.matrix(c) for c in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(compiled, plain, strict=True))
    assert not torch.equal(compiled[0], compiled[1])


@needs_kernel
@pytest.mark.parametrize(
    ("features", "allowed"), [(None, True), ("", False), ("+avx2,+avx512f", False), ("+avx2,+fma", True)]
)
def test_the_kernel_is_left_out_where_numba_may_not_use_its_instructions(
    features: str | None, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NUMBA_CPU_NAME=generic sets no features; LLVM would abort the process at VPDPBUSD or VPMADDUBSW."""
    from numba.core import config

    from imc_sim.array._compiled._byte_products import supported

    monkeypatch.setattr(config, "CPU_FEATURES", features)
    assert supported() is allowed


@needs_kernel
@pytest.mark.parametrize(("top", "inputs"), [(1, 2000), (1, 63 * 4), (1, 63 * 4 + 1), (127, 500)])
@pytest.mark.parametrize("weight", [127, -127, 384, -32639, 126 * 256 + 128])
def test_sums_of_the_largest_numbers_are_those_of_whole_numbers(
    top: int, inputs: int, weight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sum of 16 bits ends at its limit: largest inputs and words of weights, -128 in the lower word included."""
    assert inputs * abs(weight) * top < 2**31
    w = torch.full((70, inputs), float(weight))
    w[1], w[2, ::2] = -weight, 0.0
    x = torch.full((13, inputs), float(top))
    x[1], x[2, ::3] = -top, 0.0
    programmed: Any = SimpleNamespace(linear=[w], square=None, unit=1.0)
    packed, found = _product.Packed.of(programmed, inputs), Rows(x).as_bytes(False)
    assert packed is not None
    assert found is not None
    monkeypatch.setattr(_product, "_EXACT", 2**31)
    y = _product.multiply(packed, found, None, 1.0, None)
    assert y is not None
    assert torch.equal(y, (x.double() @ w.T.double()).float())
