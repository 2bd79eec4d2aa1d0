"""`dptrain keys new|list|revoke`: the keys of processes that may connect over tcp."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dptrain.net import keystore
from dptrain.net.keys import COORDINATOR, PUBLIC

keys = App(name="keys", help_format="plaintext", result_action="return_value")
_STORE = Annotated[str, Parameter("--store", help="directory of the keys; default $DPTRAIN_KEYSTORE, else keys")]


def _store(text: str) -> Path:
    return Path(text or os.environ.get("DPTRAIN_KEYSTORE", "") or "keys").expanduser()


@keys.command
def new(
    *names: Annotated[
        str,
        Parameter(
            help="ROLE or ROLE-WORD; start with: coordinator worker; later: worker-1, ...",
            required=True,
        ),
    ],
    store: _STORE = "",
    missing: Annotated[bool, Parameter(negative=(), help="leave existing keys as they are")] = False,
) -> int:
    """Make one pair of keys per name, in STORE/NAME; copy that directory to the host that needs it."""
    place = _store(store)
    known = {listed.name for listed in keystore.all_keys(place)}
    for name in names:
        if missing and name in known:
            continue
        home = keystore.new(place, name)
        use = f"dptrain {name.split('-')[0]} --keys {home}"
        print(f"{home}: use it here with `{use}`, or copy it to its host: scp -rp {home} HOST:")
    return 0


@keys.command(name="list")
def show(*, store: _STORE = "") -> int:
    """List the keys, and the processes that accept each of them."""
    place = _store(store)
    listed = keystore.all_keys(place)
    if not listed:
        print(f"no keys in {place}; start with: dptrain keys new coordinator worker")
    for key in listed:
        where = f"on the list of {', '.join(key.known_to)}" if key.known_to else "on no list"
        print(f"{key.name:<20} {key.public.decode()}  {'' if key.has_secret else 'secret elsewhere, '}{where}")
    return 0


@keys.command
def revoke(name: Annotated[str, Parameter(help="as listed")], /, *, store: _STORE = "") -> int:
    """Refuse a key from now on, without a restart. Its existing connections stay until they close."""
    place = _store(store)
    lists = keystore.revoke(place, name)
    print(f"{name} is off the list of {', '.join(lists) or 'no process'}")
    if name != COORDINATOR:
        print(f"where a list was copied to another host, remove {name}{PUBLIC} there, too")
    return 0
