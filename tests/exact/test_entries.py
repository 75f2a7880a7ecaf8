"""Every entry of the package refuses inputs that are not finite, empty or of an unsupported type."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import imc_sim as imc
from imc_sim import AssociativeMemory, Crossbar, InputError, load_chip, load_model, map_model
from imc_sim.array import effective_conductance
from imc_sim.evaluate import ClassificationTask, FewShotTask, Session, class_accuracy, evaluate_chips, few_shot_accuracy
from imc_sim.evaluate._embedding import tsne
from imc_sim.nn import Norm, two_valued
from imc_sim.nn.networks import BatmannController
from imc_sim.train import boost

MODEL = "batmann_small_xnor"
CHIP = load_chip("rram_hfo2_1t1r")
NOISY = CHIP.replace("device.read.sigma", 0.05)
TASK: dict[str, Any] = {"dataset": "glyphs", "split": "test", "episodes": 2, "way": 5, "shot": 1, "queries": 2}
IMAGES = torch.zeros(1, 1, 32, 32)


def memory(form: Any = "bipolar", chip: Any = CHIP) -> AssociativeMemory:
    held = AssociativeMemory(chip, dim=8, chips=2, form=form)
    held.write(torch.randn(3, 8), torch.arange(3))
    return held


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_at_every_entry(bad: float) -> None:
    images, keys = IMAGES.clone(), torch.randn(3, 8)
    images[0, 0, 5, 7] = keys[1, 2] = bad
    model = load_model(MODEL)
    analog, crossbar = map_model(model, CHIP), Crossbar.program(torch.randn(4, 8), CHIP)
    fresh = BatmannController("xnor", width=4, dim=8).eval()
    entries: list[Callable[[], object]] = [
        lambda: model(images), lambda: fresh(images), lambda: analog(images), lambda: analog.on_chip(0, images),
        lambda: analog.calibrate(images), lambda: crossbar.mvm(keys), lambda: crossbar.currents(keys),
        lambda: Crossbar.program(keys, CHIP),
    ]  # fmt: skip
    for form in ("bipolar", "binary", "float"):
        held = memory(form)
        entries += [lambda held=held: held.write(keys, torch.arange(3)), lambda held=held: held.search(keys)]
        entries += [lambda held=held: held.calibrate(keys, keys.clone().nan_to_num_(0, 0, 0))]
        entries += [lambda held=held: held.calibrate(keys.clone().nan_to_num_(0, 0, 0), keys)]
    for entry in entries:
        with torch.no_grad(), pytest.raises(InputError, match="NaN or infinite"):
            entry()


class Overflowing(torch.nn.Module):
    """A float network whose outputs are too large for float32."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(1000 + x.flatten(1)[:, :10])


def test_outputs_that_are_not_finite_are_errors() -> None:
    with pytest.raises(InputError, match="features: got .* NaN or infinite"):
        few_shot_accuracy(Overflowing(), FewShotTask(**TASK, size=32))
    with pytest.raises(InputError, match="outputs of the network: got .* NaN or infinite"):
        class_accuracy(Overflowing(), ClassificationTask(dataset="digits", images=4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_sign_of_subnormal_numbers_is_kept(dtype: torch.dtype) -> None:
    """Subnormal numbers above 0 are above 0."""
    least = torch.tensor([torch.finfo(dtype).tiny], dtype=torch.float64).to(dtype)
    below = torch.nextafter(torch.zeros(1, dtype=torch.float32), torch.ones(1)) if dtype == torch.float32 else least / 2
    x = torch.cat([least, below, torch.zeros(1, dtype=dtype), -below, -least])
    assert two_valued(x).tolist() == [1, 1, -1, -1, -1]
    assert two_valued(torch.tensor([6.1e-5, 3e-5], dtype=torch.float16)).tolist() == [1, 1]
    assert two_valued(torch.tensor([-2, 0, 3])).tolist() == [-1, -1, 1]


def unusual(x: Tensor) -> dict[str, Tensor]:
    return {
        "complex": x.to(torch.complex64), "sparse": x.to_sparse(), "meta": x.to("meta"),
        "float8_e4m3fn": x.to(torch.float8_e4m3fn),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(unusual(torch.ones(1, 1))))
def test_unsupported_tensors_are_named(kind: str) -> None:
    x = unusual(torch.ones(3, 8))[kind]
    for entry in (Crossbar.program(torch.ones(4, 8), CHIP).mvm, memory().search, lambda x: Crossbar.program(x, CHIP)):
        with pytest.raises(InputError, match=kind):
            entry(x)
    with pytest.raises(InputError, match=kind):
        load_model(MODEL)(unusual(IMAGES[0, 0])[kind])
    with pytest.raises(InputError, match=kind):
        effective_conductance(x, r_row_ohm=1.0, r_col_ohm=1.0)


@pytest.mark.parametrize("other", [np.ones((3, 8), np.float32), [[1.0] * 8] * 3], ids=["array", "list"])
def test_other_objects_than_tensors_are_named(other: Any) -> None:
    kind = type(other).__name__
    entries = (
        Crossbar.program(torch.ones(4, 8), CHIP).mvm, memory().search, lambda x: Crossbar.program(x, CHIP),
        load_model(MODEL), map_model(load_model(MODEL), CHIP), lambda x: memory().write(x, torch.arange(3)),
        lambda x: memory().write(torch.ones(3, 8), x),
    )  # fmt: skip
    for entry in entries:
        with pytest.raises(InputError, match=rf"got a {kind}; allowed: a torch tensor"):
            entry(other)


@pytest.mark.parametrize("chips", [1.5, True, "2", None])
def test_chips_are_counted_in_whole_numbers(chips: Any) -> None:
    for entry in (lambda: map_model(load_model(MODEL), CHIP, chips=chips), lambda: AssociativeMemory(CHIP, 8, chips)):
        with pytest.raises(InputError, match=rf"chips: got {chips!r}; allowed: a whole number"):
            entry()


def test_a_memory_needs_components_and_a_possible_number_of_classes() -> None:
    with pytest.raises(InputError, match="memory, dim: got 0"):
        AssociativeMemory(CHIP, 0)
    with pytest.raises(InputError, match="a label of 1099511627776; allowed: below 1000000"):
        memory().write(torch.ones(2, 8), torch.tensor([0, 2**40]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.float64])
def test_other_real_types_give_the_results_of_float32(dtype: torch.dtype) -> None:
    images, x = (torch.rand(2, 1, 32, 32) > 0.5).to(dtype), (torch.rand(3, 8) > 0.5).to(dtype)
    with torch.no_grad():
        for network in (load_model(MODEL), map_model(load_model(MODEL), CHIP, chips=2)):
            assert torch.equal(network(images), network(images.float()))
    ideal = load_chip("ideal")
    if dtype not in (torch.uint8, torch.bool):
        signs = (2 * x.float() - 1).to(dtype)
        assert torch.equal(Crossbar.program(signs, ideal).mvm(signs)[0].float(), signs.float() @ signs.float().mT)
    held, twin = (AssociativeMemory(ideal, dim=8, form="binary") for _ in range(2))
    held.write(x, torch.arange(3))
    twin.write(x.float(), torch.arange(3))
    assert torch.equal(held.search(x).float(), twin.search(x.float()))


@pytest.fixture
def double_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def results() -> list[object]:
    chip = NOISY.to_dict()
    found: list[object] = [
        r.correct for c in (None, chip) for r in evaluate_chips(MODEL, c, TASK, [0, 1], 3)
    ]  # fmt: skip
    analog = map_model(load_model(MODEL), NOISY, chips=2)
    return [*found, analog(torch.linspace(-1, 1, 2048, dtype=torch.float32).reshape(2, 1, 32, 32)).tolist()]


def test_the_default_type_of_torch_changes_no_result(request: pytest.FixtureRequest) -> None:
    wanted = results()
    Session.on("cpu").forget(models=True)
    request.getfixturevalue("double_default")
    assert results() == wanted
    assert torch.get_default_dtype() == torch.float64


def test_no_entry_uses_global_random_generators() -> None:
    def states() -> list[object]:
        kind, words, *rest = np.random.get_state()  # noqa: NPY002 the global state itself
        return [torch.get_rng_state().tolist(), random.getstate(), kind, np.asarray(words).tolist(), *rest]

    before = states()
    for name in (MODEL, "batmann_row2"):
        load_model(name)
    analog = map_model(load_model(MODEL), NOISY)
    analog.calibrate(IMAGES + torch.linspace(0, 1, 32))
    analog(IMAGES)
    memory(chip=NOISY)
    # The helper samples its keys: the state that it took is restored.
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    evaluate_chips(MODEL, NOISY.to_dict(), TASK | {"attack": {"kind": "fgsm", "epsilon": 0.1}}, [0], 0)
    assert states() == before


@pytest.mark.parametrize("chip", [CHIP, NOISY, load_chip("ideal")])
def test_empty_batches_are_refused(chip: imc.Chip) -> None:
    model, empty = load_model(MODEL), IMAGES[:0]
    assert map_model(model, chip, chips=2)(empty).shape == (2, 0, 64)
    assert memory(chip=chip).search(torch.zeros(0, 8)).shape == (2, 0, 3)
    assert Crossbar.program(torch.ones(4, 8), chip, 2).mvm(torch.zeros(0, 8)).shape == (2, 0, 4)
    with torch.no_grad():
        assert model(empty).shape == (0, 64)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (lambda: map_model(load_model(MODEL), CHIP).calibrate(IMAGES[:0]), "no images"),
        (lambda: memory().write(torch.zeros(0, 8), torch.arange(0)), "no keys"),
        (lambda: memory().calibrate(torch.ones(2, 8), torch.zeros(0, 8)), "no queries"),
        (lambda: memory().write(torch.ones(2, 8), torch.tensor([0, 1.7])), "labels: got .* not whole"),
        (lambda: memory().write(torch.ones(2, 8), torch.tensor([0, float("nan")])), "labels: got .* NaN"),
        (lambda: map_model(load_model(MODEL), CHIP, chips=0), "chips: got 0"),
        (lambda: map_model(load_model(MODEL), CHIP, chips=range(-1, 2)), "0 or more"),
        (lambda: Crossbar.program(torch.ones(2, 2), CHIP, chips=0), "chips: got 0"),
        (lambda: AssociativeMemory(CHIP, dim=8, chips=0), "chips: got 0"),
        (lambda: evaluate_chips(MODEL, CHIP.to_dict(), TASK, [], 0), r"chips: got \[\]"),
        (lambda: map_model(load_model(MODEL), CHIP, seed=-1), "seed: got -1"),
        (lambda: Crossbar.program(torch.ones(2, 2), CHIP, seed=-1), "seed: got -1"),
        (lambda: AssociativeMemory(CHIP, dim=8, seed=-1), "seed: got -1"),
        (lambda: evaluate_chips(MODEL, CHIP.to_dict(), TASK, [0], -1), "seed: got -1"),
        (lambda: tsne(np.ones((20, 4)), 3.0, 0), "the same features"),
        (lambda: tsne(np.arange(20.0)[:, None], 3.0, 0), "1 numbers an image"),
    ],
)
def test_empty_and_invalid_sizes_are_refused(entry: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        entry()


def test_whole_numbers_of_any_type_are_labels() -> None:
    held = AssociativeMemory(load_chip("ideal"), dim=8)
    held.write(torch.eye(8)[:2] * 2 - 1, torch.tensor([1.0, 0.0]))
    assert held.search(torch.eye(8)[:1] * 2 - 1).argmax(-1).tolist() == [[1]]


class WithNorm(torch.nn.Module):
    """Batch statistics in training, stored ones in evaluation; the second norm is frozen by its owner."""

    size = 32

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = Norm(16), Norm(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.norm(torch.nn.functional.avg_pool2d(x, 8).flatten(1)))


def test_evaluation_is_in_eval_mode_and_restores_the_mode() -> None:
    model, task = WithNorm(), FewShotTask(**TASK, size=32)
    wanted = few_shot_accuracy(model.eval(), task).values.tolist()
    model.train()
    model.frozen.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert few_shot_accuracy(model, task).values.tolist() == wanted
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)


def test_an_analog_model_stays_in_eval_mode() -> None:
    analog = map_model(load_model(MODEL), CHIP)
    assert not any(m.training for m in analog.train().modules())


def test_attacks_run_within_inference_mode() -> None:
    task = TASK | {"attack": {"kind": "fgsm", "epsilon": 0.1, "through": "analog"}}
    Session.on("cpu").forget(models=True)
    with torch.inference_mode():
        found = [evaluate_chips(MODEL, chip, task, [0], 0)[0].correct for chip in (None, CHIP.to_dict())]
    assert found == [evaluate_chips(MODEL, chip, task, [0], 0)[0].correct for chip in (None, CHIP.to_dict())]


@pytest.mark.parametrize(("rule", "hint"), [("bagg", "Did you mean 'bagging'? Set"), ("E", "'D'. Set"), (3, "D'. Set")])
def test_a_text_close_to_an_allowed_one_names_it(rule: Any, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(hint)):
        boost(rule, np.ones(3), np.zeros(3, bool))
