"""The peers and their environments: a folder each, made by venv and pip, or the reason why one could not be made."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / ".peers"
#: seconds for one call of pip
LIMIT_S = 600
TORCH = ("torch==2.13.0", "numpy")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "imc_sim", "wheels")


@dataclass(frozen=True)
class Peer:
    """environment: folder under .peers, "" for this one. steps: arguments of pip, one call after the other.

    unpublished: why pip cannot install it; a free name is not tried, since anybody could publish under it.
    """

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    environment: str = ""
    steps: tuple[tuple[str, ...], ...] = ()
    unpublished: str = ""

    @property
    def ours(self) -> bool:
        """Tell if it needs no separate environment."""
        return not self.environment

    @property
    def python(self) -> str:
        """Return the Python that runs the script."""
        return sys.executable if self.ours else str(FOLDER / self.environment / "bin" / "python")


#: requirements without which the package cannot be imported; of all that it names, one cannot be installed
_MEMTORCH = ("pandas", "matplotlib", "scipy", "scikit-learn", "seaborn", "tqdm", "ninja", "setuptools", "wheel")
_AIHWKIT = (TORCH, ("--only-binary=aihwkit", "--prefer-binary", "aihwkit"))
_UNPUBLISHED = "a repository, no package that pip could install"
#: the checkout of a user who has one
_CROSSSIM = os.environ.get("IMC_SIM_CROSSSIM", "")
PLAIN = Peer("plain torch", "peer_torch.py")
OURS = tuple(Peer(f"imc_sim, {c}", "peer_ours.py", (c,)) for c in ("float32", "int8"))
OTHERS = (
    Peer("aihwkit, torch tile", "peer_aihwkit.py", ("torch",), "aihwkit", _AIHWKIT),
    Peer("aihwkit, compiled tile", "peer_aihwkit.py", ("compiled",), "aihwkit", _AIHWKIT),
    Peer("aihwkit-lightning", "peer_lightning.py", (), "lightning", (TORCH, ("aihwkit-lightning",))),
    Peer("torchhd, noise by hand", "peer_torchhd.py", (), "torchhd", (TORCH, ("torch-hd",))),
    # It plots with cairo, which needs a compiler and its headers; the solver does not.
    Peer(
        "badcrossbar", "peer_badcrossbar.py", (), "badcrossbar",
        (("numpy", "scipy", "pathvalidate", "sigfig"), ("--no-deps", "badcrossbar")),
    ),
    Peer(
        "MemTorch", "peer_memtorch.py", (), "memtorch",
        ((*TORCH, *_MEMTORCH), ("--no-build-isolation", "--no-deps", "memtorch-cpu==1.1.6")),
    ),
    Peer(
        "CrossSim", "peer_crosssim.py", (), "crosssim", ((*TORCH, "scipy"), ("--no-deps", _CROSSSIM)),
        "" if _CROSSSIM else f"{_UNPUBLISHED}; runs if IMC_SIM_CROSSSIM names a checkout",
    ),
    *(Peer(name, "", (), name, (), _UNPUBLISHED) for name in ("analog-cim-sim", "DNN+NeuroSim")),
)  # fmt: skip


@functools.cache
def install(peer: Peer) -> str:
    """Return why this peer cannot be used, or an empty string; an existing environment is not installed again."""
    if peer.ours or peer.unpublished:
        return peer.unpublished
    record = FOLDER / peer.environment / "installed.json"
    if record.exists() and json.loads(record.read_text())["steps"] == [list(step) for step in peer.steps]:
        return ""
    print(f"installing {peer.environment} ...", file=sys.stderr, flush=True)
    started = time.perf_counter()
    reason = _make(peer)
    if not reason:
        record.write_text(json.dumps({"steps": peer.steps, "seconds": time.perf_counter() - started}))
    return reason


def _make(peer: Peer) -> str:
    folder = FOLDER / peer.environment
    if not Path(peer.python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # A package that is compiled finds the tools of its environment first.
    env = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    if peer.environment == "memtorch":
        env["PIP_FIND_LINKS"] = " ".join(map(str, sorted(CACHE.glob(f"{sys.implementation.cache_tag}-torch-*"))))
    for step in peer.steps:
        argv = [peer.python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *step]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"pip install {' '.join(step)} took more than {LIMIT_S} s"
        if done.returncode:
            return reason_of(done.stderr)
    return ""


def reason_of(output: str) -> str:
    """Return the error that pip, a compiler or a peer names: the first such line, otherwise the last one.

    Folders of this machine are removed, since the text is published on a page.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"(?:ERROR|error|Error): ", line)]
    causes = [line for line in named if "subprocess-exited" not in line]
    text = next(iter(causes or named), lines[-1] if lines else "pip printed nothing")
    return re.sub(r"/\S+/", "", text.removeprefix("ERROR: "))
