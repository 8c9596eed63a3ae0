"""The content of the stored package of format 2, the keys it was signed and sealed with, and ways to tamper with it. Invented people, test keys."""

import base64
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.bundle.content import (
    AuditHead,
    Authorities,
    Column,
    CustodyEvent,
    Keeping,
    OrderReference,
    PackageContent,
    Recipient,
    RecordTable,
    ScopeSummary,
    Withheld,
)
from vault.bundle.package import csv_path, digest_of, jsonl_path, prepare, sign, tar_of
from vault.bundle.records import csv_head, csv_rows, jsonl_rows

EXPORT_ID = "mfrggzdfmztwq2lknnwg23tpoa"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IDENTITY = "AGE-SECRET-KEY-1THHLGGAP37Q4WG4Q7LWLNR0W87H6QG9H3ZKWLY7ZZNZH9W65S6ZQALZT7M"
RECIPIENT = "age1dgpj9auel3v3aumx3gtkgzvsp2g6t4ryp8av37cge9yefxq9yvssfzfwe2"
DIGEST = "5f" * 32
NO_AUTHORITIES = Authorities()
Rows = Sequence[Mapping[str, str]]
CREATED = datetime(2026, 6, 4, 10, 30, tzinfo=UTC)
MANIFEST, SIGNATURE = "meta/export-manifest.json", "meta/export-manifest.sig"
TAGS = ("bag-info.txt", "bagit.txt", "manifest-sha256.txt", "manifest-sha512.txt")

CALLS = RecordTable(
    category="call-detail",
    columns=(Column("record", "record id", "מזהה רשומה"), Column("caller", "calling number", "מספר מתקשר"), Column("note", "note", "הערה")),
    count=3,
    selected=5,
    title_en="Call detail",
    title_he="פירוט שיחה",
    keeping=Keeping(datetime(2026, 1, 3, 7, 0, tzinfo=UTC), datetime(2026, 1, 30, 21, 5, 9, tzinfo=UTC), within_a_day=2, timed=3),
)
CALL_ROWS: Rows = (
    {"record": "r1", "caller": "+972500000001", "note": 'שלום "עולם", שורה\nשנייה'},
    {"record": "r2", "caller": "+972500000002"},
    {"record": "r3", "caller": "0500000003", "note": "=1+1"},
)
NUMBERS = RecordTable(
    category="number-mapping",
    columns=(Column("number", "number", "מספר"),),
    count=0,
    selected=0,
    title_en="Number mapping",
    title_he="מיפוי מספר",
)


def sample(
    *,
    tables: tuple[RecordTable, ...] = (CALLS, NUMBERS),
    withheld: tuple[Withheld, ...] = (Withheld("call-detail", 2, "KEY_DESTROYED"), Withheld("message-body", 1, "CLASS_NOT_COVERED")),
    recipient: str = RECIPIENT,
    case_no: str = 'צ"א 12345-06-26',
    operator: str = "Example Telecom Ltd",
    authorities: Authorities = NO_AUTHORITIES,
) -> PackageContent:
    """A package's content; what is not given is as stored."""
    return PackageContent(
        export_id=EXPORT_ID,
        order=OrderReference(
            order_id="nbswy3dpfqqho33snrscc4dpoi",
            instrument_type="COMMS_DATA",
            court_name="בית משפט השלום תל אביב",
            case_no=case_no,
            judge_name="כב' השופטת לדוגמה",
            requesting_body="יחידת חקירות 433",
            document_sha256=DIGEST,
            issued_at=datetime(2026, 6, 1, 8, 0, tzinfo=UTC),
            valid_until=datetime(2026, 7, 1, 21, 0, tzinfo=UTC),
        ),
        scope=ScopeSummary(
            digest=DIGEST,
            categories=("call-detail", "number-mapping"),
            time_from=datetime(2026, 1, 1, tzinfo=UTC),
            time_to=datetime(2026, 2, 1, tzinfo=UTC),
            target_count=2,
            tenants=("acme",),
        ),
        tables=tables,
        withheld=withheld,
        custody=(
            CustodyEvent(datetime(2026, 6, 2, 9, 0, tzinfo=UTC), "legal-1", "registered", DIGEST),
            CustodyEvent(datetime(2026, 6, 3, 9, 0, tzinfo=UTC), "legal-2", "approved", DIGEST),
        ),
        recipient=Recipient(body="יחידת חקירות 433", person="", age_recipient=recipient, verified_by="fingerprint read back by telephone"),
        audit_head=AuditHead("tenants/acme", 1234, "ab" * 32),
        created=CREATED,
        operator=operator,
        policy_version="2026-05",
        authorities=authorities,
    )


def build(
    content: PackageContent,
    signer: Ed25519PrivateKey = SIGNER,
    *,
    rows: Rows = CALL_ROWS,
    beside: Callable[[bytes], Mapping[str, bytes]] | None = None,
) -> bytes:
    """The package of a content whose calls are these, as a tar.

    Args:
        content: what it says.
        signer: the operator.
        rows: of the table of calls; its counts are as the content says.
        beside: what else lies over the manifest, made of it.
    """
    files: dict[str, bytes] = {}
    for table in content.tables:
        of_table = rows if table.category == CALLS.category else ()
        files[csv_path(table.category)] = csv_head(table) + csv_rows(table, of_table)
        files[jsonl_path(table.category)] = jsonl_rows(table, of_table)
    prepared = prepare(content, {path: digest_of([data]) for path, data in files.items()}, signer)
    signatures = {SIGNATURE: sign(prepared.manifest, signer), **(beside(prepared.manifest) if beside else {})}
    return b"".join(tar_of(prepared, signatures, lambda path: [files[path]]))


def of_calls(rows: Rows, **changes: Any) -> RecordTable:
    """The table of calls with other rows, none of them withheld."""
    return replace(CALLS, count=len(rows), selected=len(rows), **changes)


def unpack(tar: bytes) -> dict[str, bytes]:
    """Content by path below the root."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        opened = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
    return {path: file.read() for path, file in opened.items() if file is not None}


def pack(files: Mapping[str, bytes], *, root: str = f"EXP-{EXPORT_ID}", mtime: int = int(CREATED.timestamp())) -> bytes:
    """A tar as the format wants it, of whatever files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size, member.mtime, member.mode = len(files[path]), mtime, 0o600
            archive.addfile(member, io.BytesIO(files[path]))
    return out.getvalue()


def bag_anew(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same files with checksum files, Payload-Oxum and signed manifest that fit them; the signature is left as it was."""
    payload = {path: data for path, data in files.items() if path.startswith("data/")}
    oxum = f"Payload-Oxum: {sum(map(len, payload.values()))}.{len(payload)}"
    anew = dict(files)
    anew["bag-info.txt"] = re.sub(r"Payload-Oxum: .*", oxum, files["bag-info.txt"].decode()).encode()
    anew["manifest-sha256.txt"] = checksums(payload, "sha256")
    anew["manifest-sha512.txt"] = checksums(payload, "sha512")
    anew["tagmanifest-sha512.txt"] = checksums({path: anew[path] for path in TAGS}, "sha512")
    return list_anew(anew)


def list_anew(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same files with a manifest that lists their digests as they are; the signature is left as it was."""
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items() if not path.startswith("meta/")}
    return edit_manifest(files, {"files": digests})


def edit_manifest(files: Mapping[str, bytes], changes: Mapping[str, object]) -> dict[str, bytes]:
    """The same files with other members in the manifest; the signature is left as it was."""
    manifest = json.loads(files[MANIFEST]) | dict(changes)
    raw = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return {**files, MANIFEST: raw}


def sign_anew(files: Mapping[str, bytes], signer: Ed25519PrivateKey = SIGNER) -> dict[str, bytes]:
    """The same files with a signature over their manifest."""
    signature = signer.sign(b"pii-vault/export-manifest/1\n" + files[MANIFEST])
    return {**files, SIGNATURE: base64.b64encode(signature) + b"\n"}


def checksums(files: Mapping[str, bytes], algorithm: str) -> bytes:
    """Lines as `sha512sum` writes them."""
    return "".join(f"{hashlib.new(algorithm, files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()
