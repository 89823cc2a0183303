"""The relay's log: one line an event, safe to show, and bounded for each source of events.

An event has a name that stays the same from release to release (``session.opened``,
``handshake.failed``) and fields. It goes through :mod:`twisted.logger`; :class:`LineObserver`
writes it as text or as JSON. Fields may hold what strangers sent: both formats escape them, and
bytes are cut at 64.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO, cast

from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.relay.limits import TokenBucket
from securerelay.text import printable

MAX_BYTES = 64
MAX_TEXT = 512
MAX_SOURCES = 65_536
SUMMARY_SECONDS = 60.0
SUMMARY_LINES = 20
STRANGERS = 10
"""How many times the rate of one source all strangers together have."""


class _Quota:
    """What one source may still log, and how much it was not allowed to."""

    __slots__ = ("bucket", "suppressed")

    def __init__(self, bucket: TokenBucket):
        self.bucket = bucket
        self.suppressed = 0


class EventLog:
    """Where the relay's parts report what happened.

    Args:
        lines_per_second: for each source; what is more is counted and told by :meth:`summarise`.
        seconds: a monotonic clock.
        logger: the Twisted logger behind it.
    """

    def __init__(
        self,
        lines_per_second: int = 20,
        seconds: Callable[[], float] = time.monotonic,
        logger: Logger | None = None,
    ):
        self.lines_per_second = lines_per_second
        self._seconds = seconds
        self._logger = Logger("securerelay") if logger is None else logger
        self._quotas: dict[str, _Quota] = {}
        self._unknown_suppressed = 0
        self._strangers = self._bucket(STRANGERS)

    def _bucket(self, times: int = 1) -> TokenBucket:
        rate = self.lines_per_second * times
        return TokenBucket(rate, rate, self._seconds)

    def info(self, event: str, *, source: str | None = None, **fields: Any) -> None:
        """Report something that is as it should be.

        Args:
            event: the stable name.
            source: who caused it, if a stranger or a peer could repeat it at will: an address or a
                peer's name.
            fields: what else is to be known; str, bytes, numbers, or None (left out). Never a
                secret.
        """
        self._emit(LogLevel.info, event, source, fields)

    def stranger(self, event: str, *, source: str, **fields: Any) -> None:
        """Report what a stranger did; with many addresses each has a rate, but all share one."""
        if self._strangers.take() == 0.0:
            self._emit(LogLevel.info, event, source, fields)
        else:
            self._unknown_suppressed += 1

    def warn(self, event: str, *, source: str | None = None, **fields: Any) -> None:
        """Report something that the administrator may want to look at."""
        self._emit(LogLevel.warn, event, source, fields)

    def error(self, event: str, *, source: str | None = None, **fields: Any) -> None:
        """Report something that does not work."""
        self._emit(LogLevel.error, event, source, fields)

    def failure(
        self, event: str, failure: Failure, *, source: str | None = None, **fields: Any
    ) -> None:
        """Report a fault of our own: one line with the error and the places it went through."""
        self._emit(LogLevel.error, event, source, {**fields, **_told(failure)})

    def _emit(self, level: Any, event: str, source: str | None, fields: Mapping[str, Any]) -> None:
        if source is not None:
            if not self._may(source):
                return
            fields = {"source": source, **fields}
        fields = {key: value for key, value in fields.items() if value is not None}
        self._logger.emit(level, "{text}", text=_line(event, fields), event=event, fields=fields)

    def _may(self, source: str) -> bool:
        quota = self._quotas.get(source)
        if quota is None:
            if len(self._quotas) >= MAX_SOURCES:
                self._unknown_suppressed += 1
                return False
            quota = self._quotas[source] = _Quota(self._bucket())
        if quota.bucket.take() == 0.0:
            return True
        quota.suppressed += 1
        return False

    def summarise(self) -> None:
        """Tell what was left out since the last time; called once a minute."""
        quotas, self._quotas = self._quotas, {}
        rate = self.lines_per_second * STRANGERS
        self._strangers.change(rate, rate)
        loudest = sorted(
            (item for item in quotas.items() if item[1].suppressed),
            key=lambda item: -item[1].suppressed,
        )
        for source, quota in loudest[:SUMMARY_LINES]:
            # A source that is still over its rate starts the next minute with the bucket it has.
            self._quotas[source] = quota
            self.warn("log.suppressed", of=source, lines=quota.suppressed)
            quota.suppressed = 0
        rest = sum(quota.suppressed for _, quota in loudest[SUMMARY_LINES:])
        rest += self._unknown_suppressed
        self._unknown_suppressed = 0
        if rest:
            self.warn(
                "log.suppressed", sources=max(0, len(loudest) - SUMMARY_LINES) or None, lines=rest
            )


def _told(failure: Failure) -> dict[str, str]:
    """Put a failure into fields: what it is and the way it came, innermost last."""
    error = cast(BaseException, failure.value)
    frames = traceback.extract_tb(failure.getTracebackObject())
    way = " > ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]
    )
    return {"error": f"{type(error).__name__}: {error}", "at": way or "unknown"}


def _safe(value: Any) -> str:
    return (
        printable(value, MAX_BYTES) if isinstance(value, bytes) else printable(str(value), MAX_TEXT)
    )


def _quoted(value: Any) -> str:
    text = _safe(value)
    if text and " " not in text and '"' not in text and "=" not in text:
        return text
    return '"' + text.replace('"', "\\x22") + '"'


def _line(event: str, fields: Mapping[str, Any]) -> str:
    return " ".join([event, *(f"{key}={_quoted(value)}" for key, value in fields.items())])


def as_text(event: Mapping[str, Any]) -> str:
    """Format one event for people.

    Args:
        event: a Twisted log event.

    Returns:
        ``2026-01-31T12:00:00.000Z warn session.cut peer=alice reason=revoked``, without a line end.
    """
    text = event["text"] if "fields" in event else _line(*_foreign(event))
    return f"{_time(event)} {_level(event)} {text}"


def as_json(event: Mapping[str, Any]) -> str:
    """Format one event for programs.

    Args:
        event: a Twisted log event.

    Returns:
        A JSON object of ASCII characters with ``time``, ``level``, ``event`` and the event's own
        fields.
    """
    if "fields" in event:
        name, fields = event["event"], event["fields"]
    else:
        name, fields = _foreign(event)
    whole = {"time": _time(event), "level": _level(event), "event": name}
    for key, value in fields.items():
        plain = isinstance(value, int | float)
        whole[key] = value if plain else _safe(value)
    return json.dumps(whole)


def _foreign(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name an event that is not ours: what Twisted says, and faults nobody caught."""
    fields: dict[str, Any] = {"from": event.get("log_namespace", "-")}
    failure = event.get("log_failure")
    if failure is not None:
        return "internal.error", {**fields, **_told(failure)}
    fields["text"] = formatEvent(dict(event))
    return "twisted", fields


def _time(event: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _level(event: Mapping[str, Any]) -> str:
    level = event.get("log_level")
    return "info" if level is None else str(level.name)


def _is_chatter(event: Mapping[str, Any]) -> bool:
    """Tell whether Twisted says that all is well; what programs print is something else."""
    calm = event.get("log_level") in (None, LogLevel.debug, LogLevel.info)
    return calm and event.get("log_namespace") not in ("stdout", "stderr")


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"text": as_text, "json": as_json}


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line.

    Of what Twisted itself has to tell only warnings and faults are written. They share one bounded
    rate, so that a fault which every connection meets cannot fill the disk.

    Args:
        stream: where to, line by line.
        form: a key of :data:`FORMATS`.
        seconds: a monotonic clock.
    """

    def __init__(
        self, stream: TextIO, form: str = "text", seconds: Callable[[], float] = time.monotonic
    ):
        self.stream = stream
        self.form = form
        self._bucket = TokenBucket(20, 200, seconds)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Write one event."""
        if "fields" not in event and (_is_chatter(event) or self._bucket.take() > 0):
            return
        try:
            self.stream.write(FORMATS[self.form](event) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            # A full disk or a closed terminal must not stop the relay; there is nowhere to tell it.
            return
