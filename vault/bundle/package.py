"""Builds the court-order package: a BagIt 1.0 bag (RFC 8493) in a plain tar, with a signed manifest. Streams; nothing on disk.

Layout, below `EXP-<export_id>/`:
    bagit.txt, bag-info.txt, manifest-sha512.txt, manifest-sha256.txt, tagmanifest-sha512.txt
    data/00_cover … data/06_custody         what the recipient reads
    meta/export-manifest.json               canonical JSON: the SHA-256 of every file above, and what the package is
    meta/export-manifest.sig                base64 of an Ed25519 signature over `SIGNED_PREFIX` and the manifest's bytes
    meta/export-manifest.p7s                CMS SignedData, detached, over the manifest's bytes; where the organisation has a certificate
    meta/export-manifest.tsr                RFC 3161 answer over the same bytes; where an authority is asked

Two passes, because a tar says the size of a file before the file and the manifest stands in front of nothing that it names:
    (1) `digest_of` each file of records, `prepare` everything else
    (2) `tar_of` all of it, with the files of records read once more

Rules:
- Same content, same key, same bytes outside of `meta/` (N15): sorted names, one date, no owner.
- The signed manifest names every file outside `meta/`, the tag manifest included; the tag manifest leaves `meta/` out. So each byte of
  the bag hangs from the signature in one direction, and further signatures over the same manifest can be laid beside the first without
  changing a byte. The manifest says which of them there are: none can be taken off unseen.
- The recipient's key is named inside the signed manifest: a package sealed anew to someone else shows it.

Not here: sealing (`seal.py`); checking (`verify.py`, which shares no code with this file).
"""

import base64
import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.bundle.content import PackageContent
from vault.bundle.countersign import fingerprint_of
from vault.bundle.order_page import cover, pages, statement
from vault.bundle.records import canonical_json, utf8, write_schema, write_withheld
from vault.bundle.seal import fingerprint
from vault.catalogue.words import Language
from vault.errors import DataLossError

FORMAT = "pii-vault-export/2"
MANIFEST = "meta/export-manifest.json"
SIGNATURE, CMS, TIMESTAMP = "meta/export-manifest.sig", "meta/export-manifest.p7s", "meta/export-manifest.tsr"
# Separates this use of the key from every other thing the same key may sign.
SIGNED_PREFIX = b"pii-vault/export-manifest/1\n"
_CSV, _JSONL = "data/02_records/{}.csv", "data/02_records/{}.jsonl"
_BLOCK_BYTES = 512
_RECORD_BYTES = 20 * _BLOCK_BYTES
_PIECE_BYTES = 1 << 16
Signer = Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Digest:
    """Size in bytes and digests, lower-case hex, of one file."""

    size: int
    sha256: str
    sha512: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A package but for the records themselves and what is laid over the manifest.

    Args:
        root: the one directory.
        mtime: date of every file, in seconds since 1970.
        files: content by path.
        records: size and digests of the files of records, by path.
        manifest: what is signed.
    """

    root: str
    mtime: int
    files: Mapping[str, bytes] = field(repr=False)
    records: Mapping[str, Digest]
    manifest: bytes = field(repr=False)


def csv_path(category: str) -> str:
    """Where the records of a category lie, for a spreadsheet."""
    return _CSV.format(category)


def jsonl_path(category: str) -> str:
    """Where the records of a category lie, exactly."""
    return _JSONL.format(category)


def digest_of(pieces: Iterable[bytes]) -> Digest:
    """Size and digests of a file that comes in pieces."""
    size, sha256, sha512 = 0, hashlib.sha256(), hashlib.sha512()
    for piece in pieces:
        size += len(piece)
        sha256.update(piece)
        sha512.update(piece)
    return Digest(size, sha256.hexdigest(), sha512.hexdigest())


def prepare(content: PackageContent, records: Mapping[str, Digest], signer: Signer) -> Prepared:
    """Everything that is written about the records, once their files are known.

    Args:
        content: what the package says.
        records: digests by `csv_path` and `jsonl_path` of every table.
        signer: whose key the manifest names.
    Raises:
        InvalidArgumentError: RECIPIENT_KEY_INVALID, PACKAGE_CONTENT_INVALID.
        FailedPreconditionError: PAGE_NOT_SET.
    """
    files = _payload(content)
    payload = {path: digest_of([data]) for path, data in files.items()} | dict(records)
    tags = _tags(content, payload)
    files |= tags
    named = payload | {path: digest_of([data]) for path, data in tags.items()}
    manifest = canonical_json(_manifest(content, named, key_id(signer)))
    return Prepared(f"EXP-{content.export_id}", int(content.created.timestamp()), files, dict(records), manifest)


def sign(manifest: bytes, signer: Signer) -> bytes:
    """The file `export-manifest.sig`."""
    return base64.b64encode(signer.sign(SIGNED_PREFIX + manifest)) + b"\n"


def tar_of(prepared: Prepared, signatures: Mapping[str, bytes], read: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
    """The package as an unencrypted tar, in pieces: personal data in clear, to be sealed before it goes anywhere (I2).

    Args:
        prepared: the package.
        signatures: what lies in `meta/` beside the manifest, by path.
        read: the pieces of a file of records, by path.
    Raises:
        DataLossError: PACKAGE_INVALID, a file of records is not what was digested.
    """
    small = {**prepared.files, MANIFEST: prepared.manifest, **signatures}
    written = 0
    for path in sorted(small.keys() | prepared.records.keys()):
        size = len(small[path]) if path in small else prepared.records[path].size
        pieces = _cut(small[path]) if path in small else _as_digested(read(path), prepared.records[path])
        yield _header(f"{prepared.root}/{path}", size, prepared.mtime)
        yield from pieces
        yield bytes(-size % _BLOCK_BYTES)
        written += _BLOCK_BYTES + size + -size % _BLOCK_BYTES
    yield bytes(2 * _BLOCK_BYTES + -(written + 2 * _BLOCK_BYTES) % _RECORD_BYTES)


def key_id(signer: Signer) -> str:
    """First 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(signer.public_key().public_bytes_raw()).hexdigest()[:16]


def _as_digested(pieces: Iterable[bytes], expected: Digest) -> Iterator[bytes]:
    """The same pieces; the manifest in front of them is signed already, so they must be what it names."""
    size, sha256 = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        sha256.update(piece)
        yield piece
    if (size, sha256.hexdigest()) != (expected.size, expected.sha256):
        raise DataLossError("PACKAGE_INVALID", "the records changed while the package was built")


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))


def _payload(content: PackageContent) -> dict[str, bytes]:
    files = {
        "data/01_order/order_ref.json": canonical_json(_order(content)),
        "data/04_withheld/withheld.csv": write_withheld(content.withheld),
        "data/06_custody/custody.json": canonical_json(_custody(content)),
    }
    for language in Language:
        files[f"data/00_cover/cover_{language}.pdf"] = pages(cover(content, language), f"cover_{language}.txt")
        files[f"data/05_statement/record_statement_{language}.pdf"] = pages(
            statement(content, language), f"record_statement_{language}.txt"
        )
    for table in content.tables:
        files[f"data/03_schema/{table.category}.json"] = write_schema(table)
    if content.authorities.organisation:
        files["data/06_custody/organisation.pem"] = content.authorities.organisation
    if content.authorities.timestamp:
        files["data/06_custody/timestamp_authority.pem"] = content.authorities.timestamp
    return files


def _tags(content: PackageContent, payload: Mapping[str, Digest]) -> dict[str, bytes]:
    """The tag files. Payload-Oxum is octets, a point, the number of payload files (RFC 8493 §2.2.2)."""
    info = {
        "Bagging-Date": content.created.date().isoformat(),
        "External-Identifier": f"EXP-{content.export_id}",
        "Order-Reference": content.order.order_id,
        "Payload-Oxum": f"{sum(digest.size for digest in payload.values())}.{len(payload)}",
        "Scope-Digest": content.scope.digest,
        "Source-Organization": content.operator,
    }
    tags = {
        "bag-info.txt": utf8("".join(f"{label}: {value}\n" for label, value in info.items())),
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "manifest-sha256.txt": _listing({path: digest.sha256 for path, digest in payload.items()}),
        "manifest-sha512.txt": _listing({path: digest.sha512 for path, digest in payload.items()}),
    }
    return tags | {"tagmanifest-sha512.txt": _listing({path: hashlib.sha512(data).hexdigest() for path, data in tags.items()})}


def _manifest(content: PackageContent, files: Mapping[str, Digest], signer_key_id: str) -> dict[str, object]:
    recipient, head, authorities = content.recipient, content.audit_head, content.authorities
    return {
        "format": FORMAT,
        "export_id": content.export_id,
        "snapshot_time": _rfc3339(content.created),
        "operator": content.operator,
        "policy_version": content.policy_version,
        "key_id": signer_key_id,
        "certificate": fingerprint_of(authorities.organisation),
        "timestamp_authority": fingerprint_of(authorities.timestamp),
        "order": {"order_id": content.order.order_id, "document_sha256": content.order.document_sha256},
        "scope_digest": content.scope.digest,
        "recipient": {
            "body": recipient.body,
            "person": recipient.person,
            "verified_by": recipient.verified_by,
            "fingerprint": fingerprint(recipient.age_recipient),
        },
        "selected": {table.category: table.selected for table in content.tables},
        "counts": {table.category: table.count for table in content.tables},
        "withheld": [{"category": item.category, "count": item.count, "reason": item.reason} for item in content.withheld],
        "audit_head": {"log": head.log, "size": head.size, "root": head.root},
        "files": {path: digest.sha256 for path, digest in files.items()},
    }


def _order(content: PackageContent) -> dict[str, object]:
    order, scope = content.order, content.scope
    return {
        "order_id": order.order_id,
        "instrument_type": order.instrument_type,
        "court_name": order.court_name,
        "case_no": order.case_no,
        "judge_name": order.judge_name,
        "requesting_body": order.requesting_body,
        "document_sha256": order.document_sha256,
        "stamp_no": order.stamp_no,
        "issued_at": _rfc3339(order.issued_at),
        "valid_until": _rfc3339(order.valid_until),
        "scope": {
            "digest": scope.digest,
            "categories": list(scope.categories),
            "time_from": _rfc3339(scope.time_from),
            "time_to": _rfc3339(scope.time_to),
            "target_count": scope.target_count,
            "tenants": list(scope.tenants),
        },
    }


def _custody(content: PackageContent) -> list[dict[str, str]]:
    return [{"time": _rfc3339(e.time), "actor": e.actor, "action": e.action, "digest": e.digest} for e in content.custody]


def _listing(digests: Mapping[str, str]) -> bytes:
    """Lines as `sha512sum` writes and reads them."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def _header(name: str, size: int, mtime: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, mtime, 0o600
    return member.tobuf(format=tarfile.USTAR_FORMAT)


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
