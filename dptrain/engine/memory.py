"""The memory of a plan: one array per value, cut from one block. Values that are never needed together share theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dptrain.engine.arena import cut
from dptrain.engine.lines import Lines, Segment, Value
from dptrain.types import F32, I64, U8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: in an array for the whole shard, or for one group of images at a time."""

    value: Value
    array: F32
    whole: bool

    @property
    def operand(self) -> tuple[int, int, int, int]:
        """The four numbers of an operand in kernels/fused/rows.py."""
        return self.value.at, self.value.size if self.whole else 0, self.value.size, self.value.row

    def start(self, first: int) -> int:
        """Where the images of the group lie that begins with image `first`."""
        return first * self.value.size if self.whole else 0

    def images(self, n: int) -> F32:
        """(n, *shape): the first n images of the shard. A view if they lie without a frame, else a copy."""
        v = self.value
        if len(v.shape) != 3:
            return self.array[: n * v.size].reshape(n, *v.shape)
        framed = self.array[: n * v.size].reshape(n, *v.grid, v.channels)
        (top, left), (h, w, _) = v.corner, v.shape
        return np.ascontiguousarray(framed[:, top : top + h, left : left + w])

    def put(self, images: F32) -> None:
        """Stores the images of a whole shard (n, *shape)."""
        v, n = self.value, len(images)
        if len(v.shape) != 3:
            self.array[: n * v.size].reshape(n, *v.shape)[...] = images
            return
        framed = self.array[: n * v.size].reshape(n, *v.grid, v.channels)
        (top, left), (h, w, _) = v.corner, v.shape
        framed[:, top : top + h, left : left + w] = images


class Memory:
    """The arrays of all values, for shards of up to `capacity` images."""

    def __init__(self, plan: Lines, capacity: int) -> None:
        self.capacity = capacity
        shared = list(_shared(plan, capacity))
        floats = cut({("value", i): size for i, (_, size, width) in enumerate(shared) if width == 4})
        bytes_ = {i: np.zeros(size, np.uint8) for i, (_, size, width) in enumerate(shared) if width == 1}
        self.places: dict[int, Place] = {}
        self.bytes: dict[int, U8] = {}  #: arrays of the values whose elements are bytes
        for i, (tenants, _, width) in enumerate(shared):
            for number, whole in tenants:
                if width == 1:
                    self.bytes[number] = bytes_[i]
                array = floats["value", i] if width == 4 else np.zeros(0, np.float32)
                self.places[number] = Place(plan.values[number], array, whole)

    def operands(self, rows: int, length: int, *numbers: int) -> I64:
        """The argument p of the passes in kernels/fused/rows.py."""
        return np.array([rows, length, *(n for number in numbers for n in self.places[number].operand)], np.int64)


def _shared(plan: Lines, capacity: int) -> Iterator[tuple[list[tuple[int, bool]], int, int]]:
    """(values and whether they are for the whole shard, elements, bytes of an element) of each array."""
    segments = (*plan.forward, *plan.backward)
    spans = _spans(plan, segments)
    arrays: dict[tuple[Value, int], list[tuple[int, list[tuple[int, bool]]]]] = {}
    for number, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        value = plan.values[number]
        whole = begin != end
        images = capacity if whole else min(capacity, segments[begin].group)
        key = (value, images)  # the same frame at the same place: its zeros are never written
        slots = arrays.setdefault(key, [])
        free = next((i for i, (last, _) in enumerate(slots) if last < begin), None)
        if free is None:
            slots.append((end, [(number, whole)]))
        else:
            slots[free] = (end, [*slots[free][1], (number, whole)])
    for place, slots in arrays.items():
        for _, tenants in slots:
            yield tenants, place[1] * place[0].size, place[0].bytes


def _spans(plan: Lines, segments: tuple[Segment, ...]) -> dict[int, tuple[int, int]]:
    """The first and the last segment in which each value is used; scores and their gradient live between the passes."""
    spans: dict[int, tuple[int, int]] = {}

    def use(number: int, segment: int) -> None:
        begin, end = spans.get(number, (segment, segment))
        spans[number] = (min(begin, segment), max(end, segment))

    for at, segment in enumerate(segments):
        for line in segment.lines:
            for number in (*line.reads, *line.writes):
                if plan.values[number].size:
                    use(number, at)
    middle = len(plan.forward)  # the model reads the scores behind the forward pass, and then writes their gradient
    for number in (plan.scores, plan.dscores) if plan.backward else (plan.scores,):
        use(number, middle - 1)
        use(number, middle)
    return spans
