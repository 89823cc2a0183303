"""``securerelay keys``: private keys, made, shown and protected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securerelay.cli import passphrases
from securerelay.cli.options import Common, Family, Verb
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SIZES = ("2048", "3072", "4096")
DEFAULT_SIZE = "3072"


@click.group(cls=Family)
def command() -> None:
    """Make, show and protect private keys."""


@command.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--bits", type=click.Choice(SIZES), default=DEFAULT_SIZE, show_default=True, help="Its size."
)
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase to protect it with.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SECURERELAY_PASSPHRASE_FILE",
    metavar="FILE",
    help="Holds a passphrase to protect it with.",
)
@click.pass_obj
def generate(
    common: Common, file: Path, bits: str, passphrase: bool, passphrase_file: Path | None
) -> None:
    """Make an RSA key in FILE, which must not exist; `securerelay join --key FILE` uses it."""
    from securerelay.identity import keyfile

    secret = passphrases.given(passphrase_file)
    if passphrase and secret is None:
        secret = passphrases.asked(common, "New passphrase", confirm=True)
    key = keyfile.generate_key(int(bits))
    keyfile.save_key(file, key, secret, replace=False)
    common.out.say(
        {"file": str(file), **facts(key), "protected": secret is not None},
        "{file}: RSA, {bits} bits, SHA-256 {sha256}",
    )


@command.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@access_options
@click.pass_obj
def show(common: Common, access: Access, file: Path | None) -> None:
    """Tell size and fingerprint of the profile's key, or of the one in FILE.

    The fingerprint is SHA-256 of the public key (SubjectPublicKeyInfo), as in certificates.
    """
    from securerelay.identity import keyfile

    path = file or access.profile.path / "key.pem"
    protected = keyfile.is_protected(path)
    secret = access.secret(protected, f"Passphrase of {path}")
    common.out.say(
        {"file": str(path), **facts(keyfile.load_key(path, secret)), "protected": protected},
        "{file}: RSA, {bits} bits, SHA-256 {sha256}, under a passphrase: {protected}",
    )


@command.command(cls=Verb)
@access_options
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the new passphrase; without it, it is asked for.",
)
@click.option("--remove", is_flag=True, help="Keep the key without a passphrase.")
@click.pass_obj
def passwd(common: Common, access: Access, new_passphrase_file: Path | None, remove: bool) -> None:
    """Protect the profile's key with a passphrase, another one, or none."""
    if remove and new_passphrase_file:
        raise click.UsageError("--remove and --new-passphrase-file exclude each other")
    profile, old = access.profile, access.passphrase
    profile.key(old)  # a wrong passphrase is told before a new one is asked for
    new: bytes | None = None
    if new_passphrase_file is not None:
        new = passphrases.given(new_passphrase_file)
    elif not remove:
        new = passphrases.asked(common, "New passphrase", confirm=True)
    profile.change_passphrase(old, new)
    state = "plain" if new is None else "under the new passphrase"
    common.out.say(
        {"name": profile.name, "protected": new is not None}, "{name}'s key is {state}", state=state
    )


def facts(key: RSAPrivateKey) -> dict[str, Any]:
    """Return what may be told of a key: its size, and the SHA-256 of its public half."""
    from securerelay.crypto.primitives import sha256, spki

    public = key.public_key()
    return {"bits": key.key_size, "sha256": sha256(spki(public)).hex()}
