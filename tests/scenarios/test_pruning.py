"""Retention of evidence: 24 months in code, in the verifier and by the rights on the database (L4, L9); what is removed stays provable."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url, select

from tests.builders import asked, contact, create
from tests.databases import PostgresServer
from tests.processes import run
from tests.serving import Serving, serving
from tests.unit.test_audit_log import NOW, SIGNER, check, checkpoint, contents
from vault.audit.check import verify_inclusion
from vault.audit.dump import dump_lines
from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.pruning import FLOOR, Pruning, sign_pruning
from vault.audit.tiles import TILE_LEAVES
from vault.errors import InvalidArgumentError
from vault.names import SubjectName
from vault.operations import checkpoint as checkpoints
from vault.operations import proofs, prune, question
from vault.operations.attempt import Attempt
from vault.operations.upkeep import upkeep_caller
from vault.store.privileges import EVIDENCE, statements
from vault.store.tables import audit_entries

ROLES = {"service": "vault_service", "pruning": "vault_pruning", "auditor": "vault_auditor"}
LATER = FLOOR + timedelta(days=1)


async def filled(served: Serving, count: int) -> str:
    """A log of acme with at least so many entries; the record that they are about."""
    await served.create_tenants()
    app = served.service("acme-app")
    record = await create(app, contact())
    for _ in range(count - 1):
        await app.call(app.records.RevealRecord, asked(record.name))
    return record.name


async def left(served: Serving) -> list[int]:
    async with served.vault.database.read() as connection:
        query = select(audit_entries.c.entry_index).where(audit_entries.c.tenant_id == "acme").order_by(audit_entries.c.entry_index)
        return [row.entry_index for row in await connection.execute(query)]


async def test_what_is_old_enough_goes_and_old_proofs_still_hold(served: Serving, migrated_url: str) -> None:
    record = await filled(served, TILE_LEAVES + 4)
    await checkpoints.publish_checkpoints(served.vault)
    async with served.vault.database.read() as connection:
        first = (await connection.execute(select(audit_entries.c.entry).where(audit_entries.c.tenant_id == "acme").limit(1))).scalar_one()
    before = await left(served)
    served.clock.offset = LATER

    removed, receipt = await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)
    again, _ = await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)

    assert (removed, again) == (TILE_LEAVES, 0)
    assert receipt is not None
    assert receipt.log == "system"
    assert await left(served) == before[TILE_LEAVES:]
    head = await checkpoints.sign_head(served.vault, "acme")
    signed = served.vault.published["acme"]
    hashes = await proofs.inclusion_proof(served.vault, "acme", 0, signed.size)
    verify_inclusion(leaf=leaf_hash(first), index=0, size=signed.size, hashes=hashes, root=signed.root)
    subject = SubjectName("acme", record.split("/")[3])
    caller = upkeep_caller()
    named, _, _ = await question.subject_accesses(served.vault, caller, subject, page_size=1000, after=-1)
    assert [index for index, _ in named] == before[TILE_LEAVES:]
    verified = run(
        *("audit", "verify-database", "--database-url", migrated_url, "--key", served.home / "verifier.txt"),
        *("--checkpoints", served.home / "checkpoints", "--log", "acme", "--json"),
    )
    assert verified.answer()["logs"][0]["pruned"] == TILE_LEAVES
    assert head.startswith("vault.localhost/acme\n")


@pytest.mark.parametrize("page", [20, 1000])
async def test_a_dump_after_a_removal_verifies_and_a_proof_from_before_holds(served: Serving, tmp_path: Path, page: int) -> None:
    """By pages that end within a tile, too. Whoever forgets the note, or a hash, or changes one, is found out."""
    object.__setattr__(served.vault.limits, "page_size", page)
    await filled(served, 2 * TILE_LEAVES + 4)
    await checkpoints.publish_checkpoints(served.vault)
    file, key, home = tmp_path / "acme.jsonl", served.home / "verifier.txt", served.home
    auditor = ("--client", home / "clients" / "auditor")
    (home / "clients" / "auditor" / "address").write_text(served.address)
    proof = tmp_path / "entry.tlog-proof"
    proved = await asyncio.to_thread(run, *auditor, "audit", "prove", "acme/3", "-o", proof, "--json")
    served.clock.offset = LATER
    await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)

    dumped = await asyncio.to_thread(run, *auditor, "audit", "dump", "acme", "-o", file, "--json")

    verify = ("audit", "verify", "--log", "acme", "--key", key, "--checkpoints", home / "checkpoints" / "acme", "--json")
    verified, checked = run(*verify, file), run("audit", "check", proof, "--key", key)
    lines = file.read_text().splitlines(keepends=True)
    note, first = (next(n for n, line in enumerate(lines) if line.startswith(start)) for start in ('{"p"', '{"i":0,'))
    spoiled = {
        "no note": lines[:note] + lines[note + 1 :],
        "no hash": lines[:first] + lines[first + 1 :],
        "another hash": [*lines[:first], lines[first].replace(lines[first][12:16], "AAAA"), *lines[first + 1 :]],
        "no hashes": lines[:first] + [line for line in lines[first:] if '"e"' in line],
    }
    codes = {}
    for how, content in spoiled.items():
        (tmp_path / "spoiled").write_text("".join(content))
        codes[how] = run(*verify, tmp_path / "spoiled").code
    assert (proved.code, checked.code, dumped.answer()["removed"]) == (0, 0, 2 * TILE_LEAVES)
    assert verified.answer() | {"pruned": 2 * TILE_LEAVES, "intact": True, "complete": True} == verified.answer()
    assert codes == dict.fromkeys(spoiled, 1)


async def test_what_is_younger_than_24_months_stays(served: Serving) -> None:
    await filled(served, TILE_LEAVES + 1)
    served.clock.offset = FLOOR - timedelta(hours=1)

    removed, _ = await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)

    assert removed == 0


async def test_nobody_removes_evidence_before_24_months(served: Serving) -> None:
    """L4: 729 days are refused."""
    with pytest.raises(InvalidArgumentError) as refused:
        await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=timedelta(days=729))
    told = run("audit", "prune", "--config", served.home / "vault.yaml", "--days", "729", "--json")

    assert refused.value.reason == "BELOW_FLOOR"
    assert told.error()["reason"] == "BELOW_FLOOR"


def pruned(*, kept_for: timedelta, origin: str = "vault.example/acme", shift: int = 0, told: bool = True) -> int:
    """Exit code of a verifier that is shown a log of 70 entries without its first 64."""
    entries = contents(70)
    leaves = [leaf_hash(entry) for entry in entries]
    note = sign_pruning(Pruning(origin, 64, Frontier.empty().extend(leaves[:64]).root(), NOW, NOW + kept_for), SIGNER)
    lines = dump_lines(
        log="acme",
        origin="vault.example/acme",
        entries=list(enumerate(entries))[64 + shift :],
        checkpoints=[checkpoint(entries[:10]), checkpoint(entries)],
        prunings=[note] if told else [],
        kept=list(enumerate(leaves[:64])),
    )
    return check(list(lines)).exit_code


def test_a_verifier_accepts_only_a_removal_after_the_floor_of_this_log_and_of_exactly_these_entries() -> None:
    assert pruned(kept_for=FLOOR) == 0
    assert pruned(kept_for=FLOOR - timedelta(seconds=1)) == 1
    assert pruned(kept_for=FLOOR, origin="vault.example/globex") == 1
    assert pruned(kept_for=FLOOR, shift=1) == 1
    assert pruned(kept_for=FLOOR, told=False) == 1


@contextmanager
def with_roles(server: PostgresServer) -> Iterator[None]:
    for role in ROLES.values():
        server.execute(f"DROP ROLE IF EXISTS {role}")
        server.execute(f"CREATE ROLE {role} LOGIN")
    yield


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_the_service_appends_and_proves_under_a_role_that_cannot_rewrite(
    migrated_url: str, postgres_server: PostgresServer, home_template: Path, tmp_path: Path
) -> None:
    """L4: must not be changed silently. Whoever takes the service over cannot update, delete or truncate evidence."""
    with with_roles(postgres_server):
        owner = await asyncpg.connect(make_url(migrated_url).set(drivername="postgresql").render_as_string(hide_password=False))
        for line in statements(**ROLES):
            await owner.execute(line)

        async with serving(home_template, tmp_path / "home", as_role(migrated_url, "vault_service")) as served:
            await filled(served, TILE_LEAVES + 2)
            await checkpoints.publish_checkpoints(served.vault)
            signed = served.vault.published["acme"]
            assert len(await proofs.inclusion_proof(served.vault, "acme", 3, signed.size)) > 3
            served.clock.offset = LATER
            with pytest.raises(Exception, match="AUDIT_UNAVAILABLE"):
                await prune.prune_log(served.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)

        refused = {role: await denied(migrated_url, role) for role in ROLES.values()}
        async with serving(home_template, tmp_path / "pruning", as_role(migrated_url, "vault_pruning")) as other:
            other.clock.offset = LATER
            removed, _ = await prune.prune_log(other.vault, Attempt(upkeep_caller()), "acme", kept_for=FLOOR)
        verified = run(
            *("audit", "verify-database", "--database-url", as_role(migrated_url, "vault_auditor")),
            *("--key", tmp_path / "home" / "verifier.txt", "--json"),
        )
        await owner.execute("DROP OWNED BY " + ", ".join(ROLES.values()))
        await owner.close()

    both = {f"{verb} {table}" for table in EVIDENCE for verb in ("UPDATE", "DELETE", "TRUNCATE")}
    assert refused["vault_service"] == both
    assert refused["vault_pruning"] == both - {"DELETE audit_entries"}
    assert refused["vault_auditor"] == both
    assert removed == TILE_LEAVES
    assert verified.code == 0, verified.out


async def denied(url: str, role: str) -> set[str]:
    """What a role is refused to do with evidence."""
    connection = await asyncpg.connect(make_url(as_role(url, role)).set(drivername="postgresql").render_as_string(hide_password=False))
    refused = set()
    for table in EVIDENCE:
        for verb, statement in (
            ("UPDATE", f"UPDATE {table} SET tenant_id = tenant_id WHERE false"),  # noqa: S608 - names of our own tables
            ("DELETE", f"DELETE FROM {table} WHERE false"),  # noqa: S608
            ("TRUNCATE", f"TRUNCATE {table}"),
        ):
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                refused.add(f"{verb} {table}")
            finally:
                await transaction.rollback()
    await connection.close()
    return refused


@pytest.mark.parametrize("names", [{"service": "Robert'); DROP"}, {"pruning": "vault_service"}, {"auditor": ""}])
def test_a_role_that_would_have_to_be_quoted_or_is_named_twice_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        statements(**{**ROLES, **names})

    assert refused.value.reason == "FIELD_INVALID"
