"""Helpers for the coordinator's tests: they read lists of actions, and change messages."""

from dataclasses import fields, replace

from dptrain.cluster.events import Ignore, Send
from dptrain.cluster.messages import Assign


def assigned(actions):
    """(peer, first, last) of every Assign, in order."""
    return [
        (a.peer.decode(), a.message.first, a.message.last)
        for a in actions
        if isinstance(a, Send) and isinstance(a.message, Assign)
    ]


def altered(message, **changes):
    """The message with other fields; those of its result, if it carries one, are given by their own names."""
    own = {item.name for item in fields(message)}
    if inner := {key: changes.pop(key) for key in changes.keys() - own}:
        changes["result"] = replace(message.result, **inner)
    return replace(message, **changes)


def refusals(actions):
    return [a.reason for a in actions if isinstance(a, Ignore)]


def assignments(actions):
    """(peer, first, last, alone) of every Assign, in order."""
    return [
        (a.peer.decode(), a.message.first, a.message.last, a.message.alone)
        for a in actions
        if isinstance(a, Send) and isinstance(a.message, Assign)
    ]
