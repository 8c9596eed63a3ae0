"""Checkpoints outside the database: an object store, a trusted time, an independent witness."""

import asyncio
import shutil
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import boto3.session
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from tests.builders import asked, contact, create
from tests.commands import Commands, commands
from tests.processes import run
from tests.serving import Serving
from tests.timestamping import timestamp_authority
from tests.unit.test_audit_log import SIGNER, checkpoint, contents
from tests.unit.test_audit_proofs import hashes
from vault.audit.checkpoint import open_checkpoint
from vault.audit.cosignature import Witness, WitnessVerifier, cosigned_at
from vault.audit.tiles import consistency_path
from vault.cli.witnessing import witnessed
from vault.errors import DataLossError, UnavailableError
from vault.operations import checkpoint as checkpoints
from vault.operations.object_sink import ObjectSink
from vault.operations.sink import END, DirectorySink, Sink, checkpoint_name, place_of, restore_name
from vault.operations.timestamp import timestamp

BUCKET = "evidence"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an S3 server with an empty bucket."""
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    client = boto3.session.Session("key", "secret").client("s3", region_name="us-east-1", endpoint_url=endpoint)
    client.create_bucket(Bucket=BUCKET)
    # Servers of one process share what they hold.
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.close()
    yield endpoint
    server.stop()


@pytest.fixture(params=["directory", "object store"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    if request.param == "directory":
        return DirectorySink(tmp_path / "published")
    return ObjectSink(f"s3://{BUCKET}/vault", endpoint=request.getfixturevalue("object_store"))


async def newest(sink: Sink, log: str, size: int) -> str | None:
    """The newest note, whoever signed it."""
    return await sink.newest(log, start=place_of(size), is_ours=lambda _name, _note: True)


async def test_the_newest_note_of_a_log_is_found_and_none_is_ever_replaced(sink: Sink) -> None:
    notes = {size: checkpoint(contents(size)) for size in (2, 9, 10)}
    for size, note in notes.items():
        await sink.put(checkpoint_name("acme", size), note.encode())
    await sink.put(checkpoint_name("acme-two", 99), b"another log")
    await sink.put(f"{checkpoint_name('acme', 10)}.tsr", b"token")
    await sink.put(checkpoint_name("acme", 9), b"something else")

    found = [await newest(sink, "acme", size) for size in (0, 9, 10, 11)]

    assert found == [notes[10], notes[10], notes[10], None]
    assert await newest(sink, "globex", 0) is None
    assert await newest(sink, "acm", 0) is None


async def test_what_is_published_after_a_restore_comes_after_everything_before_it(sink: Sink) -> None:
    for size, life in ((9, 0), (100, 0), (7, 1), (8, 1), (5, 2)):
        await sink.put(checkpoint_name("acme", size, life), f"{size} of life {life}".encode())
    for number in (1, 2):
        await sink.put(restore_name("acme", number), str(number).encode())

    def found(start: str = "", end: str = END) -> Awaitable[str | None]:
        return sink.newest("acme", start=start, end=end, is_ours=lambda _name, _note: True)

    assert await found() == "5 of life 2"
    assert [await found(end=place_of(size, life)) for size, life in ((8, 1), (0, 1), (100, 0), (9, 0))] == [
        "7 of life 1",
        "100 of life 0",
        "9 of life 0",
        None,
    ]
    assert await found(place_of(9, 1), place_of(0, 2)) is None
    assert sorted(await sink.restores("acme")) == [(restore_name("acme", number), str(number)) for number in (1, 2)]
    assert await sink.restores("globex") == []


async def test_a_note_that_is_not_believed_hides_none_that_is(sink: Sink) -> None:
    for size in (8, 9, 10):
        await sink.put(checkpoint_name("acme", size), str(size).encode())
    asked_for = []

    def is_ours(name: str, note: str) -> bool:
        asked_for.append((name, note))
        return note in {"8", "9"}

    assert await sink.newest("acme", is_ours=is_ours) == "9"
    assert asked_for == [(checkpoint_name("acme", 10), "10"), (checkpoint_name("acme", 9), "9")]


async def test_a_store_that_is_away_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "file").write_text("in the way")

    for away in (ObjectSink(f"s3://{BUCKET}", endpoint="http://127.0.0.1:9"), DirectorySink(tmp_path / "file")):
        with pytest.raises(UnavailableError) as refused:
            await away.put("acme/1.checkpoint", b"note")
        assert refused.value.reason == "CHECKPOINTS_UNAVAILABLE"


async def publishing_to(served: Serving, *sinks: Sink) -> None:
    """Publish elsewhere from now on; the server's own first turn is over."""
    async with asyncio.timeout(30):
        while not (served.home / "checkpoints" / "system").exists():  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0.02)
    object.__setattr__(served.vault, "sinks", sinks)


async def test_checkpoints_are_published_to_both_and_one_that_is_away_does_not_keep_the_other(
    served: Serving, object_store: str, tmp_path: Path
) -> None:
    await served.create_tenants()
    bucket, folder = ObjectSink(f"s3://{BUCKET}", endpoint=object_store), DirectorySink(tmp_path / "published")
    (tmp_path / "file").write_text("in the way")
    await publishing_to(served, DirectorySink(tmp_path / "file"), bucket, folder)
    await create(served.service("acme-app"), contact())

    with pytest.raises(UnavailableError):
        await checkpoints.publish_checkpoints(served.vault)

    notes = [await newest(sink, "acme", 1) for sink in (bucket, folder)]
    assert notes[0] is not None
    assert notes[0] == notes[1]
    assert open_checkpoint(notes[0], served.vault.signer.verifier()).size >= 1


async def test_a_trusted_time_is_published_beside_a_checkpoint(served: Serving, tmp_path: Path) -> None:
    await served.create_tenants()
    published = tmp_path / "published"
    await publishing_to(served, DirectorySink(published))
    app = served.service("acme-app")
    record = await create(app, contact())
    with timestamp_authority() as authority:
        await checkpoints.publish_checkpoints(served.vault, timestamp=partial(timestamp, url=authority.url))
        [note] = (published / "acme").glob("*.checkpoint")
        token = note.with_name(note.name + ".tsr")
        other = tmp_path / "other"
        other.write_text(note.read_text().replace("acme", "globex"))
        verdicts = authority.verifies(note, token), authority.verifies(other, token)

        authority.is_broken = True
        await app.call(app.records.RevealRecord, asked(record.name))
        with pytest.raises(UnavailableError) as refused:
            await checkpoints.publish_checkpoints(served.vault, timestamp=partial(timestamp, url=authority.url))

    assert verdicts == (True, False)
    assert refused.value.reason == "TIMESTAMP_UNAVAILABLE"
    assert len(list((published / "acme").glob("*.checkpoint"))) == 2


async def test_an_answer_about_something_else_is_no_time(tmp_path: Path) -> None:
    with timestamp_authority() as authority:
        first = await timestamp(b"one", url=authority.url)
    (tmp_path / "note").write_bytes(b"two")
    (tmp_path / "token").write_bytes(first)

    with pytest.raises(UnavailableError) as refused:
        await timestamp(b"one", url=authority.url)

    assert not authority.verifies(tmp_path / "note", tmp_path / "token")
    assert refused.value.reason == "TIMESTAMP_UNAVAILABLE"


def seen(home: Path, count: int, *, entries: list[bytes] | None = None, growth: Sequence[bytes] | None = None) -> Path:
    """A witness looks at a log of so many entries."""
    content = entries or contents(count)

    def proved(_log: str, first: int, second: int) -> Sequence[bytes]:
        return hashes(content, consistency_path(first, second)) if growth is None else growth

    witness = Witness("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return witnessed(home, witness, [SIGNER.verifier()], checkpoint(content), log="acme", growth=proved, now=NOW)


def test_a_witness_signs_a_log_that_grew_and_no_other(tmp_path: Path) -> None:
    """Shorter, rewritten at the same size, rewritten and longer, or not proved: never signed."""
    forked = [*contents(5)[:2], contents(8)[7], *contents(5)[3:]]
    first = seen(tmp_path, 3)
    grown = seen(tmp_path, 5)
    same = seen(tmp_path, 5)

    shorter = partial(seen, tmp_path, 4)
    rewritten = partial(seen, tmp_path, 5, entries=forked)
    longer = partial(seen, tmp_path, 8, entries=[*forked, *contents(8)[5:]])
    unproved = partial(seen, tmp_path, 8, growth=[])
    for attempt in (shorter, rewritten, longer, unproved):
        with pytest.raises(DataLossError) as refused:
            attempt()
        assert refused.value.reason == "PROOF_INVALID"

    verifier = Witness("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32))).verifier()
    assert [cosigned_at(path.read_text(), verifier) for path in (first, grown, same)] == [int(NOW.timestamp())] * 3
    assert sorted(path.name for path in (tmp_path / "acme").glob("*.checkpoint")) == [f"{3:020d}.checkpoint", f"{5:020d}.checkpoint"]


@pytest.fixture
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path) as started:
        yield started


def test_a_witness_of_its_own_cosigns_what_a_proof_is_then_made_in(cli: Commands, tmp_path: Path) -> None:
    cli.put_contact("050-2345612")
    home, key, proof = tmp_path / "witness", cli.home / "verifier.txt", tmp_path / "entry.tlog-proof"
    looks = ("audit", "witness", "acme", "system", "--home", home, "--name", "witness.example", "--key", key)

    [first, _] = cli.answer("auditor", *looks)["cosigned"]
    cli.put_contact("050-2345613")
    [second, _] = cli.answer("auditor", *looks)["cosigned"]
    cli.answer("auditor", "audit", "prove", "acme/0", "-o", proof, "--checkpoint", second)
    checked = run("audit", "check", proof, "--key", key, "--witness", home / "witness.txt", "--json")
    cli.answer("auditor", "audit", "prove", "acme/0", "-o", proof)
    alone = run("audit", "check", proof, "--key", key, "--witness", home / "witness.txt", "--json")
    # Another vault's log, or an older one, put in the place of what was seen: not signed again.
    shutil.copy(second, home / "acme" / "latest")
    (home / "acme" / "latest").write_text((home / "acme" / "latest").read_text().replace("\n", "\n9", 1))
    refused = cli.error("auditor", *looks)

    assert first != second
    assert WitnessVerifier.parse((home / "witness.txt").read_text()).name == "witness.example"
    assert (home / "witness.key").stat().st_mode & 0o777 == 0o600
    assert list(checked.answer()["cosigned_by"]) == ["witness.example"]
    assert alone.error()["reason"] == "PROOF_INVALID"
    assert refused["reason"] == "PROOF_INVALID"
