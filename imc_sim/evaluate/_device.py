"""The device of an evaluation: the CPU, or a CUDA device restricted to IEEE float32."""

from __future__ import annotations

import re

from imc_sim._errors import InputError, shown_value
from imc_sim.config import Engine


def check_device(device: str, engine: Engine) -> None:
    """Check that this machine and the backend have a device.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        engine: backend that computes products.

    Raises:
        InputError: the device is missing.
    """
    if device == "cpu":
        return
    _check_name(device)
    if not engine.native:
        step = "Leave device out, or use the native backend."
        raise InputError("device", f"{device} with backend {engine.kind}", "cpu with a foreign backend", step)
    check_there(device)


def _check_name(device: str) -> None:
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", device):
        raise InputError("device", shown_value(device), "cpu, cuda, cuda:0, cuda:1, …", "Choose one of these.")


def check_there(device: str) -> None:
    """Check that this machine has a device.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        InputError: the device is missing.
    """
    _check_name(device)
    if device == "cpu":
        return
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= there:
        step = "Install a torch with CUDA on a machine that has such a device, or leave device out."
        raise InputError("device", device, f"cpu ({there} CUDA devices here)", step)


def prepare_device(device: str) -> None:
    """Make a CUDA device multiply float32 as float32, deterministically.

    TF32 keeps 10 bits of a factor and would round the differential conductance of a cell, a multiple of 2^-12 of the
    window.
    """
    if device == "cpu":
        return
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
