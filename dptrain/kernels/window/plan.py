"""What a pooling window is: its size, step and frame, and how many of them an image holds."""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """Pairs are (rows, columns). A frame of `pad` pixels lies around the image; windows start on it, never beyond."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int] = (0, 0)
    ceil: bool = False  #: a last window that reaches beyond the frame counts, if it starts on the image or before it
    count_pad: bool = True  #: average: divide by the pixels of image and frame in the window; False: of the image alone

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """Windows down and across. As torch.nn.MaxPool2d counts them."""
        return self._along(0, height), self._along(1, width)

    def _along(self, axis: int, length: int) -> int:
        stride, pad = self.stride[axis], self.pad[axis]
        room = length + 2 * pad - self.size[axis]
        count = (-(-room // stride) if self.ceil else room // stride) + 1
        return count - 1 if self.ceil and (count - 1) * stride >= length + pad else count
