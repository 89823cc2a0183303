"""A bounded run of every fuzz target: the same inputs each time, more than 200,000 in all."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import TARGETS, seeds_of


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_unexpected_comes_out_of(name: str) -> None:
    target, seeds = TARGETS[name], seeds_of(name)
    for seed in seeds:
        target.run(seed)
    chance = random.Random(name)
    for _ in range(target.count):
        data = target.mutate(chance, chance.choice(seeds), seeds)
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{name} let out {error!r} for {data!r}") from error


def test_enough_inputs_are_tried() -> None:
    assert sum(target.count for target in TARGETS.values()) >= 200_000
