"""Fetching from a file:// mirror: good and bad checksums, repeats, no partial files."""

import hashlib
import io
import socket
import tarfile
import threading
import zipfile

import pytest

from imc_sim._errors import InputError
from imc_sim.data import fetch
from imc_sim.data._archives import ARCHIVES, Archive
from imc_sim.data._fetch import fetch_archive


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def tarred(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path):
    """Return a function that puts a file on the mirror and describes it with its true MD5."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()

    def put(file, content, into, unpacks=None):
        (mirror / file).write_bytes(content)
        md5 = hashlib.md5(content).hexdigest()
        return Archive(file, mirror.as_uri(), md5, into, unpacks), mirror / file

    return put


def everything(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize(("file", "pack"), [("set.zip", zipped), ("set.tar.gz", tarred)])
def test_an_archive_is_downloaded_verified_and_unpacked(tmp_path, publish, file, pack):
    archive, source = publish(file, pack({"images/a/1.png": b"1", "images/b/2.png": b"22"}), "set-py", "images")
    root, seen = tmp_path / "root", []
    fetch_archive("set", archive, root, lambda done, total: seen.append((done, total)))
    assert everything(root) == ["set-py/images/a/1.png", "set-py/images/b/2.png"]
    assert seen[-1] == (source.stat().st_size,) * 2
    source.unlink()
    fetch_archive("set", archive, root)  # an existing copy is not downloaded again


def test_a_wrong_checksum_leaves_nothing_and_names_both_sums(tmp_path, publish):
    archive, source = publish("x.gz", b"official", "SET/raw")
    source.write_bytes(b"tampered")
    with pytest.raises(InputError) as caught:
        fetch_archive("set", archive, tmp_path / "root")
    assert archive.md5 in str(caught.value)
    assert hashlib.md5(b"tampered").hexdigest() in str(caught.value)
    assert everything(tmp_path / "root") == []
    source.write_bytes(b"official")
    fetch_archive("set", archive, tmp_path / "root")
    assert everything(tmp_path / "root") == ["SET/raw/x.gz"]


def test_an_archive_without_its_folder_leaves_nothing(tmp_path, publish):
    archive, _ = publish("set.zip", zipped({"other/1.png": b"1"}), "", "images")
    with pytest.raises(InputError, match="no such folder inside"):
        fetch_archive("set", archive, tmp_path / "root")
    assert everything(tmp_path / "root") == []


def test_an_interrupted_download_leaves_nothing_and_can_be_repeated(tmp_path, publish):
    archive, _ = publish("x.gz", b"official", "SET")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_archive("set", archive, tmp_path / "root", interrupt)
    assert everything(tmp_path / "root") == []
    fetch_archive("set", archive, tmp_path / "root")
    assert everything(tmp_path / "root") == ["SET/x.gz"]


def test_a_differing_file_at_the_same_path_is_kept_and_named(tmp_path, publish):
    archive, _ = publish("x.gz", b"official", "SET")
    (tmp_path / "SET").mkdir()
    (tmp_path / "SET" / "x.gz").write_bytes(b"mine")
    with pytest.raises(InputError, match="remove it first"):
        fetch_archive("set", archive, tmp_path)
    assert (tmp_path / "SET" / "x.gz").read_bytes() == b"mine"


def test_an_unreachable_or_invalid_mirror_is_named(tmp_path):
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz.*by hand"):
        fetch("mnist", tmp_path, mirror=(tmp_path / "nowhere").as_uri())
    with pytest.raises(InputError, match="https, http or file"):
        fetch("mnist", tmp_path, mirror="ftp://example.org/")
    with pytest.raises(InputError, match="Did you mean 'mnist'"):
        fetch("mnits", tmp_path)


def test_an_embedded_set_needs_nothing(tmp_path):
    assert fetch("digits", tmp_path) == tmp_path
    assert everything(tmp_path) == []


def test_the_real_mnist_passes_the_official_checksums(tmp_path, real_root):
    source = real_root("mnist") / "MNIST" / "raw"
    fetch("mnist", tmp_path, mirror=source.as_uri())
    assert everything(tmp_path) == sorted(a.target for a in ARCHIVES["mnist"])


@pytest.mark.parametrize(
    "length",
    ["x", "-3", "+3", "1e3", "\u0663", "9" * 5000, "99999999999999999999", "", "3\r\nContent-Length: 4", "\xb2"],
)
def test_a_length_that_is_no_number_is_not_known(tmp_path, length):
    content, seen = b"abc", []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
                connection.sendall(head + content)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        archive = Archive("f.bin", address, hashlib.md5(content).hexdigest(), "in", None)
        fetch_archive("set", archive, tmp_path, lambda done, total: seen.append((done, total)))
        thread.join(10)
    assert (tmp_path / "in/f.bin").read_bytes() == content
    assert seen == [(3, 3 if length.startswith("3") else None)]
