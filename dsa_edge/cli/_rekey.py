"""`dsa-edge rekey`: seal a store, change its key, or unseal it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsa_edge.cli._common import add_user, emit, open_versions, parser
from dsa_edge.cli._keys import FORMS, key_choice, new_key_of
from dsa_edge.errors import StoreError

__all__ = ["main"]

DESCRIPTION = """Seal a store, change its key, or unseal it: all of it, or nothing changes.

The keyring and a key file hold a secret that the key is derived from: to name the same one again is
to change the key all the same. What is damaged stays so, and what is left of it is deleted.
Passphrases come from DSA_EDGE_PASSPHRASE and, for --to, DSA_EDGE_NEW_PASSPHRASE, or are asked for.
Copies of the store that were made before keep the key that they had."""
EXAMPLES = """\
  dsa-edge rekey smol.dsa --store me/ --to keyring
  dsa-edge rekey smol.dsa --store me/ --key keyring --to passphrase
  dsa-edge rekey smol.dsa --store me/ --key passphrase --to file:me.key
  dsa-edge rekey smol.dsa --store me/ --key file:me.key --to file:me.key    # a new key
  dsa-edge rekey smol.dsa --store me/ --key file:me.key --unseal"""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    made = parser("rekey", DESCRIPTION, EXAMPLES)
    add_user(made)
    how = made.add_mutually_exclusive_group(required=True)
    how.add_argument("--to", type=key_choice, metavar="KEY", help=f"the new key: {FORMS}")
    how.add_argument("--unseal", action="store_true", help="keep everything without a key")
    arguments = made.parse_args(argv)
    _check(arguments)
    with open_versions(arguments) as me:
        key = new_key_of(arguments.to, arguments.store) if arguments.to else None
        me.rekey(key)
        stored = me.store_bytes
    name = key.name if key else None
    data = {"sealed": key is not None, "key": name, "store_bytes": stored}
    state = f"sealed with {name}" if name else "not sealed"
    emit(arguments, data, f"{arguments.store} is {state}; it takes {stored / 1e3:.1f} kB")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse a folder that holds nothing to seal."""
    from dsa_edge.runtime._database import FILE

    if not (Path(arguments.store) / FILE).is_file():
        raise StoreError(
            f"no store in {arguments.store}: correct --store; `dsa-edge personalize --key` makes "
            "a sealed one."
        )
