"""PyTorch in `python benchmarks/beside.py torch --workers 1,2`: runs in a Python that has PyTorch.

It never imports dptrain. Its argument is a JSON object: the shape of the network, the numbers of processes, images and
steps. It starts the processes, one thread each, with DistributedDataParallel over gloo where there are two or more.
Each has a DataLoader with one process, which crops and flips whole batches of uint8 images as `crop:4,flip` does. The
answer is one JSON line: the seconds of every step in the first process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeAlias

from benchmarks.torch_step import answer, make_network, make_optimizer

Tensor: TypeAlias = Any  #: torch is imported by name, when the script runs


def batches(shape: dict[str, int], share: int) -> Tensor:
    """An endless DataLoader: (share, c, h, w) uint8 images, cropped and flipped, and their labels."""
    torch: Any = import_module("torch")
    height, width, images = shape["height"], shape["width"], shape["images"]
    x = torch.randint(0, 256, (images, shape["channels"], height, width), dtype=torch.uint8)
    y = torch.randint(0, shape["classes"], (images,))
    channel = torch.arange(shape["channels"])[None, :, None, None]
    row, column = torch.arange(height)[None], torch.arange(width)[None]

    class Batches(torch.utils.data.IterableDataset):  # type: ignore[misc]  # no stubs: torch is another Python's
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                chosen = torch.randint(0, images, (share,))
                padded = torch.nn.functional.pad(x[chosen], (4, 4, 4, 4))
                down, right = torch.randint(0, 9, (share, 1)), torch.randint(0, 9, (share, 1))
                across = right + torch.where(torch.rand(share, 1) < 0.5, column.flip(1), column)
                at = torch.arange(share)[:, None, None, None]
                yield padded[at, channel, (down + row)[:, None, :, None], across[:, None, None, :]], y[chosen]

    loader = torch.utils.data.DataLoader(Batches(), batch_size=None, num_workers=1, prefetch_factor=4)
    return iter(loader)


def run(shape: dict[str, int]) -> list[float]:
    """Seconds of each step of this process, which is one of `processes`."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights, scores = make_network(shape)

    class Network(torch.nn.Module):  # type: ignore[misc]  # torch is not installed where mypy runs
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(weights)

        def forward(self, x: Tensor) -> Tensor:
            return scores(x)

    network, processes = Network(), shape["processes"]
    if processes > 1:
        torch.distributed.init_process_group("gloo")
        network = torch.nn.parallel.DistributedDataParallel(network)
    optimizer = make_optimizer(weights)
    # Normalised as for dptrain, in the layout in which PyTorch is fastest.
    mean = torch.full((1, shape["channels"], 1, 1), 120.0)
    loader, seconds = batches(shape, shape["batch"] // processes), []
    for _ in range(shape["steps"]):
        begin = time.perf_counter()
        x, y = next(loader)
        x = ((x.float() - mean) / 64.0).to(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(x).float(), y).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    """The first process starts the others; each ends with the last step."""
    shape = json.loads(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0 and shape["processes"] > 1:
        # All processes need to know the port, so the caller has chosen it.
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(shape["processes"]), "RANK": "0"}
        os.environ |= {"MASTER_PORT": str(shape["port"]), "GLOO_SOCKET_IFNAME": "lo"}
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.torch_job", sys.argv[1]], env=os.environ | {"RANK": str(other)}
        )
        for other in range(1, shape["processes"] if rank == 0 else 1)
    ]
    seconds = run(shape)
    for other in others:
        other.wait()
    if rank == 0:
        answer({"seconds": seconds})


if __name__ == "__main__":
    main()
