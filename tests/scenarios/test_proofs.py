"""Proofs over the wire and in a stranger's hands, and what is not signed: a log that is not what was written, or not what was published (I8)."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, func, select, update

from tests.builders import asked, contact, create
from tests.commands import Commands, commands
from tests.processes import run
from tests.serving import Serving
from tests.unit.test_audit_log import naive_root
from vault.audit.check import verify_consistency, verify_inclusion
from vault.audit.checkpoint import Checkpoint, NoteSigner, open_checkpoint, sign_checkpoint
from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.tiles import TILE_LEAVES
from vault.cli.keys import _replace_signing_key
from vault.client.errors import CallError
from vault.operations import checkpoint, signing
from vault.operations.attempt import Attempt
from vault.operations.sink import DirectorySink, checkpoint_name
from vault.operations.upkeep import upkeep_caller
from vault.store.audit import insert_checkpoint
from vault.store.tables import audit_checkpoints, audit_entries, audit_heads, audit_tiles
from vault.v1.audit_service_pb2 import (
    GetCheckpointRequest,
    GetConsistencyProofRequest,
    GetInclusionProofRequest,
    ListAuditEntriesRequest,
)

ACME = "tenants/acme"


async def filled(served: Serving, count: int) -> None:
    """A log of acme with at least so many entries."""
    await served.create_tenants()
    app = served.service("acme-app")
    record = await create(app, contact())
    request = asked(record.name)
    for _ in range(count - 1):
        await app.call(app.records.RevealRecord, request)


async def test_every_entry_is_proved_to_be_in_the_signed_log_and_the_log_to_have_only_grown(served: Serving) -> None:
    await filled(served, 2 * TILE_LEAVES + 9)
    auditor = served.service("auditor")
    head = open_checkpoint(
        (await auditor.call(auditor.audit.GetCheckpoint, GetCheckpointRequest(parent=ACME))).checkpoint, served.vault.signer.verifier()
    )
    listed = await auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent=ACME, page_size=1000))
    leaves = [leaf_hash(entry.content) for entry in listed.entries]

    for index in (0, 1, TILE_LEAVES - 1, TILE_LEAVES, 2 * TILE_LEAVES + 1, head.size - 1):
        request = GetInclusionProofRequest(name=f"{ACME}/auditEntries/{index}", tree_size=head.size)
        hashes = (await auditor.call(auditor.audit.GetInclusionProof, request)).hashes
        verify_inclusion(leaf=leaves[index], index=index, size=head.size, hashes=list(hashes), root=head.root)
    from_sizes = (1, TILE_LEAVES, TILE_LEAVES + 1, 2 * TILE_LEAVES, head.size - 1, head.size)
    for size in from_sizes:
        # Of every earlier head the root is found without asking the vault for it.
        root = (await earlier_root(served, size)) if size < head.size else head.root
        growth = GetConsistencyProofRequest(parent=ACME, from_size=size, to_size=head.size)
        hashes = (await auditor.call(auditor.audit.GetConsistencyProof, growth)).hashes
        verify_consistency(first=size, second=head.size, first_root=root, second_root=head.root, hashes=list(hashes))


async def earlier_root(served: Serving, size: int) -> bytes:
    async with served.vault.database.read() as connection:
        rows = await connection.execute(
            select(audit_entries.c.entry).where(audit_entries.c.tenant_id == "acme").order_by(audit_entries.c.entry_index).limit(size)
        )
    return naive_root([row.entry for row in rows])


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        (f"{ACME}/auditEntries/1", 10_000, "FIELD_INVALID"),
        (f"{ACME}/auditEntries/1", 1, "FIELD_INVALID"),
        (f"{ACME}/auditEntries/01", 1, "NAME_INVALID"),
        (f"{ACME}/auditEntries/-1", 1, "NAME_INVALID"),
        (f"{ACME}/auditEntries/{1 << 64}", 1, "NAME_INVALID"),
        (f"{ACME}/entries/1", 1, "NAME_INVALID"),
    ],
)
async def test_a_proof_of_what_is_not_there_is_refused(served: Serving, name: str, size: int, reason: str) -> None:
    await filled(served, 3)
    auditor = served.service("auditor")

    refused = await auditor.refused(auditor.audit.GetInclusionProof, GetInclusionProofRequest(name=name, tree_size=size))

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", reason)


async def sign(served: Serving) -> CallError | None:
    auditor = served.service("auditor")
    try:
        await auditor.call(auditor.audit.GetCheckpoint, GetCheckpointRequest(parent=ACME))
    except CallError as error:
        return error
    return None


@pytest.mark.parametrize("edit", ["change", "remove", "change below a tile", "change a tile"])
async def test_a_log_that_somebody_wrote_into_is_not_signed(served: Serving, edit: str) -> None:
    """Lesson 28: entries that nobody vouches for yet are compared with the head that their writer kept."""
    await filled(served, TILE_LEAVES + 5)
    if "tile" in edit:
        assert await sign(served) is None
    index = 3 if edit == "change below a tile" else TILE_LEAVES + 2
    there = (audit_entries.c.tenant_id == "acme") & (audit_entries.c.entry_index == index)
    async with served.vault.database.write() as connection:
        if edit == "remove":
            await connection.execute(delete(audit_entries).where(there))
        elif edit == "change a tile":
            await connection.execute(update(audit_tiles).values(nodes=bytes(32)))
        else:
            await connection.execute(update(audit_entries).where(there).values(entry=b"{}"))

    refused = await sign(served)

    if edit == "change below a tile":
        # The tile vouches for what the entry was: the proof of the entry that stands there now does not hold. See `verify`.
        assert refused is None
    else:
        assert refused is not None
        assert (refused.code.name, refused.reason) == ("DATA_LOSS", "LOG_CORRUPT")


async def test_an_older_database_is_not_signed_once_a_newer_one_was_published(served: Serving) -> None:
    """Lesson 29: a log that was cut off together with its head, checkpoints and tiles is found by what stands outside."""
    await filled(served, 6)
    assert await checkpoint.publish_checkpoints(served.vault) == []
    async with served.vault.database.write() as connection:
        cut = audit_entries.c.tenant_id == "acme"
        size = (await connection.execute(select(func.count()).where(cut))).scalar_one()
        await connection.execute(delete(audit_entries).where(cut, audit_entries.c.entry_index >= 2))
        rows = await connection.execute(select(audit_entries.c.entry).where(cut).order_by(audit_entries.c.entry_index))
        frontier = Frontier.empty().extend([leaf_hash(row.entry) for row in rows])
        await connection.execute(update(audit_heads).where(audit_heads.c.tenant_id == "acme").values(size=2, frontier=frontier.to_bytes()))
        await connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.tenant_id == "acme"))
    assert size > 2
    # As after a restart: what was published is read again.
    served.vault.published.clear()
    await checkpoint.look_outside(served.vault)

    refused, broken = await sign(served), await checkpoint.check_logs(served.vault)

    assert refused is not None
    assert refused.reason == "LOG_CORRUPT"
    assert broken == ["acme"]


@pytest.mark.parametrize("forged", ["a stranger's", "another log's", "an older one", "not a note"])
async def test_a_published_note_that_is_not_the_vaults_neither_stops_the_signing_nor_hides_one_that_is(
    served: Serving, forged: str
) -> None:
    await filled(served, 3)
    stranger = NoteSigner(served.vault.name, Ed25519PrivateKey.generate())
    older, high = await checkpoint.sign_head(served.vault, "acme"), 99
    await create(served.service("acme-app"), contact("+972502345681"))
    assert await checkpoint.publish_checkpoints(served.vault) == []
    published = served.vault.published["acme"]
    note = {
        "a stranger's": sign_checkpoint(Checkpoint(f"{served.vault.name}/acme", high, bytes(32)), stranger),
        "another log's": sign_checkpoint(Checkpoint(f"{served.vault.name}/globex", high, bytes(32)), served.vault.signer),
        "an older one": older,
        "not a note": "x",
    }[forged]
    folder = served.home / "checkpoints"
    await DirectorySink(folder).put(checkpoint_name("acme", high), note.encode())
    served.vault.published.clear()

    await checkpoint.look_outside(served.vault)

    assert served.vault.published["acme"] == published
    assert await sign(served) is None


async def test_a_checkpoint_in_the_database_that_was_never_published_hides_none_that_was(served: Serving) -> None:
    await filled(served, 3)
    assert await checkpoint.publish_checkpoints(served.vault) == []
    published = served.vault.published["acme"]
    async with served.vault.database.write() as connection:
        await insert_checkpoint(connection, "acme", size=10**9, note="x", now=served.clock())
    served.vault.published.clear()

    await checkpoint.look_outside(served.vault)

    assert served.vault.published["acme"] == published


async def test_what_a_former_key_published_is_believed(served: Serving) -> None:
    await filled(served, 3)
    assert await checkpoint.publish_checkpoints(served.vault) == []
    published = served.vault.published["acme"]
    _replace_signing_key(served.home / "signing.key")
    await signing.rotate_signing_key(served.vault, Attempt(upkeep_caller()))
    served.vault.published.clear()

    await checkpoint.look_outside(served.vault)

    assert served.vault.published["acme"] == published


@pytest.fixture
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path) as started:
        yield started


def test_a_receipt_is_proved_and_checked_offline(cli: Commands, tmp_path: Path) -> None:
    cli.put_contact("050-2345612")
    proof, key = tmp_path / "entry.tlog-proof", cli.home / "verifier.txt"

    made = cli.answer("auditor", "audit", "prove", "acme/0", "-o", proof)
    system = cli.answer("auditor", "audit", "prove", "system/0", "-o", tmp_path / "system.tlog-proof")
    holds = run("audit", "check", proof, "--key", key, "--json")
    also = run("audit", "check", tmp_path / "system.tlog-proof", "--key", key, "--json")
    outside = cli.error("auditor", "audit", "prove", "acme/99999", "-o", tmp_path / "none")
    whole = proof.read_text()
    line = whole.split("\n")[1].removeprefix("extra ")
    forged = base64.b64encode(base64.b64decode(line).replace(b"ALLOWED", b"REFUSED")).decode()
    proof.write_text(whole.replace(line, forged))
    altered = run("audit", "check", proof, "--key", key, "--json")

    assert (made["log"], system["log"]) == ("acme", "system")
    assert whole.startswith("c2sp.org/tlog-proof@v1\n")
    assert holds.answer()["entry"]["decision"] == "ALLOWED"
    assert "2345612" not in holds.out
    assert also.answer()["holds"] is True
    assert outside["reason"] == "FIELD_INVALID"
    assert altered.error()["reason"] == "PROOF_INVALID"
