"""The tree is that of RFC 9162, and its proofs prove nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.crypto.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

COUNT = 33
LEAVES = [leaf_hash(bytes((number,))) for number in range(COUNT)]
TREE = Tree(LEAVES)
ROOTS = [TREE.root(size) for size in range(COUNT + 1)]


def by_definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    left, right = by_definition(leaves[:half]), by_definition(leaves[half:])
    return hashlib.sha256(b"\1" + left + right).digest()


def test_leaves_and_nodes_are_hashed_apart() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert hashlib.sha256().digest() == EMPTY_ROOT


def test_vectors_of_certificate_transparency() -> None:
    """The tree of eight leaves in the tests of Google's implementation."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    tree = Tree(leaf_hash(bytes.fromhex(one)) for one in inputs)
    assert tree.root(1).hex().startswith("6e340b9cffb37a98")
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize("size", range(COUNT + 1))
def test_roots_are_those_of_the_definition(size: int) -> None:
    assert ROOTS[size] == by_definition(LEAVES[:size])


def test_a_frontier_has_the_roots_of_the_tree_and_goes_on_from_what_was_kept() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES):
        assert frontier.root() == ROOTS[size]
        frontier = Frontier(len(frontier), frontier.peaks)
        frontier.append(leaf)
    assert (len(frontier), frontier.root()) == (COUNT, ROOTS[COUNT])
    for wrong, peaks in ((4, 2), (-1, 1)):
        with pytest.raises(ValueError, match=f"{peaks} peaks"):
            Frontier(wrong, LEAVES[:peaks])


@pytest.mark.parametrize("size", range(1, COUNT + 1))
def test_every_leaf_can_be_proven_and_no_other_in_its_place(size: int) -> None:
    for index in range(size):
        proof = TREE.inclusion(index, size)
        assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
        assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, ROOTS[size])
        for other in range(size):
            if other != index:
                assert not verify_inclusion(LEAVES[index], other, size, proof, ROOTS[size])
        assert not verify_inclusion(LEAVES[index], index, size, proof, b"r" * 32)
        assert not verify_inclusion(LEAVES[index], index, size, [*proof, b"x" * 32], ROOTS[size])
        if proof:
            assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], ROOTS[size])


@pytest.mark.parametrize("second", range(COUNT + 1))
def test_every_tree_is_proven_to_begin_with_every_smaller_one(second: int) -> None:
    for first in range(second + 1):
        proof = TREE.consistency(first, second)
        assert verify_consistency(first, second, ROOTS[first], ROOTS[second], proof)
        assert not verify_consistency(first, second, b"x" * 32, ROOTS[second], proof)
        assert not verify_consistency(first, second, ROOTS[first], ROOTS[second], [*proof, b"y"])
        if second != first:
            assert first == 0 or not verify_consistency(
                first, second, ROOTS[first], b"x" * 32, proof
            )
        if proof:
            assert not verify_consistency(first, second, ROOTS[first], ROOTS[second], proof[:-1])
            assert not verify_consistency(first, second, ROOTS[first], ROOTS[second], [])


@settings(deadline=None)
@given(st.integers(1, COUNT - 1), st.data())
def test_a_tree_with_another_past_is_never_consistent(first: int, data: st.DataObject) -> None:
    second = data.draw(st.integers(first + 1, COUNT))
    changed = data.draw(st.integers(0, first - 1))
    leaves = list(LEAVES[:second])
    leaves[changed] = leaf_hash(b"changed")
    other = Tree(leaves)
    for proof in (TREE.consistency(first, second), other.consistency(first, second)):
        assert not verify_consistency(first, second, ROOTS[first], other.root(), proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (3, 3), (-1, 3), (0, COUNT + 1)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        TREE.inclusion(index, size)
    assert not verify_inclusion(LEAVES[0], index, min(size, 3), [], ROOTS[1])


@pytest.mark.parametrize(("first", "second"), [(4, 3), (-1, 3), (0, COUNT + 1)])
def test_there_is_no_proof_of_a_shrinking_tree(first: int, second: int) -> None:
    with pytest.raises(IndexError):
        TREE.consistency(first, second)
    if first:
        assert not verify_consistency(first, second, ROOTS[3], ROOTS[3], [])
