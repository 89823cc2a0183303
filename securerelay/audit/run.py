"""An audit from its first connection to its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from securerelay.audit.caller import Caller, Shut
from securerelay.audit.handshake import Seen, Visit
from securerelay.audit.strangers import Knowing, NoRelay, Offer, Outside
from securerelay.audit.verdict import UNCHECKED, Verdict
from securerelay.crypto import primitives
from securerelay.errors import ConnectError
from securerelay.identity.certificates import Certified
from securerelay.protocol.connection import ClientTicket, Credential

SHUT = (
    "the relay closes connections from here without a word: this address is under a penalty, or "
    "the relay is full; try again in ten minutes, or have it lifted: securerelay pardon ADDRESS"
)
STRONG = 3072
"""Bits of an RSA key that gets the best grade."""
LATE = timedelta(days=2)
"""How long after its time a renewal may be missing; a relay looks once a day."""


@dataclass(frozen=True, slots=True, repr=False)
class Who:
    """As whom the relay is audited.

    Attributes:
        relay_id: 32 bytes, if it is known.
        credential: a peer's, if there is one; needs the relay id.
        certificate: that peer's.
    """

    relay_id: bytes | None = None
    credential: Credential | None = None
    certificate: Certified | None = None


def audit(
    caller: Caller, who: Who, *, slow: bool = False, now: Callable[[], float] = time.time
) -> Verdict:
    """Look at a relay from outside.

    Args:
        caller: connects to it.
        who: what is known of it.
        slow: whether to wait for its deadlines too.
        now: Unix seconds.

    Returns:
        What was found; :attr:`Verdict.stopped` says if it is not all.

    Raises:
        ConnectError: if nobody listens from the beginning.
    """
    verdict = Verdict()
    try:
        _Audit(caller, verdict, who, now).run(slow)
    except Shut:
        verdict.stopped = SHUT
    except ConnectError as error:
        if not verdict.findings:
            raise
        verdict.stopped = str(error)
    except NoRelay:
        verdict.stopped = "what listens there is no relay, or speaks another version of SR1"
    return verdict


class _Audit:
    def __init__(
        self, caller: Caller, verdict: Verdict, who: Who, now: Callable[[], float]
    ) -> None:
        self._caller = caller
        self._verdict = verdict
        self._who = who
        self._now = now

    def run(self, slow: bool) -> None:
        outside = Outside(self._caller, self._verdict)
        relay_id = self._who.relay_id
        # Whoever may come in goes first, for what strangers do can shut the address out.
        if relay_id is not None and not self._inside(relay_id):
            return
        outside.run()
        if slow:
            outside.deadlines()
        if relay_id is None:
            reason = "without its id it shows nothing; give --relay-id, --invitation or --profile"
            self._verdict.add("relay-id", UNCHECKED, reason)

    def _inside(self, relay_id: bytes) -> bool:
        """Look at what shows to who knows the relay id; False if it is another relay."""
        verdict = self._verdict
        knowing = Knowing(self._caller, verdict, relay_id)
        offers = knowing.groups()
        accepted = [one for one in offers if one.accepted]
        if not accepted:
            self._strange(offers)
            return False
        verdict.add("relay-id", "A", "it is the relay with this id", id=relay_id.hex())
        first = accepted[0].result
        self._certificate(first.seen)
        group = accepted[0].name
        knowing.fresh([first, *knowing.suites(group)])
        knowing.unknown_names(group)
        knowing.downgrade([one.name for one in accepted])
        if self._who.credential is not None:
            self._peer(relay_id, self._who.credential)
        knowing.replay(first.sent)
        knowing.shares(group)
        knowing.early(group)
        knowing.proofs(group)
        return True

    def _strange(self, offers: list[Offer]) -> None:
        """Say why nothing was agreed upon."""
        codes = {one.result.code for one in offers}
        wrong = next((one.result.wrong for one in offers if one.result.wrong), "")
        if codes == {"no-common-group"}:
            self._verdict.add("groups", "F", "it permits none of the known key exchanges")
        elif wrong:
            self._verdict.add("relay-id", "F", f"it cannot show that it is the relay: {wrong}")
        else:
            reason = f"it is not the relay with this id: {', '.join(sorted(codes))}"
            self._verdict.add("relay-id", "F", reason)

    def _certificate(self, seen: Seen) -> None:
        relay, authority = seen.relay, seen.authority
        assert relay is not None, "it has proved itself"
        assert authority is not None, "it has proved itself"
        key = primitives.load_rsa_spki(relay.spki)
        assert key is not None, "the profile of certificates permits RSA alone"
        now = datetime.fromtimestamp(self._now(), timezone.utc)
        left = (relay.not_after - now).days
        bits = min(key.key_size, authority.key_size)
        facts = {
            "name": relay.name,
            "bits": key.key_size,
            "authority_bits": authority.key_size,
            "not_after": int(relay.not_after.timestamp() * 1000),
            "days_left": left,
        }
        says = (
            f"{relay.name}, RSA of {key.key_size} bits, RSA-PSS with SHA-384 by an authority of "
            f"{authority.key_size} bits, {left} days left"
        )
        if relay.expired(now):
            grade, reason = "F", f"good from {relay.not_before} to {relay.not_after} alone"
        elif now > relay.renew_at + LATE:
            grade, reason = "B", f"{says}: it should have been renewed"
        elif bits < STRONG:
            grade, reason = "B", f"{says}: {STRONG} are better"
        else:
            grade, reason = "A", says
        self._verdict.add("certificate", grade, reason, **facts)

    # --- with a profile ---

    def _peer(self, relay_id: bytes, credential: Credential) -> None:
        verdict = self._verdict

        def visit(ticket: ClientTicket | None, ask: bool = False) -> Visit:
            with self._caller.call() as talk:
                made = Visit(talk, relay_id, credential, ticket, self._caller.seconds)
                if ask and made.welcomed is not None:
                    self._sealing(made.status())
                made.leave()
            return made

        first = visit(None, ask=True)
        if first.welcomed is None:
            code = first.end.code if first.end else ""
            verdict.add("profile", UNCHECKED, f"the relay does not let the profile in: {code}")
            return
        self._renewal()
        if not first.welcomed.tickets:
            verdict.add("tickets", "A", "it gives none")
            return
        ticket = first.welcomed.tickets[0]
        resumed = [
            made.welcomed is not None and made.welcomed.resumed
            for made in (visit(ticket), visit(ticket))
        ]
        if resumed == [True, False]:
            verdict.add("tickets", "A", "a ticket resumes once, and not again")
        elif resumed[1]:
            verdict.add("tickets", "F", "a ticket resumes more than once")
        else:
            verdict.add("tickets", "C", "a ticket that it just gave does not resume")

    def _sealing(self, status: dict[str, object]) -> None:
        required = status.get("require_sealed")
        if required is True:
            self._verdict.add("sealing", "A", "messages must be sealed")
        elif required is False:
            reason = "messages need not be sealed: require_sealed in [policy]"
            self._verdict.add("sealing", "B", reason)
        else:
            self._verdict.add(
                "sealing", UNCHECKED, "it does not say whether messages must be sealed"
            )

    def _renewal(self) -> None:
        mine = self._who.certificate
        if mine is None:
            return
        now = datetime.fromtimestamp(self._now(), timezone.utc)
        left = (mine.not_after - now).days
        facts = {"not_after": int(mine.not_after.timestamp() * 1000), "days_left": left}
        if now > mine.renew_at + LATE:
            reason = f"the profile's certificate has {left} days left: securerelay renew"
            self._verdict.add("renewal", "B", reason, **facts)
        else:
            reason = f"the profile's certificate has {left} days left"
            self._verdict.add("renewal", "A", reason, **facts)
