"""The bounded model holds, finds the flaws planted in it, and ProVerif said what is expected."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

FORMAL = Path(__file__).parent.parent / "formal"
MODEL = (FORMAL / "bounded.maude").read_text()

HONEST = "connected(t(g(xa), g(xb)), b) welcomed(t(g(xa), g(xb)), a) S:State"
BAD = {
    "a is connected with e": "connected(T:Transcript, e) S:State",
    "a is connected with the attacker and thinks it is b": (
        "connected(t(g(X:Ephemeral), g(xe)), b) S:State"
    ),
    "the attacker is welcomed as a": "welcomed(t(g(xe), g(Y:Ephemeral)), a) S:State",
    "somebody is welcomed as a relay": "welcomed(T:Transcript, b) S:State",
    "b is connected with a who never said so": (
        "welcomed(t(g(xa), g(Y:Ephemeral)), a) waits(xa) S:State"
    ),
}


@functools.cache
def found(switched_off: str = "") -> frozenset[str]:
    """What the search reaches in the model with one of its rules taken out."""
    maude = pytest.importorskip("maude", reason="maude is in the extra test")
    maude.init(advise=False)
    name = "SR1" + switched_off.replace("-", "").upper()
    text = MODEL.replace("mod SR1 is", f"mod {name} is")
    if switched_off:
        text = text.replace(f"eq {switched_off} = true", f"eq {switched_off} = false")
        assert text.count("= false .") == 1
    assert maude.input(text)
    module = maude.getModule(name)
    reached = set()
    for what, pattern in {"the honest end": HONEST, **BAD}.items():
        start = module.parseTerm("init")
        if next(start.search(maude.ANY_STEPS, module.parseTerm(pattern)), None) is not None:
            reached.add(what)
    return frozenset(reached)


def test_the_bounded_handshake_ends_well_and_in_no_other_way() -> None:
    assert found() == {"the honest end"}


@pytest.mark.parametrize(
    ("flaw", "attack"),
    [
        ("check-role", "a is connected with e"),
        ("bind-transcript", "a is connected with the attacker and thinks it is b"),
        ("bind-transcript", "the attacker is welcomed as a"),
        ("check-signature", "the attacker is welcomed as a"),
    ],
)
def test_a_planted_flaw_is_found(flaw: str, attack: str) -> None:
    assert {"the honest end", attack} <= found(flaw)


@pytest.mark.parametrize("suffix", ["", "-sealing", "-room"])
def test_every_verdict_of_proverif_is_recorded_and_as_expected(suffix: str) -> None:
    expected = {}
    for line in (FORMAL / f"runs{suffix}.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            file, flags, queries = (part.strip() for part in line.split("|"))
            for query in queries.split():
                name, verdict = query.split("=")
                expected[file, flags or "-", name] = verdict
    recorded = {}
    for line in (FORMAL / f"results{suffix}.txt").read_text().splitlines():
        found = re.fullmatch(
            r"(\w+) +(.*?) +(\w+) +(true|false|\?) +(true|false|\?) +ok +\S+", line
        )
        if found is not None:
            recorded[found[1], found[2], found[3]] = found[4]
    assert expected.items() <= recorded.items()


def test_every_model_is_run() -> None:
    runs = "".join(path.read_text() for path in FORMAL.glob("runs*.txt"))
    for path in FORMAL.glob("*.pv"):
        assert re.search(rf"^{path.stem} \|", runs, re.MULTILINE), path
