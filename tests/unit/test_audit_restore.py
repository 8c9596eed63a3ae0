"""Notes about restores, pure: what they are believed for, which lives of a log have what in common, and what the verifier makes of them (E9, I8)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_audit_log import NOW, SIGNER, STRANGER, entry, naive_root
from tests.unit.test_audit_proofs import hashes
from vault.audit.checkpoint import Checkpoint, NoteSigner, open_checkpoint, sign_checkpoint, sign_note
from vault.audit.cosignature import Witness
from vault.audit.dump import dump_lines
from vault.audit.entry import encode
from vault.audit.restore import Loss, Restore, losses, lost_in, open_restore, open_restores, shared_sizes, sign_restore
from vault.audit.tiles import consistency_path
from vault.audit.verify import Verdict, verify_dump
from vault.cli.witnessing import witnessed
from vault.errors import DataLossError

ORIGIN = "vault.example/acme"
KEYS = [SIGNER.verifier()]
HOUR = timedelta(hours=1)


def entries(count: int, *, life: int = 0, above: Sequence[bytes] = ()) -> list[bytes]:
    """A log of a life; what stands above is what it was restored to."""
    fresh = [encode(replace(entry(index), trace_id=f"life {life}")) for index in range(len(above), count)]
    return [*above, *fresh]


def head(content: Sequence[bytes], life: int = 0) -> Checkpoint:
    return Checkpoint(ORIGIN, len(content), naive_root(list(content)), life)


def note(number: int, restored: Sequence[bytes], published: Checkpoint, *, base: int = 0, signer: NoteSigner = SIGNER) -> str:
    return sign_restore(
        Restore(ORIGIN, number, base, len(restored), naive_root(list(restored)), published, NOW + number * HOUR, f"i{number}"), signer
    )


def verified(content: Sequence[bytes], heads: Sequence[Checkpoint], restores: Sequence[str], *, outside: Sequence[str] = ()) -> Verdict:
    lines = dump_lines(log="acme", origin=ORIGIN, entries=enumerate(content), checkpoints=[], restores=restores)
    return verify_dump(lines, KEYS[0], log="acme", outside=[sign_checkpoint(it, SIGNER) for it in heads], restores=outside)


FIRST = entries(10)
SECOND = entries(8, life=1, above=FIRST[:5])
NOTE = note(1, FIRST[:5], head(FIRST))


def test_a_note_says_what_it_said_and_is_no_checkpoint() -> None:
    restore = open_restore(NOTE, KEYS, origin=ORIGIN)

    assert (restore.number, restore.base, restore.size, restore.published, restore.incarnation) == (1, 0, 5, head(FIRST), "i1")
    with pytest.raises(DataLossError):
        open_checkpoint(NOTE, KEYS[0])
    with pytest.raises(DataLossError):
        open_restore(sign_checkpoint(head(SECOND, 1), SIGNER), KEYS, origin=ORIGIN)


@given(st.data())
@settings(deadline=None)
def test_any_changed_character_of_a_note_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(NOTE) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != NOTE[place]))

    with pytest.raises(DataLossError):
        open_restore(NOTE[:place] + other + NOTE[place + 1 :], KEYS, origin=ORIGIN)


@pytest.mark.parametrize(
    ("forged", "origin"),
    [
        (note(1, FIRST[:5], head(FIRST), signer=STRANGER), ORIGIN),
        (NOTE, "vault.example/globex"),
        (note(1, FIRST[:5], head(FIRST), base=1), ORIGIN),
        (note(1, FIRST[:5], head(FIRST, 1)), ORIGIN),
        ("x", ORIGIN),
    ],
    ids=["a stranger's", "another log's", "its own base", "published after it", "no note"],
)
def test_a_note_that_is_not_the_vaults_about_this_log_is_not_believed(forged: str, origin: str) -> None:
    with pytest.raises(DataLossError) as refused:
        open_restore(forged, KEYS, origin=origin)

    assert refused.value.reason == "NOTE_INVALID"


@pytest.mark.parametrize("text", ["restore 0", "restore 01", "restore -1", "restore", "other 1", "restore 1\nmore"])
def test_a_checkpoint_has_no_other_extension_than_a_restore(text: str) -> None:
    with pytest.raises(DataLossError) as refused:
        open_checkpoint(sign_note(f"{head(FIRST).body()}{text}\n", SIGNER), KEYS[0])

    assert refused.value.reason == "CHECKPOINT_INVALID"


def test_notes_that_are_missing_or_contradict_each_other_are_refused() -> None:
    for notes in ([note(2, FIRST[:3], head(FIRST))], [NOTE, note(1, FIRST[:4], head(FIRST))]):
        with pytest.raises(DataLossError) as refused:
            open_restores(notes, KEYS, origin=ORIGIN)
        assert refused.value.reason == "NOTE_INVALID"


def test_the_verifier_says_what_a_restore_lost() -> None:
    verdict = verified(SECOND, [head(FIRST[:3]), head(FIRST[:9]), head(FIRST), head(SECOND[:7], 1)], [NOTE], outside=[NOTE])

    assert (verdict.intact, verdict.complete, verdict.exit_code, verdict.covered, verdict.problem) == (True, True, 3, 7, "")
    assert verdict.lost == (Loss(1, 5, 10, NOW + HOUR, "i1"),)


def test_what_was_published_above_what_a_note_says_is_told_as_lost_too() -> None:
    longer = entries(14)

    verdict = verified(SECOND, [head(longer), head(SECOND, 1)], [NOTE])

    assert (verdict.exit_code, [(loss.start, loss.end) for loss in verdict.lost]) == (3, [(5, 14)])


FORKED = entries(8, life=9, above=FIRST[:5])


@pytest.mark.parametrize(
    ("content", "heads", "restores", "code"),
    [
        (SECOND, [head(FIRST), head(SECOND, 1)], [], 1),
        (SECOND, [head(FIRST)], [], 2),
        (FORKED, [head(FIRST), head(SECOND, 1)], [NOTE], 1),
        (FORKED, [head(SECOND[:6], 1)], [NOTE], 1),
        (SECOND[:7], [head(SECOND, 1)], [NOTE], 2),
        (FIRST[:4], [head(FIRST)], [NOTE], 2),
        (entries(8, life=7), [head(FIRST)], [NOTE], 1),
        (SECOND, [head(entries(4, life=7)), head(SECOND, 1)], [NOTE], 1),
        (SECOND, [head(SECOND, 1)], [note(1, FIRST[:6], head(FIRST))], 1),
        (SECOND, [head(SECOND, 1)], [note(1, FIRST[:5], head(FIRST), signer=STRANGER)], 1),
        (SECOND, [head(SECOND, 2)], [NOTE], 1),
    ],
    ids=[
        "no note",
        "only the longer log is known",
        "a fork after the restore",
        "a fork after the restore, at a size that was lost before",
        "cut off after the restore",
        "cut off before what was restored",
        "other entries were restored",
        "rewritten below what was restored",
        "a note of another size",
        "a stranger's note",
        "a restore that nobody tells of",
    ],
)
def test_a_note_excuses_nothing_but_what_was_lost(
    content: Sequence[bytes], heads: Sequence[Checkpoint], restores: Sequence[str], code: int
) -> None:
    verdict = verified(content, heads, restores)

    assert verdict.exit_code == code


def test_a_log_that_does_not_know_of_a_published_restore_is_not_complete() -> None:
    verdict = verified(FIRST, [head(FIRST)], [], outside=[NOTE])

    assert (verdict.exit_code, verdict.problem) == (2, "the log does not know of a restore that was published")


def test_lives_share_what_the_notes_between_them_leave() -> None:
    """Life 1 ends at 8 of which a backup of 7 is restored; then the backup of 5 once more; then one of life 0 that is longer than both."""
    third = entries(9, life=2, above=SECOND[:7])
    fourth = entries(9, life=3, above=FIRST[:5])
    fifth = entries(12, life=4, above=FIRST[:8])
    notes = [
        NOTE,
        note(2, SECOND[:7], head(SECOND, 1), base=1),
        note(3, FIRST[:5], head(third, 2), base=0),
        note(4, FIRST[:8], head(fourth, 3), base=0),
    ]
    restores = open_restores(notes, KEYS, origin=ORIGIN)

    verdict = verified(fifth, [head(FIRST), head(SECOND, 1), head(third, 2), head(fourth, 3), head(fifth, 4)], notes)

    assert {life: size for life, size in shared_sizes(restores, 4).items() if life != 4} == {0: 8, 1: 5, 2: 5, 3: 5}
    assert [(loss.restore, loss.start, loss.end) for loss in losses(restores, [])] == [(1, 5, 10), (2, 7, 8), (3, 5, 9), (4, 5, 9)]
    assert (verdict.exit_code, verdict.covered) == (3, 12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_what_lives_share_is_what_their_entries_say(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """Whatever is restored in whatever order: no head of any life is a contradiction, and one forged entry of the present life is."""
    lives, heads, notes = [entries(12)], [head(entries(12))], list[str]()
    for number, (seed, size, grown) in enumerate(steps, 1):
        base = seed % number
        restored = lives[base][: size % (len(lives[base]) + 1)]
        notes.append(note(number, restored, heads[-1], base=base))
        lives.append(entries(len(restored) + grown, life=number, above=restored))
        heads.append(head(lives[-1], number))
    last = lives[-1]

    verdict = verified(last, heads, notes)
    if last:
        place = data.draw(st.integers(0, len(last) - 1))
        forged = verified([*last[:place], encode(replace(entry(place), trace_id="forged")), *last[place + 1 :]], heads, notes)
        assert forged.exit_code == 1

    assert (verdict.exit_code in {0, 3}, verdict.problem, verdict.covered) == (True, "", len(last))
    shared = shared_sizes(open_restores(notes, KEYS, origin=ORIGIN), len(steps))
    for life, content in enumerate(lives[:-1]):
        assert content[: shared[life]] == last[: min(shared[life], len(content))]


def looked(home: Path, content: Sequence[bytes], life: int = 0, restores: Sequence[str] = ()) -> Path:
    """A witness looks at a log."""

    def growth(_log: str, first: int, second: int) -> Sequence[bytes]:
        return hashes(list(content), consistency_path(first, second))

    witness = Witness("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return witnessed(
        home, witness, KEYS, sign_checkpoint(head(content, life), SIGNER), log="acme", growth=growth, now=NOW, restores=restores
    )


@pytest.mark.parametrize(
    ("content", "life", "restores"),
    [
        (SECOND, 1, []),
        (SECOND, 0, [NOTE]),
        (SECOND, 2, [NOTE]),
        (FORKED[:4], 1, [NOTE]),
        (SECOND, 1, [note(1, FIRST[:5], head(FIRST), signer=STRANGER)]),
        (SECOND, 1, [note(1, FIRST[:6], head(FIRST))]),
        (entries(8, life=7), 1, [note(1, entries(5, life=7), head(FIRST))]),
    ],
    ids=["no note", "no restore", "another restore", "shorter", "a stranger's note", "of another size", "not what it signed below"],
)
def test_a_witness_cosigns_nothing_after_a_restore_that_a_note_does_not_explain(
    tmp_path: Path, content: Sequence[bytes], life: int, restores: Sequence[str]
) -> None:
    for size in (3, 10):
        looked(tmp_path, FIRST[:size])
    before = (tmp_path / "acme" / "latest").read_text()

    with pytest.raises(DataLossError) as refused:
        looked(tmp_path, content, life, restores)

    assert refused.value.reason in {"PROOF_INVALID", "NOTE_INVALID"}
    assert (tmp_path / "acme" / "latest").read_text() == before


def test_a_witness_follows_a_restore_with_its_note_and_never_back(tmp_path: Path) -> None:
    for size in (3, 10):
        looked(tmp_path, FIRST[:size])

    looked(tmp_path, SECOND[:7], 1, [NOTE])
    looked(tmp_path, SECOND, 1)
    for content, life in ((entries(12, above=FIRST), 0), (FORKED, 1)):
        with pytest.raises(DataLossError) as refused:
            looked(tmp_path, content, life, [NOTE])
        assert refused.value.reason == "PROOF_INVALID"

    names = ["00000000000000000003", "00000000000000000010", "r000001-00000000000000000007", "r000001-00000000000000000008"]
    assert sorted(path.stem for path in (tmp_path / "acme").glob("*.checkpoint")) == names


def test_an_entry_is_lost_by_the_restore_that_took_it_and_may_be_back_after_another() -> None:
    restores = open_restores([NOTE, note(2, FIRST[:9], head(SECOND, 1))], KEYS, origin=ORIGIN)
    first = {1: restores[1]}

    def by(known: dict[int, Restore], life: int, index: int) -> int | None:
        lost = lost_in(known, life=life, index=index)
        return lost.number if lost else None

    assert [by(first, 0, index) for index in (4, 5, 9)] == [None, 1, 1]
    assert [by(restores, 0, index) for index in (4, 5, 8, 9)] == [None, None, None, 1]
    assert [by(restores, 1, index) for index in (4, 5)] == [None, 2]
    with pytest.raises(DataLossError):
        by(first, 2, 0)
