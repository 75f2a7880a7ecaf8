"""Input vectors of a crossbar: rows of a matrix, or the patches that a convolution takes from images."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim.array._compiled._product import InputBytes
from imc_sim.array._compiled._signs import signs
from imc_sim.array._product import convolution, product

#: slice of the inputs -> their entries [vectors, inputs of the slice]
TileInputs = Callable[[slice], Tensor]
#: vectors x outputs that are read together, so that they fit a core's cache
CHUNK = 2**18


class InputVectors(abc.ABC):
    """Hold vectors for the word lines.

    Args:
        values: tensor with the entries of all vectors.
        shape: shape of results, without the outputs.
    """

    #: vectors of one read: 1, or the pixels of an image
    per_read: int

    def __init__(self, values: Tensor, shape: tuple[int, ...]) -> None:
        self.values, self.shape = values, shape
        self._bytes: dict[bool, InputBytes | None] = {}

    @abc.abstractmethod
    def __call__(self, rows: slice) -> Tensor:
        """Return the entries of every vector, [vectors, inputs of the slice].

        Args:
            rows: slice of the inputs.
        """

    @abc.abstractmethod
    def replaced(self, values: Tensor) -> Self:
        """Return vectors with other values; self for the same object.

        Args:
            values: tensor of the same shape.
        """

    @abc.abstractmethod
    def parts(self, outputs: int) -> Sequence[Self]:
        """Return the vectors in parts whose products fit the cache; [self] if no split is needed.

        Args:
            outputs: outputs of the product.
        """

    @abc.abstractmethod
    def product(self, matrix: Tensor) -> Tensor:
        """Return the product [*shape, out] with a matrix.

        Args:
            matrix: [out, in].
        """

    @abc.abstractmethod
    def _to_bytes(self, squares: bool) -> InputBytes | None: ...

    @property
    def reads(self) -> int:
        """Return the number of reads that the vectors are."""
        return len(self.values)

    @property
    def count(self) -> int:
        """Return the number of vectors."""
        return self.reads * self.per_read

    def as_bytes(self, squares: bool) -> InputBytes | None:
        """Return the entries as bytes; None where they are not small whole numbers.

        Args:
            squares: whether their squares are needed as well.
        """
        if squares not in self._bytes:
            self._bytes[squares] = self._to_bytes(squares)
        return self._bytes[squares]


@final
class Rows(InputVectors):
    """Hold the rows of a matrix, each a read, or several rows of each read.

    Args:
        x: [reads, in], or [reads, vectors, in].
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__(x, tuple(x.shape[:-1]))
        self.per_read = x.shape[1] if x.ndim == 3 else 1
        self._matrix = x.flatten(0, 1) if x.ndim == 3 else x

    @classmethod
    def of_signs(cls, x: Tensor) -> Rows | None:
        """Return rows of +1 where x > 0, else -1, and their bytes, in one pass; None where `signs` returns None.

        Args:
            x: [reads, in].
        """
        found = signs(x, codes=True)
        if found is None:
            return None
        rows = cls(found[0])
        rows._bytes[False] = InputBytes.of_signs(*found)
        return rows

    def __call__(self, rows: slice) -> Tensor:
        return self._matrix[:, rows]

    def replaced(self, values: Tensor) -> Rows:
        return self if values is self.values else Rows(values)

    def parts(self, outputs: int) -> Sequence[Rows]:
        return [self]

    def product(self, matrix: Tensor) -> Tensor:
        return product(self._matrix, matrix).unflatten(0, self.shape)

    def _to_bytes(self, squares: bool) -> InputBytes | None:
        return InputBytes.of_rows(self._matrix, squares)


@final
class Patches(InputVectors):
    """Hold the patches of images, one per pixel of a convolution's result; every image is a read.

    Entries are ordered by kernel row, kernel column and channel. With 128 channels and 128-row tiles one tile holds one
    kernel position, and its inputs are a shifted view of the image: the input is not unrolled.

    Args:
        images: [batch, C, H, W].
        kernel: size of the kernel.
        stride: stride of the convolution.
        padding: zeros on each side.
    """

    def __init__(self, images: Tensor, kernel: int, stride: int, padding: int) -> None:
        height, width = ((n + 2 * padding - kernel) // stride + 1 for n in images.shape[2:])
        super().__init__(images, (len(images), height, width))
        self.kernel, self.stride, self.padding, self.per_read = kernel, stride, padding, height * width

    def __call__(self, rows: slice) -> Tensor:
        channels, (height, width) = self.values.shape[1], self.shape[1:]
        parts, position, s = [], rows.start, self.stride
        while position < rows.stop:
            place, channel = divmod(position, channels)
            stop = min(rows.stop, (place + 1) * channels)
            i, j = divmod(place, self.kernel)
            view = self._padded[:, i : i + s * (height - 1) + 1 : s, j : j + s * (width - 1) + 1 : s]
            parts.append(view[..., channel : channel + stop - position])
            position = stop
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return joined.reshape(-1, rows.stop - rows.start)

    def replaced(self, values: Tensor) -> Patches:
        return self if values is self.values else self._of(values)

    def parts(self, outputs: int) -> Sequence[Patches]:
        chunk = max(1, CHUNK // (self.per_read * outputs))
        return [self._of(images) for images in self.values.split(chunk)] if self.reads else []

    def product(self, matrix: Tensor) -> Tensor:
        weight = matrix.unflatten(1, (self.kernel, self.kernel, -1)).permute(0, 3, 1, 2)
        return convolution(self.values, weight, self.stride, self.padding).permute(0, 2, 3, 1)

    def _to_bytes(self, squares: bool) -> InputBytes | None:
        return InputBytes.of_images(self._channels_last(), self.kernel, self.stride, squares)

    def _of(self, images: Tensor) -> Patches:
        return Patches(images, self.kernel, self.stride, self.padding)

    @functools.cached_property
    def _padded(self) -> Tensor:
        return self._channels_last()

    def _channels_last(self) -> Tensor:
        """Return the padded images as [batch, H, W, C]."""
        p = self.padding
        images = F.pad(self.values, (p, p, p, p)) if p else self.values
        return images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
