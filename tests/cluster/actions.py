"""What the tests of the coordinator read off a list of its actions."""

from dptrain.cluster.events import Drop, Send
from dptrain.cluster.messages import Assign


def assigned(actions):
    """(peer, first, last) of every Assign, in order."""
    return [
        (a.peer.decode(), a.message.first, a.message.last)
        for a in actions
        if isinstance(a, Send) and isinstance(a.message, Assign)
    ]


def refusals(actions):
    return [a.reason for a in actions if isinstance(a, Drop)]
