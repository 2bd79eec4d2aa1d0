"""Answers a container's health check: `python -m dptrain.launch.health tcp://HOST:PORT` ends with 0 if it can connect.

A coordinator or an augmenter checks its own address, a worker that of its coordinator. The module imports nothing
heavy, because it starts every few seconds beside a training.
"""

from __future__ import annotations

import socket
import sys

SECONDS = 3.0  #: a machine under full load answers sooner


def reachable(endpoint: str) -> str:
    """Why no process accepts connections at `endpoint` ("tcp://HOST:PORT"), in one line; "" if one does."""
    host, colon, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not (endpoint.startswith("tcp://") and host and colon and port.isdecimal()):
        return f"{endpoint!r} is not of the form tcp://HOST:PORT"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        return f"{endpoint} does not answer: {error}"
    return ""


def main(arguments: list[str]) -> int:
    """Exit code for Docker: 0 healthy, 1 not."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m dptrain.launch.health tcp://HOST:PORT\n")
        return 1
    if reason := reachable(arguments[0]):
        sys.stderr.write(f"{reason}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
