"""Entry bytes, Merkle arithmetic, signed notes, and the offline verifier against every edit we can think of (I8, L4; lessons 28 and 29)."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.audit.checkpoint import (
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)
from vault.audit.dump import dump_lines
from vault.audit.entry import MAX_ENTRY_BYTES, AuditEntry, decode, encode
from vault.audit.merkle import Frontier, leaf_hash, node_hash
from vault.audit.verify import Verdict, verify_dump
from vault.errors import DataLossError, InvalidArgumentError, ResourceExhaustedError

NOW = datetime(2026, 11, 23, 12, 0, 0, 123, tzinfo=UTC)
SIGNER = NoteSigner("vault.example", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = NoteSigner("vault.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))

# Leaves and root of the well-known test tree of Certificate Transparency (RFC 6962 implementations since 2013).
CT_LEAVES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def entry(index: int, log: str = "acme") -> AuditEntry:
    return AuditEntry(
        log=log,
        index=index,
        time=NOW,
        actor="spiffe://vault.example/app",
        actor_kind="service",
        decision="ALLOWED",
        fields=("phone",),
        records=(f"r{index}",),
        subjects=("s",),
        count=1,
        justification=b"\x00sealed",
    )


def contents(count: int, log: str = "acme") -> list[bytes]:
    return [encode(entry(index, log)) for index in range(count)]


def checkpoint(entries: list[bytes], *, log: str = "acme", signer: NoteSigner = SIGNER) -> str:
    root = Frontier.empty().extend(leaf_hash(content) for content in entries).root()
    return sign_checkpoint(Checkpoint(f"vault.example/{log}", len(entries), root), signer)


def dump(entries: list[bytes], notes: list[str], log: str = "acme") -> list[str]:
    return list(dump_lines(log=log, origin=f"vault.example/{log}", entries=enumerate(entries), checkpoints=notes))


def check(lines: list[str], outside: list[str] | None = None, log: str = "acme") -> Verdict:
    return verify_dump(lines, SIGNER.verifier(), log=log, outside=outside or [])


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def test_root_of_the_published_tree() -> None:
    assert Frontier.empty().extend(map(leaf_hash, CT_LEAVES)).root().hex() == CT_ROOT


@given(st.lists(st.binary(max_size=8), max_size=70), st.integers(0, 70))
def test_frontier_equals_the_definition_however_it_grew(leaves: list[bytes], cut: int) -> None:
    grown = Frontier.empty().extend(map(leaf_hash, leaves[:cut]))

    grown = Frontier.from_bytes(grown.to_bytes()).extend(map(leaf_hash, leaves[cut:]))

    assert grown.root() == naive_root(leaves)
    assert grown.size == len(leaves)


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\x00" * 7 + b"\x01", (3).to_bytes(8) + bytes(32), bytes(8) + bytes(32)])
def test_damaged_head_is_refused(data: bytes) -> None:
    with pytest.raises(DataLossError) as refused:
        Frontier.from_bytes(data)

    assert refused.value.reason == "LOG_CORRUPT"


def test_entry_bytes_are_canonical_and_come_back() -> None:
    content = encode(entry(7))

    assert decode(content) == entry(7)
    assert json.dumps(json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == content


@pytest.mark.parametrize(
    "edit",
    [
        lambda members: members | {"v": 2},
        lambda members: members | {"value": "+972501234567"},
        lambda members: {key: value for key, value in members.items() if key != "time"},
        lambda members: members | {"justification": "not base64"},
        lambda members: [members],
    ],
    ids=["unknown version", "unknown member", "missing member", "not base64", "not an object"],
)
def test_entry_of_another_form_is_refused(edit: Callable[[dict[str, object]], object]) -> None:
    damaged = json.dumps(edit(json.loads(encode(entry(0)))), sort_keys=True, separators=(",", ":")).encode()

    with pytest.raises(DataLossError) as refused:
        decode(damaged)

    assert refused.value.reason == "LOG_CORRUPT"


def test_entry_above_its_size_limit_is_refused() -> None:
    with pytest.raises(ResourceExhaustedError) as refused:
        encode(AuditEntry(**{**{f: getattr(entry(0), f) for f in AuditEntry.__dataclass_fields__}, "records": ("x" * MAX_ENTRY_BYTES,)}))

    assert refused.value.reason == "ENTRY_TOO_LARGE"


def test_known_note_is_reproduced_and_checked() -> None:
    """The key and note of C2SP signed-note / golang.org/x/mod/sumdb/note (PeterNeumann), checked against our own parsing."""
    verifier = NoteVerifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    note = text + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

    assert open_note(note, verifier) == text


def test_verifier_key_survives_its_text_form() -> None:
    assert NoteVerifier.parse(SIGNER.verifier().text()) == SIGNER.verifier()
    assert NoteVerifier.from_pem("vault.example", SIGNER.verifier().pem()).text() == SIGNER.verifier().text()


@pytest.mark.parametrize("text", ["", "a+b", "vault.example+00000000+AQ==", "a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"])
def test_verifier_key_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        NoteVerifier.parse(text)

    assert refused.value.reason == "VERIFIER_KEY_INVALID"


def test_note_by_another_key_of_the_same_name_is_refused() -> None:
    with pytest.raises(DataLossError) as refused:
        open_note(sign_note("text\n", STRANGER), SIGNER.verifier())

    assert refused.value.reason == "NOTE_INVALID"


@pytest.mark.parametrize("body", ["no line break", "two\n\nparts\n"])
def test_text_that_cannot_be_a_note_is_not_signed(body: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        sign_note(body, SIGNER)

    assert refused.value.reason == "NOTE_INVALID"


@given(st.data())
def test_any_changed_character_of_a_checkpoint_is_refused(data: st.DataObject) -> None:
    note = checkpoint(contents(3))
    position = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != note[position]))

    with pytest.raises(DataLossError) as refused:
        open_checkpoint(note[:position] + other + note[position + 1 :], SIGNER.verifier())

    assert refused.value.reason in {"NOTE_INVALID", "CHECKPOINT_INVALID"}


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 100])
def test_untouched_log_is_intact_and_complete(count: int) -> None:
    entries = contents(count)

    verdict = check(dump(entries, [checkpoint(entries)]))

    assert (verdict.intact, verdict.complete, verdict.covered, verdict.exit_code) == (True, True, count, 0)


def test_entries_after_the_newest_checkpoint_are_counted_as_not_covered() -> None:
    entries = contents(5)

    verdict = check(dump(entries, [checkpoint(entries[:3])]))

    assert (verdict.entries, verdict.covered, verdict.exit_code) == (5, 3, 0)


def test_log_without_checkpoint_is_not_complete() -> None:
    assert check(dump(contents(3), [])).exit_code == 2


def test_cut_tail_is_found_by_the_checkpoint_published_outside() -> None:
    entries = contents(9)

    verdict = check(dump(entries[:6], [checkpoint(entries[:6])]), outside=[checkpoint(entries)])

    assert (verdict.intact, verdict.complete, verdict.exit_code) == (True, False, 2)


def replaced(entries: list[bytes], index: int, content: bytes) -> list[bytes]:
    return [*entries[:index], content, *entries[index + 1 :]]


@pytest.mark.parametrize(
    ("name", "edit", "first_bad"),
    [
        ("one member changed", lambda e: replaced(e, 2, e[2].replace(b"ALLOWED", b"REFUSED")), 8),
        ("other spelling of the same JSON", lambda e: replaced(e, 2, e[2].replace(b":", b": ", 1)), 2),
        ("entry of another log", lambda e: replaced(e, 2, contents(8, "globex")[2]), 2),
        ("two entries swapped", lambda e: [*e[:2], e[3], e[2], *e[4:]], 2),
        ("entry repeated", lambda e: [*e[:3], e[2], *e[3:]], 3),
        ("entry removed", lambda e: [*e[:3], *e[4:]], 3),
        ("first entry removed", lambda e: e[1:], 0),
    ],
)
def test_edited_log_is_not_intact(name: str, edit: Callable[[list[bytes]], list[bytes]], first_bad: int) -> None:
    entries = contents(8)

    verdict = check(dump(edit(entries), [checkpoint(entries)]))

    assert (verdict.exit_code, verdict.first_bad_index) == (1, first_bad), name


def test_rewritten_log_with_a_forged_checkpoint_is_not_intact() -> None:
    entries = contents(4, "acme")
    forged = replaced(entries, 1, encode(AuditEntry(log="acme", index=1, time=NOW, actor="x", actor_kind="service", decision="ALLOWED")))

    verdict = check(dump(forged, [checkpoint(forged, signer=STRANGER)]))

    assert verdict.exit_code == 1


def test_log_of_another_tenant_is_not_accepted_for_this_one() -> None:
    entries = contents(3, "globex")

    assert check(dump(entries, [checkpoint(entries, log="globex")], "globex"), log="acme").exit_code == 1


def test_checkpoint_of_another_log_is_not_accepted() -> None:
    entries = contents(3)

    assert check(dump(entries, [checkpoint(entries)]), outside=[checkpoint(contents(3, "globex"), log="globex")]).exit_code == 1


@settings(max_examples=300)
@given(st.data())
def test_any_flipped_bit_of_a_covered_dump_is_caught(data: st.DataObject) -> None:
    entries = contents(6)
    whole = "".join(dump(entries, [checkpoint(entries)])).encode()
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8

    verdict = check(bytes(damaged).decode(errors="surrogateescape").splitlines(keepends=True))

    assert verdict.exit_code != 0


def test_second_spelling_of_base64_is_caught() -> None:
    """The unused low bits of the last base64 digit could hide a second spelling of the same entry."""
    entries = contents(3)
    lines = dump(entries, [checkpoint(entries)])
    members = json.loads(lines[2])
    text = members["e"]
    assert text.endswith("="), "the sample entry must have unused bits"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    position = len(text.rstrip("=")) - 1
    members["e"] = text[:position] + alphabet[alphabet.index(text[position]) ^ 1] + text[position + 1 :]
    assert base64.b64decode(members["e"]) == base64.b64decode(text)

    assert check([*lines[:2], json.dumps(members) + "\n", *lines[3:]]).exit_code == 1
