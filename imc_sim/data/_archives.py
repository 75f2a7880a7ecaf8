"""The official archives: where they are published and what their MD5 is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        file: name of the published file.
        base: URL of the folder that holds it, with a slash at the end.
        md5: MD5 of the file, as 32 hexadecimal digits.
        into: folder under the data root; "" for the data root.
        unpacks: top folder inside the .zip or .tar.gz, which is placed in `into`; None if the loader reads the
            file without unpacking it.
    """

    file: str
    base: str
    md5: str
    into: str
    unpacks: str | None = None

    @property
    def target(self) -> str:
        """Path under the data root of the unpacked folder, or of the file if it is not unpacked."""
        return "/".join(part for part in (self.into, self.unpacks or self.file) if part)


_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_USPS = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_OMNIGLOT_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)


def _idx(base: str, md5s: tuple[str, ...], folder: str) -> tuple[Archive, ...]:
    return tuple(Archive(f, base, m, f"{folder}/raw") for f, m in zip(_IDX_FILES, md5s, strict=True))


#: The archives of each set that is not embedded.
ARCHIVES: Mapping[str, tuple[Archive, ...]] = MappingProxyType(
    {
        "omniglot": tuple(
            Archive(f"{part}.zip", _OMNIGLOT, md5, "omniglot-py", part) for part, md5 in _OMNIGLOT_MD5.items()
        ),
        "mnist": _idx(_MNIST, _MNIST_MD5, "MNIST"),
        "fashion_mnist": _idx(_FASHION, _FASHION_MD5, "FashionMNIST"),
        "usps": (
            Archive("usps.bz2", _USPS, "ec16c51db3855ca6c91edd34d0e9b197", "USPS"),
            Archive("usps.t.bz2", _USPS, "8ea070ee2aca1ac39742fdd1ef5ed118", "USPS"),
        ),
        "cifar10": (
            Archive("cifar-10-binary.tar.gz", _CIFAR, "c32a1d4ab5d03f1284b67883e8d87530", "", "cifar-10-batches-bin"),
        ),
    }
)
