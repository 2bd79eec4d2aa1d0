"""What libzmq's monitor says about a handshake, in words that help. Both ends of a connection use them."""

from __future__ import annotations

import errno

import zmq

_CRYPTOGRAPHIC = 0x11000001  #: ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
_MECHANISM = 0x11000002  #: ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH

FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


def clients_fault(event: int, value: int, key: str) -> str:
    """Why the one that connects got no further. `key`: the name of its own key, "" where it has none."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"the key {key} is not admitted there: look at `dptrain keys list` on the coordinator's host"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value != _MECHANISM:
            return "the handshake failed: what listens there does not speak ZeroMQ"
        if key:
            return "the handshake failed: keys are used here (--keys), but not there"
        return "the handshake failed: keys are used there (give this process its own with --keys)"
    if value == errno.EAGAIN:
        return "the handshake failed: no answer in time; is it a dptrain coordinator, and is it not stopped?"
    if key:
        return f"the handshake was broken off: no keys are used there, or another one than {key} has for it"
    return "the handshake was broken off: keys are used there (give this process its own with --keys), or no dptrain is"


def servers_fault(event: int, value: int, *, keyed: bool) -> str:
    """Why somebody who connected here got no further; "" for one that hung up, as every health check does."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "its key is not admitted"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value == _MECHANISM:
            return "it shows no key (--keys), here one is wanted" if keyed else "it uses a key, and none are used here"
        if value == _CRYPTOGRAPHIC:
            return "it has another public key for this process than ours: copy the new one to it"
        return "it does not speak ZeroMQ"
    return "it did not finish the handshake" if value == errno.EAGAIN else ""
