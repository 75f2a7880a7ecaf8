"""A headless Chromium, controlled through its debugging pipe, so that no driver and no port is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imc_sim.study import Results, run
from imc_sim.testing import stand_in_evaluator

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
#: puts the pipe where Chromium expects it: commands on 3, answers on 4
START = (
    "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); os.execvp(sys.argv[3], sys.argv[3:])"
)

HOSTILE = "--><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
STUDY = {
    "name": "small",
    "question": f"Does it survive? {HOSTILE}",
    "model": "batmann_5w1s_xnor",
    "chip": "rram_hfo2_1t1r",
    "task": {"dataset": "glyphs", "split": "test"},
    "cases": [{"name": HOSTILE}, {"name": "b", "set": {"task.way": 4}}],
    "axes": [
        {"path": "chip.device.programming.sigma", "values": [0, 0.05, 0.1, 0.25], "label": "variation", "unit": "%",
         "scale": 100},
        {"path": "chip.tile.rows", "values": [3, 10], "label": HOSTILE, "unit": "</svg>"},
    ],
    "set": {"chip.device.correlated.gradient": 0.1},  # so that the size of tiles acts
    "chips": {"min": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(STUDY, tmp_path_factory.mktemp("results") / "small", evaluator=stand_in_evaluator)


class Browser:
    """A page of a separate Chromium; `events` holds everything that it fetched or reported."""

    def __init__(self, binary: str, profile: Path) -> None:
        commands, self._commands = _pipe()
        self._answers, answers = _pipe()
        argv = [sys.executable, "-c", START, str(commands), str(answers), binary, *FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            argv, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._number, self._buffer, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda m: m.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        if not self.of("Page.loadEventFired"):
            self._until(lambda m: m.get("method") == "Page.loadEventFired")
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def js(self, expression: str) -> Any:
        """Return the value of an expression, as JSON holds it."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def picture(self, box: dict[str, float]) -> bytes:
        """Return a part of the page as PNG."""
        clip = box | {"scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def of(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] in methods]

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            while b"\0" in self._buffer:
                text, self._buffer = self._buffer.split(b"\0", 1)
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            if select.select([self._answers], [], [], 1.0)[0]:
                data = os.read(self._answers, 2**16)
                if not data:
                    break
                self._buffer += data
        raise TimeoutError("Chromium does not answer")

    def close(self) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends have numbers above those that Chromium uses."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a headless Chromium; skip where there is none."""
    named = os.environ.get("IMC_SIM_CHROMIUM")
    binary = named or next((found for name in NAMES if (found := shutil.which(name))), None)
    if binary is None:
        pytest.skip("needs a Chromium: install one, or name it with IMC_SIM_CHROMIUM")
    opened = Browser(binary, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
