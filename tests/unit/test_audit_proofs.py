"""Proofs of inclusion and consistency: against the RFC's own words, an independent implementation, and published vectors (I8)."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_audit_log import CT_LEAVES, SIGNER, STRANGER, checkpoint, contents, naive_root
from vault.audit.check import check_proof, proof_text, verify_consistency, verify_inclusion
from vault.audit.checkpoint import Checkpoint, NoteSigner, sign_checkpoint
from vault.audit.cosignature import Witness, WitnessVerifier, cosign, cosigned_at
from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.tiles import TILE_LEAVES, Node, Span, Tile, consistency_path, inclusion_path, next_tile, peaks, perfect_nodes, root_of
from vault.errors import DataLossError, InvalidArgumentError

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "merkle_rfc9162" / "proofs.json").read_text()
)


def hashes(leaves: list[bytes], path: list[Span]) -> list[bytes]:
    return [naive_root(leaves[span.start : span.end]) for span in path]


def included(leaves: list[bytes], index: int, size: int, proof: list[bytes]) -> None:
    verify_inclusion(leaf=leaf_hash(leaves[index]), index=index, size=size, hashes=proof, root=naive_root(leaves[:size]))


def grown(leaves: list[bytes], first: int, second: int, proof: list[bytes]) -> None:
    roots = naive_root(leaves[:first]), naive_root(leaves[:second])
    verify_consistency(first=first, second=second, first_root=roots[0], second_root=roots[1], hashes=proof)


@given(st.integers(1, 70), st.data())
def test_every_entry_of_every_tree_is_proved(size: int, data: st.DataObject) -> None:
    leaves = [str(n).encode() for n in range(size)]
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))

    included(leaves, index, size, hashes(leaves, inclusion_path(index, size)))
    grown(leaves, first, size, hashes(leaves, consistency_path(first, size)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 100])
def test_an_independent_implementation_makes_the_same_proofs_of_inclusion_and_verifies_ours(size: int) -> None:
    leaves = contents(size)
    other = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        other.append_entry(leaf)
    assert other.get_root(size) == naive_root(leaves)

    for index in range(size):
        ours, theirs = hashes(leaves, inclusion_path(index, size)), other.prove_inclusion(index + 1, size)
        assert theirs.path[1:] == ours
        said = {**theirs.serialize(), "path": [digest.hex() for digest in (leaf_hash(leaves[index]), *ours)]}
        proof = pymerkle.MerkleProof.deserialize(said)
        pymerkle.verify_inclusion(leaf_hash(leaves[index]), naive_root(leaves), proof)


def test_the_published_proofs_are_the_ones_that_we_make() -> None:
    """Those vectors that hold and have a proof are of the well-known test tree."""
    good = [v for kind in VECTORS.values() for v in kind if not v["wantErr"] and v["proof"]]
    made = [inclusion_path(v["leafIdx"], v["treeSize"]) if "leafIdx" in v else consistency_path(v["size1"], v["size2"]) for v in good]

    assert len(good) == 8
    assert [hashes(CT_LEAVES, path) for path in made] == [[decoded(text) for text in v["proof"]] for v in good]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda vector: vector["file"].removesuffix(".json"))
def test_published_proof_of_inclusion(vector: dict[str, Any]) -> None:
    def check() -> None:
        verify_inclusion(
            leaf=decoded(vector["leafHash"]),
            index=vector["leafIdx"],
            size=vector["treeSize"],
            hashes=[decoded(text) for text in vector["proof"] or []],
            root=decoded(vector["root"]),
        )

    judged(check, vector["wantErr"])


# Sizes of nothing: there, RFC 9162 has no proof, and we have no use for one. Ours is the stricter answer.
EMPTY = {
    "additional/sizes-are-equal-zero-and-proof-is-empty.json",
    "additional/consistency-check-on-empty-tree-size1-is-zero-is-useless.json",
}


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda vector: vector["file"].removesuffix(".json"))
def test_published_proof_of_consistency(vector: dict[str, Any]) -> None:
    def check() -> None:
        verify_consistency(
            first=vector["size1"],
            second=vector["size2"],
            first_root=decoded(vector["root1"]),
            second_root=decoded(vector["root2"]),
            hashes=[decoded(text) for text in vector["proof"] or []],
        )

    judged(check, vector["wantErr"] or vector["file"] in EMPTY)


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def judged(check: Any, refused: bool) -> None:
    if not refused:
        check()
        return
    with pytest.raises(DataLossError) as error:
        check()
    assert error.value.reason == "PROOF_INVALID"


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_no_path_leads_to_an_entry_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        inclusion_path(index, size)

    assert error.value.reason == "FIELD_INVALID"


@pytest.mark.parametrize(("first", "second"), [(0, 5), (6, 5), (-1, 3)])
def test_no_log_grows_backwards_or_from_nothing(first: int, second: int) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        consistency_path(first, second)

    assert error.value.reason == "FIELD_INVALID"


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 7, 16])
def test_every_node_above_a_tile_stands_in_exactly_one_tile(tiles: int) -> None:
    leaves = [str(n).encode() for n in range(tiles * TILE_LEAVES)]
    made: list[Tile] = []
    below = Frontier.empty()
    for start in range(0, len(leaves), TILE_LEAVES):
        tile, below = next_tile(below, [leaf_hash(leaf) for leaf in leaves[start : start + TILE_LEAVES]])
        made.append(tile)

    for level in range(6, 11):
        for index in range(len(leaves) >> level):
            found = made[Node(level, index).tile].node(level)
            assert found == naive_root(leaves[index << level : index + 1 << level])
    assert below.root() == naive_root(leaves)
    assert [node.tile for node in peaks(len(leaves))][-1] == tiles - 1


@given(st.integers(1, 1 << 40), st.data())
def test_a_proof_is_made_of_few_nodes_in_a_tree_of_any_size(size: int, data: st.DataObject) -> None:
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))

    for path in (inclusion_path(index, size), consistency_path(first, size)):
        nodes = [node for span in path for node in perfect_nodes(span)]
        assert len(nodes) <= 2 * size.bit_length()
        assert root_of([b"x"]) == b"x"


def proof_of(count: int, index: int, *, signer: NoteSigner = SIGNER) -> str:
    entries = contents(count)
    return proof_text(
        entry=entries[index],
        index=index,
        hashes=hashes(entries, inclusion_path(index, count)),
        checkpoint=checkpoint(entries, signer=signer),
    )


def test_a_stranger_reads_what_was_recorded() -> None:
    proven = check_proof(proof_of(9, 4), [SIGNER.verifier()])

    assert (proven.log, proven.index, proven.checkpoint.size) == ("acme", 4, 9)
    assert proven.entry["decision"] == "ALLOWED"


def test_a_proof_under_another_key_is_refused() -> None:
    with pytest.raises(DataLossError) as refused:
        check_proof(proof_of(9, 4, signer=STRANGER), [SIGNER.verifier()])

    assert refused.value.reason == "NOTE_INVALID"


def test_a_proof_under_the_key_that_took_over_is_accepted() -> None:
    assert check_proof(proof_of(9, 4, signer=STRANGER), [SIGNER.verifier(), STRANGER.verifier()]).index == 4


def test_an_entry_proved_for_another_place_than_it_names_is_refused() -> None:
    """Leaves are signed as they stand: an entry copied into another log or place says where it belongs."""
    entries = contents(3)
    moved = [entries[1], entries[0], entries[2]]
    text = proof_text(entry=moved[0], index=0, hashes=hashes(moved, inclusion_path(0, 3)), checkpoint=checkpoint(moved))

    with pytest.raises(DataLossError) as refused:
        check_proof(text, [SIGNER.verifier()])

    assert refused.value.reason == "PROOF_INVALID"


def test_a_witness_who_signed_as_well_is_named() -> None:
    entries = contents(5)
    witness = Witness("witness.example", STRANGER.key)
    note = cosign(checkpoint(entries), witness, seconds=1_900_000_000)
    text = proof_text(entry=entries[2], index=2, hashes=hashes(entries, inclusion_path(2, 5)), checkpoint=note)

    both = check_proof(text, [SIGNER.verifier()], witnesses=[witness.verifier()])
    with pytest.raises(DataLossError) as alone:
        check_proof(proof_of(5, 2), [SIGNER.verifier()], witnesses=[witness.verifier()])

    assert both.cosigners == {"witness.example": 1_900_000_000}
    assert alone.value.reason == "PROOF_INVALID"
    assert WitnessVerifier.parse(witness.verifier().text()) == witness.verifier()


def test_a_cosignature_is_made_as_its_specification_has_it() -> None:
    """C2SP tlog-cosignature, put together by hand."""
    note, witness = checkpoint(contents(3)), Witness("witness.example", STRANGER.key)
    line = cosign(note, witness, seconds=1_679_315_147).removeprefix(note)
    signed = base64.b64decode(line.removeprefix("— witness.example "))
    public = STRANGER.key.public_key().public_bytes_raw()

    assert signed[:4] == hashlib.sha256(b"witness.example\n\x04" + public).digest()[:4]
    assert signed[4:12] == (1_679_315_147).to_bytes(8, "big")
    STRANGER.key.public_key().verify(signed[12:], b"cosignature/v1\ntime 1679315147\n" + note.partition("\n\n")[0].encode() + b"\n")


@given(st.data())
def test_any_changed_character_of_a_cosigned_checkpoint_takes_the_witness_away(data: st.DataObject) -> None:
    note = cosign(checkpoint(contents(3)), Witness("witness.example", STRANGER.key), seconds=1_900_000_000)
    body = note.partition("\n\n")[0]
    position = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.characters(codec="utf-8", exclude_characters="\n").filter(lambda c: c != note[position]))

    with pytest.raises(DataLossError):
        cosigned_at(note[:position] + other + note[position + 1 :], Witness("witness.example", STRANGER.key).verifier())


@settings(max_examples=300)
@given(st.data())
def test_any_changed_character_of_a_proof_is_refused(data: st.DataObject) -> None:
    text = proof_of(11, 6)
    position = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[position]))

    with pytest.raises(DataLossError):
        check_proof(text[:position] + other + text[position + 1 :], [SIGNER.verifier()])


def test_a_checkpoint_of_another_vault_is_refused() -> None:
    entries = contents(2)
    note = sign_checkpoint(Checkpoint("elsewhere.example/acme", 2, naive_root(entries)), SIGNER)
    text = proof_text(entry=entries[0], index=0, hashes=[leaf_hash(entries[1])], checkpoint=note)

    with pytest.raises(DataLossError) as refused:
        check_proof(text, [SIGNER.verifier()])

    assert refused.value.reason == "PROOF_INVALID"
