"""The hunt for personal data in everything the vault leaves behind (I2, P1.5-confidential, L41).

Distinctive values are pushed through every RPC, those that succeed and those that are refused, of a real server process whose spans go to a real
collector. Then every byte that is left is searched: database files with their write-ahead logs, logs, spans, published checkpoints, errors – for
the values, for their usual encodings, and for unkeyed digests of them.
"""

import base64
import hashlib
import itertools
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import grpc
import pytest
import yaml
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sqlalchemy import text

from tests import builders, orders
from tests.collector import Collector, collecting, free_port
from tests.processes import VaultProcess, copy_home, serving, wait_until
from tests.rpc.test_access_matrix import filled
from tests.serving import Caller, Clock, Serving, why
from vault.client import CallError
from vault.client.errors import call_error
from vault.server import SERVICES
from vault.store.database import Database
from vault.v1 import resources_pb2
from vault.v1.resources_pb2 import RevealedRecord
from vault.v1.vault_service_pb2 import RevealRecordRequest

PHONE, OTHER = "+972529982731", "+972549917283"
EMAIL = "zqx.canary.7731@example.org"
NAME, ADDRESS = "זרובבלקנריתא", "סמטת הקנרית הצהובה 7731"
TOKEN = "tok_canary_77310099"
BODY = "הקוד של זרובבלקנריתא הוא canary-body-7731"
CARD = "4580116273309981"
# What each value may never be found as. National digits cover every spelling of a number.
SECRETS = {
    "phone": "529982731",
    "other phone": "549917283",
    "email": EMAIL,
    "name": NAME,
    "address": ADDRESS,
    "token": TOKEN,
    "body": BODY,
    "card": CARD,
}
# The words of a justification are sealed; these must not be found either.
SENTENCE = "canary-sentence-7731 explains why this is needed"


def forms(value: str) -> Iterator[tuple[str, bytes]]:
    """Ways in which a value could be left behind."""
    raw = value.encode()
    yield "UTF-8", raw
    yield "UTF-16", value.encode("utf-16-le")
    yield "base64", base64.b64encode(raw).rstrip(b"=")[:-1]
    yield "hex", raw.hex().encode()
    yield "JSON escapes", value.encode("unicode_escape")
    yield "Python bytes", repr(raw)[2:-1].encode()
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        for spelling in {value, f"+972{value}", f"972{value}", f"0{value}", value.casefold()}:
            digest = hashlib.new(algorithm, spelling.encode(), usedforsecurity=False)
            yield algorithm, digest.digest()
            yield f"{algorithm} in hex", digest.hexdigest().encode()


def finds(content: bytes) -> list[str]:
    """What was found."""
    secrets = {**SECRETS, "justification": SENTENCE}
    return [f"{name} as {form}" for name, value in secrets.items() for form, needle in forms(value) if needle in content]


def test_the_hunt_finds_what_is_there() -> None:
    """The hunt itself must be able to fail."""
    for name, value in SECRETS.items():
        for form, needle in forms(value):
            assert f"{name} as {form}" in finds(b"before" + needle + b"after")


@dataclass
class Errors:
    """Everything that refusals said."""

    said: list[str] = field(default_factory=list)

    def note(self, error: CallError) -> None:
        """Keep what an error says, in every part."""
        self.said.append(repr((error.reason, error.message, error.fields, error.metadata, str(error.receipt))))


@pytest.mark.timeout(300)
async def test_no_value_is_found_in_anything_that_is_left_behind(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    with collecting(tmp_path) as collector:
        home = copy_home(
            home_template,
            tmp_path / "home",
            database_url=migrated_url,
            telemetry={
                "otlp_endpoint": collector.endpoint,
                "trace_ratio": 1,
                "prometheus": f"127.0.0.1:{free_port()}",
                "access_log": 1,
                "log_level": "debug",
            },
        )
        with serving(home) as process:
            served, errors = Serving(home, f"localhost:{process.port}", Clock()), Errors()
            revealed = await main_job(served)
            await every_rpc(served, errors)
            await served.close()
            metrics = scraped(home)
            files = await database_files(migrated_url)
            left = {**read(files), **read(files_in(home))}
            process.signal(signal.SIGTERM)
            process.ended()
            wait_until(lambda: "RevealRecord" in collector.received(), "spans at the collector")
        left |= {**read(files), **remains(process, collector, errors), "metrics": metrics}

    found = {name: hits for name, content in left.items() if (hits := finds(content))}

    assert {PHONE, EMAIL, NAME, ADDRESS} <= revealed
    assert found == {}
    assert len(errors.said) > 100
    assert metrics.count(b"rpc_server_call_duration_seconds_count") > 100
    assert process.log_text().count('"event": "call"') > 1000
    assert all(name in left["spans"] for name in (b"reveal batch", b"INSERT audit_entries", b"COMMIT", b"root key unwrap"))
    assert any(b"SQLite format 3" in content or path.endswith("PG_VERSION") for path, content in left.items())


async def main_job(served: Serving) -> set[str]:
    """Store, find, reveal, import, order and erase; the values that came out."""
    await served.create_tenants()
    app, because = served.service("acme-app"), why(reason=SENTENCE)
    contact = await builders.create(app, builders.contact(PHONE, email=EMAIL, list_id="spring"))
    subject = builders.subject_of(contact.name)
    profile = await builders.create(app, builders.profile(subject, first_name=NAME, address=ADDRESS, extra={"token": TOKEN}))
    engine = served.service("engine")
    await builders.create(engine, builders.outgoing(subject, "system-file", BODY.encode()))
    call = await builders.create(served.service("billing"), builders.call_detail(calling=PHONE, called=OTHER))
    num2 = served.service("num2")
    await builders.create(num2, builders.mapping(OTHER, PHONE, begin="2026-01-01T00:00:00Z"))
    await builders.find(app, builders.sought("phone", PHONE, because=because))
    seen: set[str] = set()
    for caller, record in ((app, contact), (engine, profile), (served.service("billing"), call)):
        justification = why("billing" if record is call else "service-delivery", reason=SENTENCE)
        if caller is engine:
            justification.reference = (await served.job()).reference
        request = RevealRecordRequest(
            name=record.name,
            justification=justification,
            view=resources_pb2.VIEW_FULL,
            field_mask=FieldMask(paths=list(record.field_names)),
        )
        seen |= values_of(await builders.reveal(caller, request))
    people = await orders.team(served)
    order = await orders.approved(people, orders.order_for(served, people, ("phone", PHONE)))
    await orders.download(people.courier, (await orders.export(people, order)).name)
    await builders.erase(served, subject)
    return seen


def values_of(record: RevealedRecord) -> set[str]:
    """The released texts."""
    return {value.text for value in record.fields.values()} | set(record.extra.values())


async def every_rpc(served: Serving, errors: Errors) -> None:
    """Call every RPC with canaries in every text, as its own roles and as strangers."""
    callers = [
        *map(
            served.service,
            ("acme-app", "acme-admin", "engine", "reporting", "billing", "num2", "marketing", "operator", "auditor", "nobody"),
        ),
        *(
            served.person("e-canary", role)
            for role in ("privacy-officer", "legal-officer", "legal-approver", "security-investigator", "support")
        ),
    ]
    canaries = itertools.cycle([*SECRETS.values(), PHONE, f"0{SECRETS['phone'][:2]}-{SECRETS['phone'][2:]}"])
    for name, message_class, streams in methods():
        for caller in callers:
            for request in (message_class(), poisoned(message_class(), canaries), poisoned(filled(message_class()), canaries, keep=True)):
                try:
                    await send(caller, name, request, streams=streams)
                except grpc.aio.AioRpcError as error:
                    errors.note(call_error(error))


def methods() -> Iterator[tuple[str, type[Any], tuple[bool, bool]]]:
    """Path, request type, and whether request and response are streams, of every RPC."""
    for name in SERVICES:
        for method in descriptor_pool.Default().FindServiceByName(name).methods:
            request = message_factory.GetMessageClass(method.input_type)
            yield f"/{name}/{method.name}", request, (method.client_streaming, method.server_streaming)


def poisoned(message: Any, canaries: Iterator[str], *, keep: bool = False) -> Any:
    """The message with a canary in every text and byte field, however deep; `keep` leaves those that are filled and names of resources."""
    for spec in message.DESCRIPTOR.fields:
        if spec.message_type is not None and spec.message_type.GetOptions().map_entry:
            target = getattr(message, spec.name)
            if spec.message_type.fields_by_name["value"].message_type is None:
                target[next(canaries)] = next(canaries)
            else:
                poisoned(target[next(canaries)], canaries)
        elif spec.message_type is not None:
            if spec.message_type.file.package == "vault.v1":
                poisoned(getattr(message, spec.name).add() if spec.is_repeated else getattr(message, spec.name), canaries, keep=keep)
        elif spec.type in {spec.TYPE_STRING, spec.TYPE_BYTES} and not (keep and getattr(message, spec.name)):
            value = next(canaries) if spec.type == spec.TYPE_STRING else next(canaries).encode()
            if spec.is_repeated:
                getattr(message, spec.name).append(value)
            else:
                setattr(message, spec.name, value)
    return message


async def send(caller: Caller, path: str, request: Message, *, streams: tuple[bool, bool]) -> None:
    """One call, whatever comes of it."""
    data, channel = request.SerializeToString(), cast(Any, caller.channel)
    options: dict[str, Any] = {"metadata": (*caller.metadata, ("x-canary", TOKEN)), "timeout": 20}
    match streams:
        case (False, False):
            await channel.unary_unary(path)(data, **options)
        case (True, False):
            await channel.stream_unary(path)(iter([data]), **options)
        case (False, True):
            async for _ in channel.unary_stream(path)(data, **options):
                pass
        case _:
            async for _ in channel.stream_stream(path)(iter([data]), **options):
                pass


async def database_files(url: str) -> list[Path]:
    """Every file of the database, write-ahead log included."""
    database = Database(url)
    try:
        if database.is_sqlite:
            path = Path(str(database.engine.url.database))
            return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]
        async with database.read() as connection:
            folder = (await connection.execute(text("SHOW data_directory"))).scalar_one()
        return files_in(Path(folder))
    finally:
        await database.close()


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def read(files: Iterable[Path]) -> dict[str, bytes]:
    """Content by path; a file that went meanwhile is nothing."""
    content = {}
    for path in files:
        try:
            content[str(path)] = path.read_bytes()
        except FileNotFoundError:
            continue
    return content


def scraped(home: Path) -> bytes:
    """The metrics, as whoever scrapes them gets them."""
    address = yaml.safe_load((home / "vault.yaml").read_text())["telemetry"]["prometheus"]
    with urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return bytes(answer.read())


def remains(process: VaultProcess, collector: Collector, errors: Errors) -> dict[str, bytes]:
    """What the process said: its log, its spans, its errors."""
    return {"log": process.log_text().encode(), "spans": collector.received().encode(), "errors": "\n".join(errors.said).encode()}
