"""``securerelay init``: the data folder of a relay, before its first start."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from securerelay.cli import passphrases
from securerelay.cli.options import Common, Verb
from securerelay.names import check_peer


@click.command(cls=Verb, data=True)
@click.option("--name", default="relay", show_default=True, help="What the relay calls itself.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase to protect the keys with.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SECURERELAY_PASSPHRASE_FILE",
    metavar="FILE",
    help="Holds the passphrase to protect the keys with.",
)
@click.pass_obj
def command(common: Common, name: str, passphrase: bool, passphrase_file: Path | None) -> None:
    """Make a relay's data folder: its authority (RSA, 4096 bits), its identity and its keys.

    The relay does this by itself at its first start; here the keys can be put under a passphrase
    that a person types. The relay needs it at each start: see [passphrase] in its configuration. A
    folder that has all this already is left as it is.
    """
    check_peer(name)
    from securerelay.identity.relayfolder import RelayFolder

    secret = passphrases.given(passphrase_file)
    if passphrase and secret is None:
        secret = passphrases.asked(common, "Passphrase for the relay's keys", confirm=True)
    path = common.data_folder().absolute()
    now = datetime.datetime.now(datetime.timezone.utc)
    folder = RelayFolder.open(path, secret, now=now, name=name)
    common.out.say(
        {
            "folder": str(path),
            "created": folder.created,
            "name": folder.identity.name,
            "relay_id": folder.relay_id.hex(),
            "protected": secret is not None,
        },
        "{folder} {made}; relay id {relay_id}\n"
        "start it:         twistd -n securerelay --data {folder}\n"
        "invite somebody:  securerelay invite NAME --data {folder}",
        made="is made" if folder.created else "was there already and is unchanged",
    )
