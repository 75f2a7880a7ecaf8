"""Attacks by name, for a study's worker: what is attacked through a digital network is kept between calls."""

from __future__ import annotations

import functools
import json
from typing import Any

import torch
from torch import Tensor

from imc_sim.analog import AnalogModel
from imc_sim.array import Chip
from imc_sim.config import Engine, build, canonical_json
from imc_sim.evaluate._accuracy import Accuracy
from imc_sim.evaluate._attack_specs import Fgsm
from imc_sim.evaluate._attacked import Victim, attacked, chip_victim, directions, stepped, with_queries
from imc_sim.evaluate._calibration import Calibration, calibrate, calibration_keys
from imc_sim.evaluate._few_shot import FewShotData, chip_accuracy, digital_read_out, features_of
from imc_sim.evaluate._run import _data_key, _data_on, _digital_features, _feature_key, _model_on
from imc_sim.evaluate._tasks import FewShotTask
from imc_sim.mapping import map_model

#: what is to be carried over to chip n is made on chip n + this, which no study draws
_STRANGER = 2**32
#: keys of a task that the gradient of the cosine does not feel
_UNFELT = {"keys": "bipolar", "query_form": None, "similarity": "dot", "sharpening": "none"}


def attacked_data(model: str, task: FewShotTask, device: str) -> FewShotData:
    """The task's episodes with queries attacked through the digital network, whatever the attack says of chips."""
    if task.attack is None or task.attack.harmless:
        return _data_on(_data_key(task), device)
    return _attacked(model, _made_digitally(task), device)


def attacked_features(model: str, task: FewShotTask, device: str) -> Tensor:
    """The digital network's features of the images of `attacked_data`."""
    if task.attack is None or task.attack.harmless:
        return _digital_features(model, _feature_key(task), device)
    return _attacked_features(model, _made_digitally(task), device)


def chip_under_attack(
    model: str, chip: Chip, task: FewShotTask, number: int, seed: int, engine: Engine | None, device: str
) -> tuple[Accuracy, Calibration]:
    """Accuracy of one chip under an attack made through a chip, and what calibration found of the evaluated one."""
    clean, network = _data_on(_data_key(task), device), _model_on(model, device)
    transfer = task.attack.transfer if task.attack else "none"

    def programmed(number: int) -> tuple[AnalogModel, Calibration]:
        analog = map_model(network, chip, range(number, number + 1), seed, engine=engine)
        return analog, calibrate(analog, chip, task, device)

    attacker, found = programmed(number + _STRANGER if transfer == "chip" else number)
    known = calibration_keys(model, chip, task, device)
    victim = chip_victim(attacker, clean, task, chip, seed, engine, known)
    data, kept = with_queries(clean, attacked(clean, task, victim))
    if transfer == "digital":
        return digital_read_out(features_of(network, data, task.batch), task.read_out, data), Calibration()
    if transfer == "chip":
        analog, found = programmed(number)
        features = features_of(analog, data, task.batch)
    else:  # the supports have gone through this chip already
        analog, asked = attacker, FewShotData(data.images[len(kept) :], data.support, data.query, data.classes)
        features = torch.cat([victim.keys[kept][None], features_of(analog, asked, task.batch)], dim=1)
    chips = range(number, number + 1)
    return chip_accuracy(analog, features, task.read_out, data, chip, chips, seed, engine, known)[0], found


def _made_digitally(task: FewShotTask) -> str:
    """What decides the images of an attack through the digital network."""
    data = task.to_dict()
    data["attack"] |= {"through": "digital", "transfer": "none"}
    return canonical_json(data | (_UNFELT if data["attack"]["loss"] == "cosine" else {}))


@functools.lru_cache(maxsize=4)
def _attacked(model: str, key: str, device: str) -> FewShotData:
    task = build(FewShotTask, json.loads(key), "task")
    data = _data_on(_data_key(task), device)
    if isinstance(task.attack, Fgsm):
        queries = stepped(data, task, _directions(model, _undirected(json.loads(key)), device))
    else:
        queries = attacked(data, task, _victim(model, task, device))
    return with_queries(data, queries)[0]


@functools.lru_cache(maxsize=4)
def _attacked_features(model: str, key: str, device: str) -> Tensor:
    """The supports' features are those of the clean images, which are there already."""
    task = build(FewShotTask, json.loads(key), "task")
    clean, data = _data_on(_data_key(task), device), _attacked(model, key, device)
    kept = with_queries(clean, clean.images[:0])[1]
    asked = FewShotData(data.images[len(kept) :], data.support, data.query, data.classes)
    supports = _digital_features(model, _feature_key(task), device)[kept]
    return torch.cat([supports, features_of(_model_on(model, device), asked, task.batch)])


def _undirected(task: dict[str, Any]) -> str:
    """FGSM of any strength goes in the direction that the clean image has."""
    return canonical_json(task | {"attack": task["attack"] | {"epsilon": 0.0, "space": "pixels"}})


@functools.lru_cache(maxsize=16)  # a byte a pixel, and every strength and procedure takes the same
def _directions(model: str, key: str, device: str) -> Tensor:
    task = build(FewShotTask, json.loads(key), "task")
    return directions(_data_on(_data_key(task), device), task, _victim(model, task, device))


def _victim(model: str, task: FewShotTask, device: str) -> Victim:
    return Victim(_model_on(model, device), _digital_features(model, _feature_key(task), device))


#: what is kept of images
OF_DATA = (_attacked, _attacked_features, _directions)
