"""Nothing hangs and nothing takes all memory: limits are errors before anything is allocated."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from imc_sim import AssociativeMemory, CheckpointError, InputError, load_model
from imc_sim.config import _yaml, parse_yaml
from imc_sim.data import _fetch, fetch
from imc_sim.device.fit._columns import parse_heading, state_name
from imc_sim.evaluate import FewShotTask, build_task
from imc_sim.nn.store import save_model
from imc_sim.nn.store._torch_file import read_checkpoint
from imc_sim.study import load_study, points_of
from imc_sim.study._conditions import matches

STUDY: dict[str, Any] = {
    "name": "x", "model": "batmann_small_xnor", "chip": "ideal", "task": {"dataset": "glyphs", "split": "test"},
}  # fmt: skip
LONG = [
    " " * 60_000 + "x", "> x" + " " * 60_000 + "x",
    "x" + " " * 60_000 + "x", "(" * 60_000, "-" * 60_000, "1" * 60_000 + "x",
    "[ " * 30_000, "1," * 30_000 + "x", "a (b" * 15_000,
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:4])
def test_long_text_is_read_in_linear_time(text: str) -> None:
    began = time.process_time()
    matches({"case": text}, {"case": "a"}, None)
    state_name(text)
    parse_heading(0, text, "here")
    with pytest.raises(InputError):
        load_study({**STUDY, "memory_limit": text})
    assert time.process_time() - began < 2.0


def test_comparisons_read_what_follows_the_sign() -> None:
    for text, value, met in (
        (">  5 ", 6, True),
        (" <= 5", 6, False),
        ("!= a b ", "a b", False),
        ("==true", True, True),
    ):
        assert matches({"x": text}, {"x": value}, None) is met


def test_a_study_of_too_many_points_is_refused_before_it_is_expanded() -> None:
    paths = ("chip.device.programming.sigma", "chip.tile.rows", "seed")
    axes = [{"path": path, "values": {"range": [0, 5000, 1]}} for path in paths]
    began = time.process_time()
    with pytest.raises(InputError, match="axes: got 125,075,015,001 points; allowed: 100,000 or fewer"):
        points_of(load_study({**STUDY, "axes": axes}))
    assert time.process_time() - began < 2.0
    zipped = [{**axis, "zip": "a"} for axis in axes[1:]]
    with pytest.raises(InputError, match="got 25,010,001 points"):
        points_of(load_study({**STUDY, "axes": [axes[0], *zipped]}))


def test_aliases_may_repeat_a_little_and_large_documents_are_no_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _yaml._ALIASED == 100_000
    monkeypatch.setattr(_yaml, "_ALIASED", 1_000)
    row = ", ".join("x" * 30)
    assert len(parse_yaml(f"a: &a [{row}]\nb: [{', '.join(['*a'] * 30)}]")["b"]) == 30
    with pytest.raises(InputError, match="f, line 2: got aliases that repeat each other"):
        parse_yaml(f"a: &a [{row}]\nb: [{', '.join(['*a'] * 50)}]", "f")
    assert len(parse_yaml(f"a: [{'1, ' * 1_500}]")["a"]) == 1_500


@pytest.mark.parametrize(
    "task", [{"way": 20_000}, {"way": 10_000, "shot": 5}, {"way": 10_000, "queries": 5}, {"episodes": 10**7}]
)
def test_a_task_that_no_memory_holds_is_refused(task: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"500,000,000|1000000"):
        build_task({**STUDY["task"], **task}, "task")
    assert isinstance(build_task({**STUDY["task"], "way": 9_000}, "task"), FewShotTask)


def test_one_hot_codes_that_no_memory_holds_are_refused() -> None:
    labels = torch.zeros(10_000, dtype=torch.long)
    labels[-1] = 999_999
    memory = AssociativeMemory("ideal", dim=8)
    with pytest.raises(InputError, match=r"10,000 keys and 1,000,000 classes, 10,000,000,000 values; .*2,000,000,000"):
        memory.write(torch.ones(10_000, 8), labels)


def test_too_many_chips_are_refused() -> None:
    with pytest.raises(InputError, match="1000000"):
        load_study({**STUDY, "chips": {"min": 10**7}})


def test_a_card_of_a_huge_network_is_refused_before_it_is_built(tmp_path: Path) -> None:
    made: Any = load_model("batmann_small_xnor")
    save_model(tmp_path / "m", made, made.card)
    card = yaml.safe_load((tmp_path / "m" / "model.yaml").read_text())
    card["arch"]["args"]["dim"] = 50_000_000
    (tmp_path / "m" / "model.yaml").write_text(yaml.safe_dump(card))
    began = time.process_time()
    with pytest.raises(CheckpointError, match=r"values for a network of [0-9,]{9}"):
        load_model(tmp_path / "m")
    assert time.process_time() - began < 5.0


def test_a_checkpoint_that_repeats_a_value_is_refused(tmp_path: Path) -> None:
    torch.save({"a": [torch.zeros(1).expand(2_500_000_000)]}, tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match=r"2,500,000,000 values that repeats 1; allowed: 1,000,000 values"):
        read_checkpoint(tmp_path / "f.pth")
    torch.save({"a": torch.zeros(1).expand(10)}, tmp_path / "small.pth")
    assert read_checkpoint(tmp_path / "small.pth")["a"].shape == (10,)


class _Drip(http.server.BaseHTTPRequestHandler):
    """Sends a byte every 50 ms: of the headers where the path names them, of the length of a chunk, or of the body."""

    def do_GET(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        if "headers" in self.path:
            parts = head + b"X-Padding: ", b"x"
        elif "chunk" in self.path:
            parts = head + b"Transfer-Encoding: chunked\r\n\r\n", b"0"
        else:
            parts = head + b"Content-Length: many\r\n\r\n", b"x"
        try:
            self.wfile.write(parts[0])
            for _ in range(60):
                self.wfile.write(parts[1])
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        return


@pytest.fixture
def mirror() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Drip) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("", "[0-9]+ bytes in 0 s, less than 1,000 bytes a second"),
        ("headers", r"nothing for 0\.3 s"),
        ("chunk", r"nothing for 0\.3 s"),
    ],
)
def test_a_download_that_drips_is_given_up(
    part: str, text: str, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fetch, "_TIMEOUT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(InputError, match=f"fetch usps: got {text} from http"):
        fetch("usps", tmp_path, mirror=mirror + part)
    assert time.monotonic() - began < 2.0, "the server drips for three seconds"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "limit", "text"), [("_LARGEST", 3, "more than 3e-09 GB"), ("_LONGEST_S", 0.2, r"no end within 0\.2 s")]
)
def test_a_download_without_an_end_is_given_up(
    name: str, limit: float, text: str, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fetch, name, limit)
    with pytest.raises(InputError, match=text):
        fetch("usps", tmp_path, mirror=mirror)


@pytest.mark.parametrize(
    "mirror", ["http://[", "ftp://x", "http://a b/", "http://\x00", "", "http:///", "file://nohost/x"]
)
def test_malformed_mirrors_are_one_error(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.compile(r"mirror|fetch usps")):
        fetch("usps", tmp_path, mirror=mirror)
