"""Answers a container's health check: `python -m dptrain.launch.health tcp://HOST:PORT` ends with 0 if one can connect.

The address is its own for a coordinator or an augmenter, and for a worker that of the coordinator it needs. Imports
nothing heavy: it is started every few seconds beside a training.
"""

from __future__ import annotations

import socket
import sys

SECONDS = 3.0  #: a machine under full load answers later than this only when something is wrong


def reachable(endpoint: str) -> str:
    """Empty if something accepts connections at `endpoint` ("tcp://HOST:PORT"), otherwise the reason in one line."""
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
