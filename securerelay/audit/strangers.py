"""What a relay says to strangers: who do not know it, and who know it and go no further."""

from __future__ import annotations

from typing import NamedTuple

from securerelay.audit.caller import FAILURE, PATIENCE, TOO_SLOW, Caller, Talk
from securerelay.audit.handshake import Attempt, attempt, junk_proof
from securerelay.audit.verdict import Verdict
from securerelay.crypto import primitives
from securerelay.crypto.groups import GROUPS, X25519MLKEM768
from securerelay.protocol import hello
from securerelay.protocol.lines import MAX_LINE
from securerelay.text import printable

QUIET = 0.3
"""Seconds in which a relay that greets everybody would have done so."""
LENIENT = 3.0
"""How many times its documented value a deadline may be before it gets a worse grade."""
DEADLINES = {"first-byte": 5.0, "handshake": 10.0}
"""Seconds that a relay as shipped gives strangers."""

SPEAKERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(192)),
    "a record": b"\x01\x10" + bytes(range(1, 256)) + bytes(17),
}
"""What others would say first."""


class NoRelay(Exception):
    """What listens speaks another protocol."""


def error(code: str) -> bytes:
    """Return the one form of an error line."""
    return hello.write_error(code)


def code_of(said: bytes) -> str:
    """Return the code if this is one error line and nothing else, else nothing."""
    return next((code for code in hello.ERROR_CODES if said == error(code)), "")


def told(said: bytes) -> str:
    """Put an answer into words; what is not an error line is escaped."""
    return code_of(said) or (f"{printable(said, 64)}" if said else "nothing")


def foreign_hello() -> bytes:
    """Return a first line that is right for a relay with another id."""
    group = X25519MLKEM768()
    line = hello.write_client_hello(
        hello.knock_key(primitives.random_bytes(32)),
        primitives.SUITES,
        (group.name,),
        primitives.random_bytes(hello.NONCE_SIZE),
        group.name,
        group.offer().share,
        None,
    )
    return line + b"\n"


class Outside:
    """What needs no knowledge of the relay.

    Args:
        caller: connects.
        verdict: where findings go.
    """

    def __init__(self, caller: Caller, verdict: Verdict) -> None:
        self._caller = caller
        self._verdict = verdict

    def run(self) -> None:
        """Look at all of it.

        Raises:
            NoRelay: if what listens is none.
        """
        said = self.noise()
        self.long_line()
        if not any(map(code_of, said.values())):
            raise NoRelay

    def noise(self) -> dict[str, bytes]:
        """Whether strangers hear one and the same, whatever they say, and nothing before."""
        said: dict[str, bytes] = {}
        banner = b""
        for name, words in {**SPEAKERS, "another relay's peer": foreign_hello()}.items():
            with self._caller.call(FAILURE) as talk:
                if not said:
                    talk.more(QUIET)
                    banner = talk.heard
                talk.say(words)
                said[name] = talk.rest()[len(banner) :]
        add = self._verdict.add
        if banner:
            add("silence", "F", f"it speaks before it is spoken to: {told(banner)}")
        else:
            add("silence", "A", "it says nothing before it is spoken to")
        answers = {name: told(words) for name, words in said.items()}
        if set(said.values()) == {error("bad-line")}:
            add("noise", "A", "whatever strangers say, they hear the same line", answers=answers)
        else:
            heard = ", ".join(f"{words} to {name}" for name, words in answers.items())
            add("noise", "F", f"strangers can tell cases apart: {heard}", answers=answers)
        return said

    def long_line(self) -> None:
        """How long a line may become before somebody is known."""
        with self._caller.call(FAILURE) as talk:
            talk.say(b"S" * MAX_LINE)
            said = talk.rest(PATIENCE / 2)
            if not said:
                talk.say(b"S" * 4 * MAX_LINE)
                later = talk.rest(PATIENCE / 2)
        if said == error("too-long"):
            self._verdict.add("line-limit", "A", f"a line ends at {MAX_LINE} bytes, whoever sends")
        elif said or later:
            heard = told(said or later)
            self._verdict.add("line-limit", "C", f"a line that is too long is answered: {heard}")
        else:
            self._verdict.add("line-limit", "D", f"it takes lines beyond {MAX_LINE} bytes")

    def deadlines(self) -> None:
        """How long a stranger may say nothing, and how long it may take over its first line."""
        with self._caller.call(TOO_SLOW) as talk:
            self._judge("first-byte", self._until_the_end(talk, b""), talk.heard)
        with self._caller.call(TOO_SLOW) as talk:
            self._judge("handshake", self._until_the_end(talk, b"S"), talk.heard)

    def _until_the_end(self, talk: Talk, each: bytes) -> float:
        """Say a byte a second, or none, and return the seconds until the relay ends."""
        seconds = self._caller.seconds
        begun = seconds()
        longest = LENIENT * max(DEADLINES.values())
        while not talk.ended and seconds() - begun < longest:
            talk.say(each)
            talk.more(1.0)
        return seconds() - begun

    def _judge(self, which: str, taken: float, said: bytes) -> None:
        shipped = DEADLINES[which]
        facts = {"seconds": round(taken, 1), "answer": told(said)}
        what = {"first-byte": "who says nothing", "handshake": "who dribbles"}[which]
        if not said:
            self._verdict.add(which, "D", f"{what} is kept for {taken:.0f} s and more", **facts)
        elif said != error("timeout"):
            self._verdict.add(which, "F", f"{what} hears {told(said)}", **facts)
        else:
            grade = "A" if taken < shipped + 2 else "B" if taken < shipped * LENIENT else "C"
            self._verdict.add(which, grade, f"{what} has to go after {taken:.0f} s", **facts)


class Offer(NamedTuple):
    """One offer of the handshake, and what became of it."""

    name: str
    result: Attempt

    @property
    def accepted(self) -> bool:
        """Whether the relay went on with it and proved itself."""
        return self.result.complete is not None


def _outcomes(offers: list[Offer]) -> dict[str, str]:
    return {one.name: one.result.code or one.result.wrong or "accepted" for one in offers}


class Knowing:
    """What shows to who knows the relay id.

    Args:
        caller: connects.
        verdict: where findings go.
        relay_id: 32 bytes.
    """

    def __init__(self, caller: Caller, verdict: Verdict, relay_id: bytes) -> None:
        self._caller = caller
        self._verdict = verdict
        self._relay_id = relay_id

    def _try(self, **offers: object) -> Attempt:
        with self._caller.call() as talk:
            tried = attempt(talk, self._relay_id, **offers)
        if tried.code and not tried.code.startswith("no-common-"):
            self._caller.owe(FAILURE)
        return tried

    def groups(self) -> list[Offer]:
        """Offer every group alone; no further if the relay does not understand us at all."""
        offers: list[Offer] = []
        for name in GROUPS:
            offers.append(Offer(name, self._try(groups=(name,))))
            if offers[-1].result.code == "bad-line":
                break
        best = X25519MLKEM768.name
        accepted = [one.name for one in offers if one.accepted]
        weaker = [name for name in accepted if name != best]
        facts = _outcomes(offers)
        if not accepted:
            return offers
        if not weaker:
            grade, reason = "A", f"{best} and nothing weaker: what is recorded stays closed"
        elif best in accepted:
            grade, reason = "C", f"not safe against quantum computers: {', '.join(weaker)}"
        else:
            grade, reason = "D", f"no {best}, only {', '.join(weaker)}"
        self._verdict.add("groups", grade, reason, groups=facts)
        return offers

    def suites(self, group: str) -> list[Attempt]:
        """Offer every cipher alone."""
        offers = [
            Offer(name, self._try(suites=(name,), groups=(group,))) for name in primitives.SUITES
        ]
        facts = _outcomes(offers)
        accepted = [one.name for one in offers if one.accepted]
        wrong = [one.name for one in offers if one.result.wrong]
        refused = {one.result.code for one in offers} <= {"", "no-common-suite"}
        if wrong or not accepted or not refused:
            self._verdict.add("ciphers", "F", "ciphers are not agreed upon in order", ciphers=facts)
        else:
            self._verdict.add("ciphers", "A", f"accepted: {', '.join(accepted)}", ciphers=facts)
        return [one.result for one in offers]

    def fresh(self, attempts: list[Attempt]) -> None:
        """Compare what the relay said to several, each of whom must get numbers of its own."""
        said = [hello.read_relay_hello(one.hello) for one in attempts if one.complete]
        nonces, shares = {one.nonce for one in said}, {one.share for one in said}
        if len(nonces) == len(shares) == len(said):
            reason = f"{len(said)} handshakes, no number and no share twice"
            self._verdict.add("fresh", "A", reason)
        else:
            self._verdict.add("fresh", "F", "it uses numbers or shares again")

    def unknown_names(self, group: str) -> None:
        """Offer names that nobody knows, alone and besides known ones."""
        beside = self._try(
            suites=(*primitives.SUITES, "aegis-512"), groups=(group, "x-unknown-9"), share=group
        )
        alone = self._raw(groups=("x-unknown-9",), group="x-unknown-9", share=b"\1")
        if beside.complete and alone == "no-common-group":
            self._verdict.add("unknown", "A", "names that it does not know are passed over")
        else:
            how = beside.code or beside.wrong or "accepted"
            reason = f"unknown names: {how} besides known ones, {alone} alone"
            self._verdict.add("unknown", "C", reason)

    def _line(
        self,
        *,
        suites: tuple[str, ...] = primitives.SUITES,
        groups: tuple[str, ...],
        group: str,
        share: bytes,
        nonce: bytes | None = None,
    ) -> bytes:
        """Return a first line that the client's own code would not make."""
        nonce = nonce or primitives.random_bytes(hello.NONCE_SIZE)
        key = hello.knock_key(self._relay_id)
        return hello.write_client_hello(key, suites, groups, nonce, group, share, None) + b"\n"

    def _raw(
        self, penalty: float = 0.0, *, groups: tuple[str, ...], group: str, share: bytes
    ) -> str:
        with self._caller.call(penalty) as talk:
            talk.say(self._line(groups=groups, group=group, share=share))
            talk.line()
            return told(talk.rest(QUIET))

    def downgrade(self, accepted: list[str]) -> None:
        """Share the weaker of two groups, and change one's mind after a RETRY."""
        best = X25519MLKEM768.name
        other = next((name for name in accepted if name != best), "x25519")
        if best not in accepted:
            return
        tried = self._try(groups=(best, other), share=other)
        if not tried.complete:
            reason = f"RETRY does not lead on: {tried.code or tried.wrong}"
            self._verdict.add("retry", "F", reason)
        elif not tried.retried:
            self._verdict.add("retry", "C", f"it takes {other} from who can do {best}")
        else:
            self._verdict.add("retry", "A", f"who shares {other} first is asked for {best}")
        with self._caller.call(FAILURE) as talk:
            share = GROUPS[other].offer().share
            talk.say(self._line(groups=(best, other), group=other, share=share))
            first = talk.line() or b""
            if not first.startswith(b"SR1 RETRY"):
                return
            begun = len(talk.heard)
            share = GROUPS[best].offer().share
            talk.say(self._line(groups=(best,), group=best, share=share))
            said = talk.rest()[begun:]
        self._expect("downgrade", "an offer that changed after RETRY", said, "protocol")

    def _expect(self, check: str, what: str, said: bytes, code: str) -> None:
        grade = "A" if said == error(code) else "F"
        self._verdict.add(check, grade, f"{what} is answered: {told(said)}", answer=told(said))

    def replay(self, sent: bytes) -> None:
        """Say a first line that was said before."""
        with self._caller.call(FAILURE) as talk:
            talk.say(sent)
            said = talk.rest()
        self._expect("replay", "a first line heard before", said, "bad-line")

    def shares(self, group: str) -> None:
        """Send shares that are none."""
        share = GROUPS[group].offer().share
        answers = []
        for bad in (share[:-1], share[:-32] + bytes(32)):
            with self._caller.call(FAILURE) as talk:
                talk.say(self._line(groups=(group,), group=group, share=bad))
                answers.append(talk.rest())
        said = answers[0] if answers[0] == answers[1] else b" ".join(answers)
        self._expect("shares", "a share that is none", said, "bad-share")

    def early(self, group: str) -> None:
        """Send records where the relay has not answered yet."""
        with self._caller.call(FAILURE) as talk:
            share = GROUPS[group].offer().share
            line = self._line(groups=(group,), group=group, share=share)
            talk.say(line + SPEAKERS["a record"])
            said = talk.rest()
        self._expect("early-data", "what comes before its turn", said, "protocol")

    def proofs(self, group: str) -> None:
        """Show proofs that are none: of the right length, and of an invitation nobody gave."""
        answers = []
        for honest in (False, True):
            with self._caller.call(FAILURE) as talk:
                tried = attempt(talk, self._relay_id, groups=(group,))
                if tried.complete is None:
                    return
                begun = len(talk.heard)
                talk.say(tried.complete.data if honest else junk_proof())
                answers.append(talk.rest()[begun:])
        said = answers[0] if answers[0] == answers[1] else b" ".join(answers)
        self._expect("proofs", "whoever cannot prove itself", said, "auth-failed")
