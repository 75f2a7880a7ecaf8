"""Models, images and features of digital networks that a process keeps between evaluations."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, final

from torch import Tensor, nn

from imc_sim.config import held, is_held
from imc_sim.evaluate._device import check_there
from imc_sim.evaluate._episodes import FewShotData, features_of
from imc_sim.evaluate._held_data import forget_with, refresh_data
from imc_sim.evaluate._identity import data_of_task, features_digest, network_key
from imc_sim.evaluate._labelled import ClassificationData
from imc_sim.evaluate._object_digests import object_digest
from imc_sim.evaluate._tasks import AnyTask, ClassificationTask, FewShotTask, with_size
from imc_sim.mapping import Probe
from imc_sim.nn.store import load_model
from imc_sim.sites import own_copy

T = TypeVar("T")
#: settings of a few-shot task that change neither its images nor its episodes
_READ_OUT = {
    "keys": "bipolar", "query_form": None, "similarity": "dot", "sharpening": "none", "threshold": "zero",
    "prototypes": "none", "dim": None, "attack": None,
}  # fmt: skip
#: settings of a classification task that do not change its images
_OF_THE_NETWORK = {**dict.fromkeys(("vote", "members", "stage", "head", "statistics", "steps")), "outputs": "all"}
#: objects kept of each kind
_KEPT = {"model": 8, "directions": 16, "features": 8, "probe": 2}
_KEPT_OTHERWISE = 4


#: sessions of this process by device
_SESSIONS: dict[str, Session] = {}


@final
class Session:
    """Models, images and features of one device, each computed once for the settings that it depends on.

    Tasks are frozen, so they are the keys. `Session.on(device)` is the session of this process.

    Args:
        device: `cpu` or `cuda`.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._kept: dict[str, OrderedDict[object, object]] = {}

    @staticmethod
    def on(device: str) -> Session:
        """Return the session of this process on a device.

        Args:
            device: `cpu` or `cuda`.
        """
        if device not in _SESSIONS:
            check_there(device)
            _SESSIONS[device] = Session(device)
        return _SESSIONS[device]

    @staticmethod
    def forget_all() -> None:
        """Have every session of this process `forget`."""
        for session in _SESSIONS.values():
            session.forget()

    def kept(self, kind: str, key: object) -> Any:
        """Return the object that is kept under a kind and key, or None.

        Args:
            kind: kind of the object.
            key: everything that the object depends on.
        """
        kept = self._kept.setdefault(kind, OrderedDict())
        if key not in kept:
            return None
        kept.move_to_end(key)
        return kept[key]

    def keep(self, kind: str, key: object, made: T) -> T:
        """Keep an object; for each kind only the most recently used objects are kept.

        Args:
            kind: kind of the object.
            key: everything that the object depends on.
            made: the object.

        Returns:
            The object.
        """
        kept = self._kept.setdefault(kind, OrderedDict())
        kept[key] = made
        if len(kept) > _KEPT.get(kind, _KEPT_OTHERWISE):
            kept.popitem(last=False)
        return made

    def once(self, kind: str, key: object, make: Callable[[], T]) -> T:
        """Return the kept object; make and keep it if there is none.

        Args:
            kind: kind of the object.
            key: everything that the object depends on.
            make: returns the object.
        """
        held: T | None = self.kept(kind, key)
        return self.keep(kind, key, make()) if held is None else held

    def forget(self, models: bool = False) -> None:
        """Forget everything computed from images, so that their files are read again.

        Args:
            models: forget the models too.
        """
        for kind in set(self._kept) - (set() if models else {"model", "function"}):
            del self._kept[kind]

    def model(self, name: str) -> nn.Module:
        """Return a digital network.

        Args:
            name: name or path of the model.
        """
        return self.once("model", network_key(name), lambda: self._loaded(name))

    def _loaded(self, name: str) -> nn.Module:
        if is_held(name) and self.device == "cpu":
            return held(name).value
        if self.device != "cpu":
            return own_copy(Session.on("cpu").model(name)).to(self.device)
        return load_model(name)

    def probe(self, model: str, network: nn.Module, inputs: Any) -> Probe | None:
        """Return the products that a network of any modules makes, found once for all chips and points.

        Args:
            model: name or path of the model.
            network: its network, as a task uses it.
            inputs: inputs to find them on; None for a network of `imc_sim.nn` layers.

        Returns:
            The products; None without inputs.
        """
        if inputs is None:
            return None
        key = network_key(model), object_digest(inputs, f"model {model!r}, inputs")
        found: tuple[nn.Module, Probe] | None = self.kept("probe", key)
        if found is None or found[0] is not network:
            found = self.keep("probe", key, (network, Probe(network, inputs)))
        return found[1]

    def sized(self, task: AnyTask, model: str) -> AnyTask:
        """Return the task with the image size of the model if it states none, after a check for changed files.

        Data of files that have changed are forgotten.

        Args:
            task: any task.
            model: name or path of a model.
        """
        refresh_data(data_of_task(task.to_dict(), calibrates=True))
        return task if task.size else with_size(task, getattr(Session.on("cpu").model(model), "size", None))

    def images(self, task: ClassificationTask) -> ClassificationData:
        """Return the labelled images of a task.

        Args:
            task: classification task.
        """
        key, of = images_key(task), None if task.features is None else features_digest(task.features)
        make = lambda: dataclasses.replace(ClassificationData.load(key), device=self.device)  # noqa: E731
        return self.once("images", (key, of), make)

    def episodes(self, task: FewShotTask) -> FewShotData:
        """Return the images and episodes of a task, not attacked.

        Args:
            task: few-shot task.
        """
        key = episodes_key(task)
        return self.once("episodes", key, lambda: self._episodes(key))

    def _episodes(self, task: FewShotTask) -> FewShotData:
        if self.device == "cpu":
            return FewShotData.load(task)
        data = Session.on("cpu").episodes(task)
        return dataclasses.replace(data, images=data.images.to(self.device))

    def features(self, model: str, task: FewShotTask) -> Tensor:
        """Return the features [u, dim] of the images of a task by the digital network, not attacked.

        Models that have the same weights in the same architecture share them.

        Args:
            model: name or path of a model.
            task: few-shot task.
        """
        key = features_digest(model), features_key(task)
        images = self.episodes(task).images
        return self.once("features", key, lambda: features_of(self.model(model), images, task.batch))


def features_key(task: FewShotTask) -> FewShotTask:
    """Return the task without settings that change neither its images nor their batches.

    Args:
        task: few-shot task.
    """
    return task.model_copy(update=_READ_OUT)


def episodes_key(task: FewShotTask) -> FewShotTask:
    """Return the task without settings that change neither its images nor its episodes."""
    return task.model_copy(update={**_READ_OUT, "batch": 1 if task.passes == "distinct" else task.batch})


def images_key(task: ClassificationTask) -> ClassificationTask:
    """Return the task without settings that do not change its images."""
    return task.model_copy(update={"batch": 1, **_OF_THE_NETWORK})


forget_with(Session.forget_all)
