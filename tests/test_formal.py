"""The bounded model holds, finds the flaws planted in it, and ProVerif said what is expected."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

FORMAL = Path(__file__).parent.parent / "formal"
HANDSHAKE = {
    "the honest end": "connected(t(g(xa), g(xb)), b) welcomed(t(g(xa), g(xb)), a) S:State",
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
RENEWAL = {
    "the honest end": "followed(a, ka2) followed(b, kb2) S:State",
    "a thief who is faster": "followed(a, kt) S:State",  # which the key log shows a
    "e has a certificate for the key of b": "issued(e, kb2, T:Session) S:State",
    "a's next key is asked for where a did not": "issued(a, ka2, s3) S:State",
    "a thief's key follows after a's": "followed(a, ka2) directory(a, kt, L:Keys) S:State",
    "two keys follow one": "followed(a, ka2) followed(a, kt) S:State",
}
MODELS = {"bounded": ("SR1", HANDSHAKE), "renewal": ("RENEWAL", RENEWAL)}


@functools.cache
def found(model: str, switched_off: str = "") -> frozenset[str]:
    """What the search reaches in a model with one of its rules taken out."""
    maude = pytest.importorskip("maude", reason="maude is in the extra test")
    maude.init(advise=False)
    module_name, patterns = MODELS[model]
    name = module_name + switched_off.replace("-", "").upper()
    text = (FORMAL / f"{model}.maude").read_text()
    text = text.replace(f"mod {module_name} is", f"mod {name} is")
    if switched_off:
        text = text.replace(f"eq {switched_off} = true", f"eq {switched_off} = false")
        assert len(re.findall(r"= false +\.", text)) == 1
    assert maude.input(text)
    module = maude.getModule(name)
    reached = set()
    for what, pattern in patterns.items():
        start = module.parseTerm("init")
        if next(start.search(maude.ANY_STEPS, module.parseTerm(pattern)), None) is not None:
            reached.add(what)
    return frozenset(reached)


def test_the_bounded_handshake_ends_well_and_in_no_other_way() -> None:
    assert found("bounded") == {"the honest end"}


def test_another_key_follows_its_peers_alone_and_a_thief_has_to_be_faster() -> None:
    assert found("renewal") == {"the honest end", "a thief who is faster"}


@pytest.mark.parametrize(
    ("model", "flaw", "attack"),
    [
        ("bounded", "check-role", "a is connected with e"),
        ("bounded", "bind-transcript", "a is connected with the attacker and thinks it is b"),
        ("bounded", "bind-transcript", "the attacker is welcomed as a"),
        ("bounded", "check-signature", "the attacker is welcomed as a"),
        ("renewal", "check-proof", "e has a certificate for the key of b"),
        ("renewal", "check-proof", "a's next key is asked for where a did not"),
        ("renewal", "cut-sessions", "a thief's key follows after a's"),
        ("renewal", "forget-others", "a thief's key follows after a's"),
    ],
)
def test_a_planted_flaw_is_found(model: str, flaw: str, attack: str) -> None:
    assert {"the honest end", attack} <= found(model, flaw)


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
