"""Map a model by the settings of its card."""

from __future__ import annotations

from pathlib import Path

from imc_sim._arguments import checked
from imc_sim._errors import InputError
from imc_sim.analog import AnalogModel, chip_count, read_conductances
from imc_sim.array import Chip
from imc_sim.evaluate._calibration import calibration_images, probe_for
from imc_sim.evaluate._card import ENCODERS, stated_tasks
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import Counted, FewShotTask, build_task, counted
from imc_sim.mapping import check_on_chip, map_model
from imc_sim.nn import product_layers
from imc_sim.nn.store import inputs_of, load_card


@checked
def map_for_card(name: str, chip: Chip, conductances: Path | None = None, chips: int | None = None) -> AnalogModel:
    """Map a model onto one chip: a network of any modules with the inputs of its card or images of its first task.

    Args:
        name: name or path of the model.
        chip: the chip.
        conductances: .npz file of measured conductances; None: cells are simulated.
        chips: number of chips; None: all that were measured, or one simulated chip.

    Returns:
        The mapped model.

    Raises:
        InputError: a network of any modules without inputs, and without a task whose images are taken.
    """
    session = Session.on("cpu")
    network = session.model(name)
    inputs, (card, _) = inputs_of(network), load_card(name)
    states = bool(card.measured or card.recipe.get("measure") or card.arch.name in ENCODERS)
    if inputs is None and not product_layers(network):
        if not states:
            step = "Add --inputs FILE, also to imc-sim import."
            raise InputError(f"model {card.name!r}", "no inputs", "some, to find the products of the network", step)
        inputs = probe_for(session, name, network, _first_task(session, name))
    measured = None if conductances is None else read_conductances(conductances)
    if chips is None:
        chips = 1 if measured is None else chip_count(measured)
    mapped = map_model(network, chip, chips, seed=0, inputs=inputs, conductances=measured)
    few_shot = states and isinstance(_first_task(session, name), FewShotTask)
    check_on_chip(mapped.report, few_shot and chip.policy.memory == "crossbar")
    return mapped


def calibrate_for_card(analog: AnalogModel, name: str) -> None:
    """Calibrate a mapped model on the training data of the first task on its card.

    Ranges and driven rows are measured even where the chip sets them, for its report. Without a layer on a crossbar
    nothing is done.

    Args:
        analog: the mapped model.
        name: name or path of the model.
    """
    session = Session.on("cpu")
    if analog.analog_layers:
        analog.calibrate(calibration_images(session, _first_task(session, name)))


def _first_task(session: Session, name: str) -> Counted:
    """Return the first task on the card of a model, or of its recipe."""
    stated = build_task(stated_tasks(*load_card(name))[0][0], "task")
    return session.sized(counted(stated, "the tasks of a card"), name)
