"""``twistd securerelay``: the options, and a relay made from them.

Whatever is wrong before the relay runs (the configuration, the port, the data folder, the
passphrase) is one line on the standard error and a non-zero exit; nothing has been written to disk
by then.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from twisted.application.service import IService
from twisted.python import usage
from twisted.python.logfile import LogFile

from securerelay import __version__
from securerelay.errors import ConfigError, LocalError
from securerelay.relay.checks import Wrong, endpoint
from securerelay.relay.config import Config, default_data_folder, load


class Options(usage.Options):
    """What can be said on the command line; it goes before the configuration file."""

    synopsis = "[options]"
    longdesc = (
        "Runs a SecureRelay. Without options it listens on port 3000 and keeps its data in "
        "/var/lib/securerelay (root) or ~/.local/share/securerelay, which it makes at first."
    )
    optParameters = [
        ["port", "p", None, "Port to listen on, or a Twisted endpoint string (3000)."],
        ["config", "c", None, "Configuration file; etc/securerelay.toml explains every key."],
        ["data", "d", None, "Folder for the authority, the relay's identity and the database."],
    ]
    compData = usage.Completions(
        optActions={"config": usage.CompleteFiles("*.toml"), "data": usage.CompleteDirs()}
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["listen-tls"] = []

    def opt_listen(self, text: str) -> None:
        """Twisted endpoint string to listen on; may be given several times."""
        self["listen"].append(text)

    opt_l = opt_listen

    def opt_listen_tls(self, text: str) -> None:
        """As --listen, inside TLS with a certificate of the relay's own authority."""
        self["listen-tls"].append(text)

    def opt_version(self) -> NoReturn:
        """Show the version and exit."""
        sys.stdout.write(f"SecureRelay {__version__}\n")
        sys.exit(0)


def configuration(options: Mapping[str, Any]) -> Config:
    """Put the configuration file and the command line together.

    Args:
        options: parsed :class:`Options`.

    Returns:
        The configuration; what the command line says about listening takes the place of what the
        file says.

    Raises:
        ConfigError: if either is wrong.
    """
    config = Config() if options["config"] is None else load(options["config"])
    changes: dict[str, Any] = {}
    plain = [*([] if options["port"] is None else [options["port"]]), *options["listen"]]
    if plain or options["listen-tls"]:
        changes["listen"] = _endpoints(plain)
        changes["tls"] = replace(config.tls, listen=_endpoints(options["listen-tls"]))
    if options["data"] is not None:
        if not options["data"]:
            raise ConfigError("--data needs a folder")
        changes["data"] = Path(options["data"]).expanduser()
    config = config.replace(**changes)
    return config.replace(data=config.data.absolute())


def _endpoints(texts: list[str]) -> tuple[str, ...]:
    try:
        return tuple(endpoint(text) for text in texts)
    except Wrong as wrong:
        raise ConfigError(f"where to listen must be {wrong.allowed}, not {wrong.value}") from wrong


def makeService(options: Options) -> IService:
    """Make the relay that the options describe: its ports are taken and its folder is open.

    Args:
        options: parsed; their parent is ``twistd``'s own options.

    Returns:
        A service to start.

    Raises:
        SystemExit: with one line, if there can be no such relay.
    """
    from twisted.internet import reactor

    from securerelay.relay.daemon import Daemon, note_hang_ups
    from securerelay.relay.logging import LineObserver
    from securerelay.relay.prepare import prepare

    noted = note_hang_ups()
    outer = cast(Mapping[str, Any], getattr(options, "parent", None) or {})
    try:
        _check_user(outer)
        relay = prepare(reactor, lambda: configuration(options))
    except LocalError as error:
        sys.exit(f"securerelay: {error.message}")
    if relay.folder.created:
        sys.stderr.write(_introduction(relay.folder.path, relay.relay_id))
    stream = _log_stream(outer, reactor)
    return Daemon(
        reactor,
        relay,
        None if stream is None else LineObserver(stream),
        fail=lambda: _exit_with(1),
        noted=noted,
    )


def _introduction(data: Path, relay_id: bytes) -> str:
    """Say at the first start what was made, where it is, and what to do next."""
    folder = "" if data == default_data_folder() else f" --data {shlex.quote(str(data))}"
    return f"""\
A new relay was made.
  data       {data}
  authority  {data / "ca.crt"} (its key: {data / "ca.key"})
  relay id   {relay_id.hex()}
Invite somebody with: securerelay invite NAME{folder}
"""


def _check_user(outer: Mapping[str, Any]) -> None:
    """Refuse twistd's change of user, which happens after the folder is opened."""
    if outer.get("uid") not in (None, os.getuid()) or outer.get("chroot"):
        raise ConfigError(
            "twistd's --uid and --chroot cannot be used; start the relay as its own user, and let "
            "systemd open ports below 1024 (--listen systemd:domain=INET:index=0)"
        )


def _log_stream(outer: Mapping[str, Any], reactor: Any) -> TextIO | None:
    """Find where twistd would write its log; None if it is not to a file or the terminal."""
    if "nodaemon" not in outer or outer.get("syslog"):
        return None
    name = outer.get("logfile") or ("-" if outer["nodaemon"] else "twistd.log")
    if name == "-":
        return sys.stdout
    log = LogFile.fromFullPath(name)
    # As twistd does for logs of its own.
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(log.rotate))
    return cast(TextIO, log)


def _exit_with(code: int) -> None:
    """Make this process end with a code, which ``twistd`` offers no way to do.

    It stays what twistd does last: the reactor stops and the pid file is removed before.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)
