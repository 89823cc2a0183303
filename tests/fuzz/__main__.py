"""Fuzz for as long as wanted: ``python -m tests.fuzz [--seconds N] [TARGET ...]``.

With ``--guided``, one target and atheris (Linux, ``pip install atheris``) it is guided by coverage;
without it the mutations are the same as in the tests, with a new beginning each time.  What broke
something is written to ``tests/fuzz/found`` and can be given to :func:`replay`.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

if "--guided" in sys.argv:
    import atheris

    # Only the package: to instrument all that is loaded takes minutes and hides what it does.
    with atheris.instrument_imports(include=["securerelay"]):
        from tests.fuzz.targets import TARGETS, seeds_of
else:
    from tests.fuzz.targets import TARGETS, seeds_of

FOUND = Path(__file__).parent / "found"


def replay(name: str, path: Path) -> None:
    """Give one file to a target."""
    TARGETS[name].run(path.read_bytes())


def keep(name: str, data: bytes) -> Path:
    """Write down what broke a target."""
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def plain(name: str, seconds: float, seed: int) -> int:
    """Mutate for so many seconds; returns how many inputs broke something."""
    target, seeds, chance = TARGETS[name], seeds_of(name), random.Random(f"{seed} {name}")
    end, count, broken = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = target.mutate(chance, chance.choice(seeds), seeds)
        count += 1
        try:
            target.run(data)
        except Exception:
            broken += 1
            traceback.print_exc()
            print(f"{name}: {keep(name, data)}", flush=True)
            if broken >= 10:
                break
    print(f"{name}: {count} inputs, seed {seed}, {broken} broke something", flush=True)
    return broken


def guided(name: str, seconds: float) -> None:
    """Let coverage guide; libFuzzer ends the process."""
    target, seeds = TARGETS[name], seeds_of(name)
    # The seeds and what is found go there; the corpus of the repository stays as it is.
    folder = FOUND / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, most)
        return target.mutate(chance, data, seeds)[:most]

    options = [f"-max_total_time={int(seconds)}", f"-artifact_prefix={FOUND}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(folder)], target.run, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets named, or all of them in turn."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="all if none is named")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    options = parser.parse_args()
    if options.guided:
        guided(options.target[0], options.seconds)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    broken = sum(plain(name, options.seconds, seed) for name in options.target or TARGETS)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
