"""Download the published archives of data sets; an archive is either complete in the data root or absent."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import queue
import re
import shutil
import tarfile
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from imc_sim._arguments import checked
from imc_sim._errors import HIDDEN, InputError, shown_value
from imc_sim._files import make_folder, open_regular, publish, regular
from imc_sim.data._archives import ARCHIVES, Archive
from imc_sim.data._folders import data_root
from imc_sim.data._registry import published_set

#: Called with (bytes done, total bytes or None if unknown); starts at 0 for each archive.
FetchProgress = Callable[[int, int | None], None]
_CHUNK = 1 << 20
#: pieces that wait to be written
_WAITING = 8
#: seconds without a byte, or since the beginning, after which a download is given up
_TIMEOUT_S, _LONGEST_S = 60, 6 * 3600
#: bytes per second below which a download is given up, and the size at which it is
_SLOWEST, _LARGEST = 1_000, 2 * 10**9


@checked
def fetch(
    name: str, root: Path | None = None, progress: FetchProgress | None = None, mirror: str | None = None
) -> Path:
    """Download the missing archives of a data set, verify their MD5 and unpack them into the data root.

    Archives that are already there are kept, so an interrupted call can be repeated. Nothing is downloaded for an
    embedded data set.

    Args:
        name: name of the data set.
        root: folder that receives the data; None: see `data_root`.
        progress: function that is called with (bytes done, total bytes or None if unknown) after each piece of a
            download; the bytes start at 0 for each archive. None: no reports.
        mirror: URL (https, http or file) of a folder that holds the official files; None: their publisher.

    Returns:
        The data root.

    Raises:
        InputError: the data set is unknown or is a folder of images, the mirror is no such URL, the address does not
            answer, a checksum is wrong, or a different file is already there.
    """
    published_set(name)
    folder = data_root(root)
    for archive in ARCHIVES.get(name, ()):
        fetch_archive(name, archive, folder, progress, mirror)
    return folder


def fetch_archive(
    name: str, archive: Archive, root: Path, progress: FetchProgress | None = None, mirror: str | None = None
) -> None:
    """Download one archive of a set and unpack it, unless that was done before."""
    target = root / archive.target
    if target.exists():
        _keep(name, archive, target)
        return
    make_folder(target.parent)
    part = target.parent / f".{archive.file}.{uuid.uuid4().hex[:8]}.part"
    try:
        _download(_url(archive, mirror), part, name, target, progress)
        _verify(archive, part)
        if archive.unpacks is None:
            publish(part, target)
        else:
            _unpack(archive.unpacks, part, archive.file, target)
    finally:
        part.unlink(missing_ok=True)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _keep(name: str, archive: Archive, target: Path) -> None:
    """Accept a folder or file that is already there; raise InputError for a file whose MD5 is not the official one."""
    if archive.unpacks is None and (got := md5_of(target)) != archive.md5:
        step = f"`imc-sim data check {name}` says whether it can be used; to download it again, remove it first."
        raise InputError(str(target), f"a file with MD5 {got}", f"the official MD5 {archive.md5}", step)


def _url(archive: Archive, mirror: str | None) -> str:
    """Return the address of an archive at its publisher or a mirror."""
    base = archive.base if mirror is None else mirror
    if not _is_address(base):
        raise InputError("mirror", shown_value(base), "an https, http or file URL", "Give the URL of a folder.")
    return f"{base.rstrip('/')}/{archive.file}"


def _is_address(text: object) -> bool:
    """Tell whether a text is the URL of a host and its port, or of files."""
    if not isinstance(text, str) or HIDDEN.search(text) or "\n" in text or "\t" in text:
        return False
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError:  # such as http://[, http://host:port and http://a..b
        return False
    named = bool(host) and host.strip(".-") != "" and port != 0
    return named and " " not in text if parts.scheme in {"https", "http"} else parts.scheme == "file"


def _download(url: str, part: Path, name: str, target: Path, progress: FetchProgress | None) -> None:
    """Download a URL to the file `part`; `name` and `target` are for the error message."""
    try:
        with contextlib.closing(_received(url)) as pieces, part.open("wb") as out:
            total, done, began = next(pieces), 0, time.monotonic()
            for piece in pieces:
                out.write(piece)
                done += len(piece)
                _check_pace(done, time.monotonic() - began)
                if progress is not None:
                    progress(done, total)
    except (OSError, ValueError, http.client.HTTPException) as error:
        step = f"Try again, give a mirror, or get the archive by hand and lay it out as {target}."
        raise InputError(f"fetch {name}", f"{error} from {url}", "an address that answers", step) from error


def _received(url: str) -> Generator[Any, None, None]:
    """Yield the length of a URL's content, None if it is unknown, then its pieces.

    A thread receives them: `http.client` waits without an end for headers that arrive byte by byte.

    Raises:
        TimeoutError: nothing arrived for long.
    """
    pieces: queue.Queue[Any] = queue.Queue(_WAITING)
    given_up = threading.Event()

    def receive() -> None:
        """Put the length, the pieces and an empty one into the queue, or the error."""
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310
                length = response.headers.get("Content-Length")
                pieces.put(int(length) if re.fullmatch("[0-9]{1,18}", length or "") else None)
                while not given_up.is_set() and (piece := response.read1(_CHUNK)):
                    pieces.put(piece)
            pieces.put(b"")
        except Exception as error:
            pieces.put(error)

    threading.Thread(target=receive, daemon=True).start()
    try:
        while (piece := pieces.get(timeout=_TIMEOUT_S)) != b"":
            if isinstance(piece, Exception):
                raise piece
            yield piece
    except queue.Empty:
        raise TimeoutError(f"nothing for {_TIMEOUT_S:g} s") from None
    finally:
        given_up.set()
        with contextlib.suppress(queue.Empty):
            while True:  # so that the thread does not wait for free places
                pieces.get_nowait()


def _check_pace(done: int, seconds: float) -> None:
    """Raise OSError for a download that hardly goes on, or that does not end."""
    if seconds > _TIMEOUT_S and done < seconds * _SLOWEST:
        raise TimeoutError(f"{done} bytes in {seconds:.0f} s, less than {_SLOWEST:,} bytes a second")
    if seconds > _LONGEST_S:
        raise TimeoutError(f"no end within {_LONGEST_S:g} s")
    if done > _LARGEST:
        raise OSError(f"more than {_LARGEST / 1e9:g} GB")


def _verify(archive: Archive, part: Path) -> None:
    got = md5_of(part)
    if got != archive.md5:
        step = "The download was removed. Try again; if it stays so, the publisher or the mirror has another file."
        raise InputError(archive.file, f"MD5 {got}", f"MD5 {archive.md5}", step)


def _unpack(folder: str, archive: Path, name: str, target: Path) -> None:
    """Unpack an archive into a temporary folder, then move its top folder to `target` in one step."""
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".unpack-"))
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(regular(archive)) as packed:
                packed.extractall(aside)
        else:
            with tarfile.open(regular(archive)) as packed:
                packed.extractall(aside, filter="data")
        if not (aside / folder).is_dir():
            raise InputError(name, "no such folder inside", folder, "The archive is another one: check the mirror.")
        publish(aside / folder, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
