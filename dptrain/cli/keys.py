"""`dptrain keys new|list|revoke`: who may take part over tcp."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dptrain.net import keystore
from dptrain.net.keys import COORDINATOR, PUBLIC

keys = App(name="keys", help_format="plaintext", result_action="return_value")
_STORE = Annotated[str, Parameter("--store", help="directory of key directories; default $DPTRAIN_KEYSTORE, else keys")]


def _store(text: str) -> Path:
    return Path(text or os.environ.get("DPTRAIN_KEYSTORE", "") or "keys").expanduser()


@keys.command
def new(
    *names: Annotated[
        str,
        Parameter(
            help="for a start coordinator worker; then worker-1, ...: a role, or a role, a dash and a word",
            required=True,
        ),
    ],
    store: _STORE = "",
    missing: Annotated[bool, Parameter(negative=(), help="leave keys that exist as they are")] = False,
) -> int:
    """Make a pair of keys a name; STORE/NAME is what its host gets. The first ones: coordinator worker."""
    place = _store(store)
    known = {listed.name for listed in keystore.everybody(place)}
    for name in names:
        if missing and name in known:
            continue
        home = keystore.new(place, name)
        use = f"dptrain {name.split('-')[0]} --keys {home}"
        print(f"{home}: use it here with `{use}`, or copy it to its host: scp -rp {home} HOST:")
    return 0


@keys.command(name="list")
def show(*, store: _STORE = "") -> int:
    """List the keys, and whose lists they are on."""
    place = _store(store)
    listed = keystore.everybody(place)
    if not listed:
        print(f"no keys in {place}; for a start: dptrain keys new coordinator worker")
    for key in listed:
        where = f"on the list of {', '.join(key.known_to)}" if key.known_to else "on nobody's list"
        print(f"{key.name:<20} {key.public.decode()}  {'' if key.has_secret else 'secret elsewhere, '}{where}")
    return 0


@keys.command
def revoke(name: Annotated[str, Parameter(help="as listed")], *, store: _STORE = "") -> int:
    """Refuse a key from now on: no restart is needed. Connections it has already stay until they close."""
    place = _store(store)
    lists = keystore.revoke(place, name)
    print(f"{name} is off the list of {', '.join(lists) or 'nobody'}")
    if name != COORDINATOR:
        print(f"where a list was copied to another host, remove {name}{PUBLIC} there as well")
    return 0
