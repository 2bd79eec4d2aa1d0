"""Real sockets: the fixtures of tests/links.py."""

from links import links, names

__all__ = ["links", "names"]
