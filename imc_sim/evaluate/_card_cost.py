"""Energy, latency and area of an inference of a model: its network and the search in its key memory."""

from __future__ import annotations

from imc_sim._arguments import checked
from imc_sim._errors import InputError, check_whole
from imc_sim._rng import chip_numbers
from imc_sim.array import Chip
from imc_sim.cost import Components, CostReport, cost, memory_cost
from imc_sim.evaluate._calibration import calibration_images, calibration_keys, calibration_task, programmed
from imc_sim.evaluate._card import ENCODERS, stated_tasks
from imc_sim.evaluate._classification import configured
from imc_sim.evaluate._episodes import features_of
from imc_sim.evaluate._memory_keys import KeyMaker
from imc_sim.evaluate._read_out import memory_of
from imc_sim.evaluate._sampled_chips import SampledChips
from imc_sim.evaluate._session import Session
from imc_sim.evaluate._tasks import ClassificationTask, FewShotTask, build_task, counted
from imc_sim.mapping import check_on_chip
from imc_sim.nn.store import inputs_of, load_card


@checked
def cost_for_card(name: str, chip: Chip, chips: int = 4, seed: int = 0, images: int = 16) -> CostReport:
    """Return what an inference of a model takes, on data of the first task on its card, or on inputs of its card.

    Args:
        name: name or path of the model.
        chip: the chip.
        chips: number of sampled chips.
        seed: seed of the sampled chips.
        images: number of images that are averaged.

    Returns:
        The report.

    Raises:
        InputError: the chip states no cost, or a network of any modules has neither a task nor inputs.
    """
    Components.of(chip)
    session, (card, folder) = Session.on("cpu"), load_card(name)
    check_whole(images, "cost_for_card, images", 1)
    sampled = SampledChips(chip, chip_numbers(chips, "cost_for_card"), seed)
    if card.measured or card.recipe.get("measure") or card.arch.name in ENCODERS:
        task = session.sized(counted(build_task(stated_tasks(card, folder)[0][0], "task"), "the tasks of a card"), name)
        return _of_task(session, name, task, sampled, images)
    network = session.model(name)
    inputs = inputs_of(network)
    if inputs is None:
        step = "Add --inputs FILE, also to imc-sim import."
        raise InputError(f"model {card.name!r}", "neither a task nor inputs", "some inputs of the network", step)
    analog, _ = sampled.program(network, inputs, session.probe(name, network, inputs))
    check_on_chip(analog.report, memory=False)
    return cost(analog, inputs)


def _of_task(
    session: Session, model: str, task: FewShotTask | ClassificationTask, chips: SampledChips, images: int
) -> CostReport:
    """Return the cost on images of training data, with a search among keys of one of its episodes."""
    network = session.model(model)
    network = configured(network, task) if isinstance(task, ClassificationTask) else network
    analog, _ = programmed(session, model, network, task, chips)
    found = cost(analog, calibration_images(session, task)[:images])
    if not isinstance(task, FewShotTask):
        check_on_chip(analog.report, memory=False)
        return found
    if not chips.searches:
        return found
    training = calibration_task(task)
    data = session.episodes(training)
    maker = KeyMaker(
        features_of(session.model(model), data.images, task.batch), task.read_out, data.support, data.query
    )
    memory, (keys, queries) = memory_of(maker, chips, calibration_keys(session, model, chips.chip, task)), maker.one(0)
    memory.write(keys, maker.labels)
    return found.joined(memory_cost(memory, queries))
