"""Event-driven products: add the rows of the weights that spikes select, without a multiplication.

The cost decreases with the fraction of ones among the inputs, unlike that of a dense product.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from imc_sim._errors import InputError
from imc_sim.nn._layers import Conv2d, Linear
from imc_sim.nn._product_layer import ProductLayer

__all__ = [
    "EventProduct",
    "active_entries",
]


@final
class EventProduct:
    """Compute a product layer for inputs of 0 and 1 from its active inputs, without a gradient.

    Every output adds the weights of its active inputs in the order kernel row, kernel column, channel, in any batch:
    equal to the dense product to the bit where sums do not round (dyadic weights). Other float sums differ in their
    last bits, which can move a spike by one step.

    Args:
        layer: A Conv2d or Linear of policy float or int8, whose weights are read now.
    """

    def __init__(self, layer: ProductLayer) -> None:
        if not isinstance(layer, Conv2d | Linear) or layer.binary:
            got, allowed = f"{type(layer).__name__} of policy {layer.policy}", "Conv2d or Linear, policy float or int8"
            raise InputError("events", got, allowed, "Compute that layer by its dense product.")
        self.layer = layer
        w = layer.weight_operand().detach()
        #: [in, out] or [k * k * in, out]
        self.rows = (w.permute(2, 3, 1, 0).flatten(0, 2) if isinstance(layer, Conv2d) else w.mT).contiguous()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of the layer.

        Args:
            x: Inputs [batch, in] or [batch, in, H, W]; every value other than 0 counts as 1.
        """
        layer = self.layer
        if isinstance(layer, Linear):
            each = x.reshape(len(x), 1, 1, -1)
            return layer.rescale(self._summed(*active_entries(each, 1, 1, 0)))
        entries, offsets = active_entries(x.permute(0, 2, 3, 1), layer.kernel, layer.stride, layer.padding)
        height, width = ((n + 2 * layer.padding - layer.kernel) // layer.stride + 1 for n in x.shape[2:])
        y = self._summed(entries, offsets).reshape(len(x), height, width, -1).permute(0, 3, 1, 2)
        return layer.rescale(y)

    def _summed(self, entries: Tensor, offsets: Tensor) -> Tensor:
        return F.embedding_bag(entries, self.rows, offsets, mode="sum")


def active_entries(x: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Find where the patches of images are not 0, without unrolling a patch.

    The active inputs of a kernel row are successive events of the image, so all but one pass over the bits costs time
    by the event.

    Args:
        x: Images [batch, H, W, channels].
        kernel: Side of the kernel.
        stride: Stride on both axes.
        padding: Zeros on each side.

    Returns:
        Entries, the positions within patches (kernel row, kernel column, channel, flattened), patch after patch in
        the order batch, row, column; and offsets, where the entries of each patch start.
    """
    p = padding
    on = F.pad(x != 0, (0, 0, p, p, p, p)).contiguous()
    kind = torch.int32 if on.numel() * kernel**2 < 2**31 else torch.int64
    events = on.view(-1).nonzero()[:, 0].to(kind)
    begin, lengths, base = _segments(events, on.shape, kernel, stride)
    before = lengths.cumsum(0, dtype=kind) - lengths
    total = int(lengths.sum())
    which = torch.arange(total, dtype=kind, device=x.device)
    which += torch.repeat_interleave(begin - before, lengths, output_size=total)
    entries = events.index_select(0, which) - torch.repeat_interleave(base, lengths, output_size=total)
    return entries, before[::kernel].contiguous()


def _segments(events: Tensor, shape: torch.Size, kernel: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the events of every kernel row of every patch: number of the first, count, and offset of the patch.

    events: ascending flat positions in images of `shape` [batch, H, W, channels]; minus the offset they are positions
    within the patch.
    """
    pixels, channels = shape[:3], shape[3]
    height, width = ((n - kernel) // stride + 1 for n in pixels[1:])
    counts = torch.bincount(events // channels, minlength=pixels.numel())
    ends = counts.cumsum(0, dtype=events.dtype)
    first = torch.arange(0, pixels.numel() * channels, channels, dtype=events.dtype, device=events.device)

    def seen(each: Tensor, column: int) -> Tensor:
        """Return values [pixels] at that column of every kernel row of every patch, [patches, kernel]."""
        columns = slice(column, column + stride * (width - 1) + 1, stride)
        rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(kernel)]
        return torch.stack([each.view(pixels)[:, r, columns] for r in rows], -1).view(-1, kernel)

    begin = seen(ends - counts.to(events.dtype), 0)
    place = torch.arange(kernel, dtype=events.dtype, device=events.device) * kernel * channels
    return begin.flatten(), (seen(ends, kernel - 1) - begin).flatten(), (seen(first, 0) - place).flatten()
