"""Numbers for Prometheus: how much is going on, and never who.

Off unless ``[metrics]`` names an endpoint; it then needs the extra ``metrics``. The page asks
nobody for credentials, so an endpoint that names no interface is on 127.0.0.1 alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from securerelay import __version__
from securerelay.errors import ConfigError
from securerelay.store.rows import Usage

if TYPE_CHECKING:
    from securerelay.relay.service import RelayService

LOCAL = ":interface=127.0.0.1"


GAUGES = {
    "sessions": "Sessions of peers.",
    "peers_connected": "Peers that have a session.",
    "peers_listening": "Peers that receive messages.",
    "strangers": "Connections that have not authenticated.",
    "penalties": "Sources that are refused for now.",
    "alarms": "Invitations that came with two keys, not acknowledged.",
    "mailbox_messages": "Messages in all mailboxes.",
    "mailbox_bytes": "Bytes of messages in all mailboxes.",
    "journal_entries": "What waits to be written to disk.",
    "buffered_bytes": "What waits to be sent to peers.",
    "storage_failing": "1 while the disk takes nothing.",
    "certificate_expiry_seconds": "When the relay's certificate ends, Unix time.",
}
COUNTERS = {
    "handshakes": ("result", "Handshakes that ended: ok, or the code of their failure."),
    "strangers_refused": ("reason", "Connections that got no handshake, or lost their place."),
    "messages": ("verdict", "Messages accepted, delivered (acknowledged), or refused for good."),
}


def endpoints(texts: Iterable[str]) -> tuple[str, ...]:
    """Complete endpoint strings: a port without an interface is local."""
    return tuple(
        text + LOCAL if re.fullmatch(r"tcp:[0-9]+", text) is not None else text for text in texts
    )


class Numbers:
    """Looks up what a page tells.

    Args:
        relay: the running relay.
    """

    def __init__(self, relay: RelayService) -> None:
        self._relay = relay
        self._mail = Usage()
        self._alarms = 0

    async def count(self) -> None:
        """Look up what is too dear for each page, and is told as it was then."""
        store = self._relay.store
        self._mail = await store.mail_total()
        self._alarms = sum(row.disputed is not None for row in await store.invitations())

    def gauges(self) -> dict[str, float]:
        """Return what rises and falls."""
        relay = self._relay
        told = relay.running.router.status()
        return {
            "sessions": told["sessions"],
            "peers_connected": told["peers"],
            "peers_listening": told["listening"],
            "strangers": relay.gate.unauthenticated,
            "penalties": relay.gate.penalised(),
            "alarms": self._alarms,
            "mailbox_messages": self._mail.count,
            "mailbox_bytes": self._mail.size,
            "journal_entries": told["unwritten"],
            "buffered_bytes": told["buffered"],
            "storage_failing": float(told["storage"] != "ok"),
            "certificate_expiry_seconds": relay.folder.identity.not_after.timestamp(),
        }

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what only rises, each by its label."""
        gate, router = self._relay.gate, self._relay.running.router
        return {
            "handshakes": {"ok": gate.handshakes, **gate.failures},
            "strangers_refused": dict(gate.refusals),
            "messages": {
                "accepted": router.accepted,
                "delivered": router.delivered,
                "refused": router.refused.total(),
            },
        }


class Page(Resource):
    """``/metrics``.

    Args:
        numbers: looks them up.

    Raises:
        ConfigError: if the package that writes them is not installed.
    """

    isLeaf = True

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        try:
            from prometheus_client import CollectorRegistry
        except ImportError:
            raise ConfigError(
                "metrics.listen needs prometheus_client: pip install 'securerelay[metrics]'"
            ) from None
        self._numbers = numbers
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterable[Any]:
        """Give the registry what it asks its collectors for."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
        )

        gauges, counters = self._numbers.gauges(), self._numbers.counters()
        yield InfoMetricFamily("securerelay", "The relay.", {"version": __version__})
        for name, told in GAUGES.items():
            yield GaugeMetricFamily(f"securerelay_{name}", told, gauges[name])
        for name, (label, told) in COUNTERS.items():
            family = CounterMetricFamily(f"securerelay_{name}", told, labels=[label])
            for value, count in sorted(counters[name].items()):
                family.add_metric([value], count)
            yield family

    def render_GET(self, request: Request) -> bytes:
        """Write the page."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        if request.path != b"/metrics":
            request.setResponseCode(404)
            return b"only /metrics is here\n"
        request.setHeader("content-type", CONTENT_TYPE_LATEST)
        return bytes(generate_latest(self._registry))


class Pages(Site):
    """The server of the page; who asks for it is not worth a line in the log."""

    noisy = False

    def __init__(self, reactor: Any, numbers: Numbers) -> None:
        super().__init__(Page(numbers), reactor=reactor, timeout=10)

    def log(self, request: object) -> None:
        """See :class:`twisted.web.http.HTTPFactory`."""
