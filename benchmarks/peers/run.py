"""This package and its peers on identical work, each in a separate environment, in turn; ratios to plain torch.

    python benchmarks/peers/run.py                      # make bench-peers: installs, measures, writes table and figure
    python benchmarks/peers/run.py --only memory --threads 1 --budget 200
    python benchmarks/peers/run.py --report             # table and figure of stored measurements
    python benchmarks/peers/run.py --smoke              # this package alone, tiny, one round; writes no page

A round times every simulator once, one after the other, each in its own waiting process. A number is the median over
rounds of the ratio to plain float32 torch in the same round. Calls of milliseconds are repeated until a sample takes a
twentieth of a second. A call of ten seconds is timed up to three times, one of a minute once. Measurements are stored
under .peers/ as JSON, by work and number of threads. Every work has new processes, except with `--smoke`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _environments import FOLDER, HERE, OTHERS, OURS, PLAIN, Peer, install, reason_of
from _worker import ANSWER
from _works import WORKS, errors, make

from imc_sim._files import write_file

#: processes by the name of their peer and their number of threads
Kept = dict[tuple[str, int], "subprocess.Popen[str]"]
_OURS = tuple(peer.name for peer in OURS)
SAMPLE_S = 0.05
#: a call this long is timed once; one above a sixth of it, three times
ONCE_S = 60.0


@dataclass
class Competitor:
    """The process of a peer, and its measurements."""

    peer: Peer
    process: subprocess.Popen[str]
    calls: int = 1
    call_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def ask(self, do: str, limit_s: float = 600.0, **request: Any) -> dict[str, Any]:
        """Send one request; raise RuntimeError with the message of the peer where it has no answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        clock = threading.Timer(limit_s, self.process.kill)
        clock.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            # A peer may print at its import.
            line = next((text for text in self.process.stdout if text.startswith(ANSWER)), "")
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        answer = json.loads(line.removeprefix(ANSWER)) if line else {"error": self._last_words()}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _last_words(self) -> str:
        assert self.process.stderr is not None
        self.process.stderr.seek(0)
        return reason_of(self.process.stderr.read())

    def end(self) -> None:
        """Stop the process that was started here."""
        self.process.kill()
        self.process.wait()


def start(peer: Peer, folder: Path, threads: int, kept: Kept | None) -> Competitor:
    """Start the process of a peer, with that many threads for everything in it, or take the kept one."""
    if kept is not None and (peer.name, threads) in kept:
        return Competitor(peer, kept[peer.name, threads])
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    env = os.environ | dict.fromkeys(names, str(threads))
    argv = [peer.python, str(HERE / peer.script), str(folder), *peer.arguments]
    # Not a pipe: nobody empties it while a peer writes its warnings.
    log = (folder / f"{peer.name.replace(' ', '_')}.log").open("w+")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
    process = subprocess.Popen(argv, env=env, **pipes)
    process.stderr = log
    if kept is not None:
        kept[peer.name, threads] = process
    return Competitor(peer, process)


def measure(
    work: str, peers: list[Peer], folder: Path, threads: int, rounds: int, budget_s: float, kept: Kept | None = None
) -> dict[str, Any]:
    """Measure rounds of one work; return what is stored of them, by the name of the peer.

    kept: processes of peers that serve all works and go on; None: each peer has a new process, which is ended.
    """
    there, left_out = _prepared(work, peers, folder, threads, kept)
    ended = time.monotonic() + budget_s
    try:
        for number in range(rounds):
            if number and time.monotonic() > ended:
                break
            _round(work, there, number)
        for each in there:
            path = folder / f"{each.peer.name.replace(' ', '_')}.npz"
            if each.peer is not PLAIN:
                each.ask("result", work=work, path=str(path))
                each.found = errors(work, folder, path)
    finally:
        for each in there if kept is None else ():
            each.end()
    ours = statistics.median(next(each.ratios for each in there if each.peer is OURS[0]))
    found = {each.peer.name: _kept(each) | {"over": statistics.median(each.ratios) / ours} for each in there}
    return found | {name: {"reason": reason} for name, reason in left_out.items()}


def _prepared(
    work: str, peers: list[Peer], folder: Path, threads: int, kept: Kept | None
) -> tuple[list[Competitor], dict[str, str]]:  # fmt: skip
    """Return the peers that can do it, warmed up, and the reasons of the others."""
    there, left_out = [], {}
    for peer in peers:
        reason = install(peer)
        if reason:
            left_out[peer.name] = reason
            continue
        each = start(peer, folder, threads, kept)
        try:
            hello = each.ask("hello")
            each.versions = hello["versions"]
            if work in hello["works"]:
                each.ask("prepare", work=work)
                each.call_s = each.ask("time", work=work, calls=1)["seconds"]
                if each.call_s < 1.0:  # the first call may compile
                    each.call_s = each.ask("time", work=work, calls=1)["seconds"]
                each.calls = max(1, min(200, int(SAMPLE_S / each.call_s)))
                there.append(each)
                continue
        except RuntimeError as error:
            left_out[peer.name] = reason_of(str(error))
        each.end()
    return there, left_out


def _round(work: str, there: list[Competitor], number: int) -> None:
    times = {}
    for each in there:
        if each.call_s >= ONCE_S:
            if number == 0:
                times[each.peer.name] = each.call_s
        elif number < 3 or each.call_s < ONCE_S / 6:
            times[each.peer.name] = each.ask("time", work=work, calls=each.calls)["seconds"]
    for each in there:
        if each.peer.name in times:
            each.seconds.append(times[each.peer.name])
            each.ratios.append(times[each.peer.name] / times[PLAIN.name])


def _kept(each: Competitor) -> dict[str, Any]:
    return {"versions": each.versions, "seconds": each.seconds, "ratios": each.ratios, **each.found}


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=tuple(WORKS), action="append", help="one work; may be repeated")
    parser.add_argument("--threads", type=int, action="append", help="one and two if left out")
    names = [peer.name for peer in OTHERS]
    parser.add_argument("--without", choices=names, action="append", default=[], help="a peer; may be repeated")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=200.0, help="seconds for the rounds of one work")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--machine", default="", help="ends the names of figure and tables, as avx2")
    parser.add_argument("--no-page", action="store_true", help="store measurements, write no page")
    parser.add_argument("--smoke", action="store_true", help="this package alone, at a size that takes seconds")
    return parser.parse_args()


def main() -> int:
    """Measure, keep, and write the page; exit 1 if this package could not do a work."""
    options: Any = arguments()
    folder = FOLDER / ("smoke" if options.smoke else "works")
    peers = [p for p in (PLAIN, *OURS, *(() if options.smoke else OTHERS)) if p.name not in options.without]
    if not options.report and not _measure_all(options, folder, peers):
        return 1
    if not options.smoke and not options.no_page:
        from _page import write

        write(folder, peers, options.machine)
    return 0


def _measure_all(options: Any, folder: Path, peers: list[Peer]) -> bool:
    """Measure all works, print and store them; return whether this package could do each."""
    make(folder, options.smoke)
    kept: Kept | None = {} if options.smoke else None
    try:
        for threads in options.threads or ((1,) if options.smoke else (1, 2)):
            for work in options.only or WORKS:
                rounds = 1 if options.smoke else options.rounds
                found = measure(work, peers, folder, threads, rounds, options.budget, kept)
                _show(work, threads, found)
                _keep(folder / f"{work}-{threads}.json", found)
                if any("reason" in found[peer.name] for peer in (PLAIN, *OURS)):
                    return False
    finally:
        for process in (kept or {}).values():
            process.kill()
            process.wait()
    return True


def _keep(path: Path, found: dict[str, Any]) -> None:
    """Store measurements. Those of peers that are left out stay, and ours with them: `over` is of their run."""
    held = json.loads(path.read_text())["found"] if path.exists() else {}
    fresh = found if held.keys() <= found.keys() else {n: k for n, k in found.items() if n not in (PLAIN.name, *_OURS)}
    write_file(path, json.dumps({"load": os.getloadavg()[0], "found": held | fresh}))


def _show(work: str, threads: int, found: dict[str, Any]) -> None:
    print(f"{WORKS[work]}; {threads} thread{'s' * (threads > 1)}, load {os.getloadavg()[0]:.1f}")
    for name, kept in found.items():
        if "reason" in kept:
            print(f"  {name:<26} left out: {kept['reason'][:140]}")
        else:
            r = kept["ratios"]
            more = "".join(f", {k} {kept[k]:.1e}" for k in ("error", "spread") if k in kept)
            print(f"  {name:<26}{statistics.median(r):>12.2f}  ({min(r):.2f} to {max(r):.2f}, n={len(r)}){more}")
    print(flush=True, end="")


if __name__ == "__main__":
    raise SystemExit(main())
