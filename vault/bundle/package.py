"""Builds the court-order package: a BagIt 1.0 bag (RFC 8493) in a plain tar, with a signed manifest. Bytes out, nothing on disk.

Layout, below `EXP-<export_id>/`:
    bagit.txt, bag-info.txt, manifest-sha512.txt, manifest-sha256.txt, tagmanifest-sha512.txt
    data/00_cover … data/06_custody         what the recipient reads
    meta/export-manifest.json               canonical JSON: the SHA-256 of every file above, and what the package is
    meta/export-manifest.sig                base64 of an Ed25519 signature over `SIGNED_PREFIX` and the manifest's bytes

Rules:
- Same content, same key, same bytes (N15): sorted names, one date, no owner, Ed25519 is deterministic.
- The signed manifest names every file outside `meta/`, the tag manifest included; the tag manifest leaves `meta/` out. So each byte of
  the bag hangs from the signature in one direction, and further signatures over the same manifest can be laid beside the first without
  changing a byte.
- The recipient's key is named inside the signed manifest: a package sealed anew to someone else shows it.

Not here: sealing (`seal.py`); checking (`verify.py`, which shares no code with this file).
"""

import base64
import hashlib
import io
import tarfile
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.bundle.content import PackageContent
from vault.bundle.cover import cover_en, cover_he
from vault.bundle.records import canonical_json, utf8, write_csv, write_jsonl, write_schema, write_withheld
from vault.bundle.seal import fingerprint

FORMAT = "pii-vault-export/1"
# Separates this use of the key from every other thing the same key may sign.
SIGNED_PREFIX = b"pii-vault/export-manifest/1\n"
Signer = Ed25519PrivateKey


def build(content: PackageContent, signer: Signer) -> bytes:
    """The package as an unencrypted tar: personal data in clear, to be sealed before it goes anywhere (I2).

    Raises:
        InvalidArgumentError: RECIPIENT_KEY_INVALID, PACKAGE_CONTENT_INVALID.
    """
    files = _payload(content)
    files |= _bag(content, files)
    manifest = canonical_json(_manifest(content, files, key_id(signer)))
    files["meta/export-manifest.json"] = manifest
    files["meta/export-manifest.sig"] = base64.b64encode(signer.sign(SIGNED_PREFIX + manifest)) + b"\n"
    return _tar(f"EXP-{content.export_id}", files, mtime=int(content.created.timestamp()))


def key_id(signer: Signer) -> str:
    """First 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(signer.public_key().public_bytes_raw()).hexdigest()[:16]


def _payload(content: PackageContent) -> dict[str, bytes]:
    files = {
        "data/00_cover/cover_en.txt": utf8(cover_en(content)),
        "data/00_cover/cover_he.txt": utf8(cover_he(content)),
        "data/01_order/order_ref.json": canonical_json(_order(content)),
        "data/04_withheld/withheld.csv": write_withheld(content.withheld),
        "data/05_statement/record_statement.txt": utf8(content.statement),
        "data/06_custody/custody.json": canonical_json(_custody(content)),
    }
    for table in content.tables:
        files[f"data/02_records/{table.category}.csv"] = write_csv(table)
        files[f"data/02_records/{table.category}.jsonl"] = write_jsonl(table)
        files[f"data/03_schema/{table.category}.json"] = write_schema(table)
    return files


def _bag(content: PackageContent, payload: dict[str, bytes]) -> dict[str, bytes]:
    """The tag files. Payload-Oxum is octets, a point, the number of payload files (RFC 8493 §2.2.2)."""
    info = {
        "Bagging-Date": content.created.date().isoformat(),
        "External-Identifier": f"EXP-{content.export_id}",
        "Order-Reference": content.order.order_id,
        "Payload-Oxum": f"{sum(map(len, payload.values()))}.{len(payload)}",
        "Scope-Digest": content.scope.digest,
        "Source-Organization": content.operator,
    }
    tags = {
        "bag-info.txt": utf8("".join(f"{label}: {value}\n" for label, value in info.items())),
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "manifest-sha256.txt": _checksums(payload, "sha256"),
        "manifest-sha512.txt": _checksums(payload, "sha512"),
    }
    return tags | {"tagmanifest-sha512.txt": _checksums(tags, "sha512")}


def _manifest(content: PackageContent, files: dict[str, bytes], signer_key_id: str) -> dict[str, object]:
    recipient, head = content.recipient, content.audit_head
    return {
        "format": FORMAT,
        "export_id": content.export_id,
        "snapshot_time": _rfc3339(content.created),
        "operator": content.operator,
        "policy_version": content.policy_version,
        "key_id": signer_key_id,
        "order": {"order_id": content.order.order_id, "document_sha256": content.order.document_sha256},
        "scope_digest": content.scope.digest,
        "recipient": {
            "body": recipient.body,
            "person": recipient.person,
            "verified_by": recipient.verified_by,
            "fingerprint": fingerprint(recipient.age_recipient),
        },
        "counts": {table.category: len(table.rows) for table in content.tables},
        "withheld": [{"category": item.category, "count": item.count, "reason": item.reason} for item in content.withheld],
        "audit_head": {"log": head.log, "size": head.size, "root": head.root},
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
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


def _checksums(files: dict[str, bytes], algorithm: str) -> bytes:
    """Lines as `sha512sum` writes and reads them."""
    return "".join(f"{hashlib.new(algorithm, files[path]).hexdigest()}  {path}\n" for path in sorted(files)).encode()


def _tar(root: str, files: dict[str, bytes], *, mtime: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size, member.mtime, member.mode = len(files[path]), mtime, 0o600
            archive.addfile(member, io.BytesIO(files[path]))
    return out.getvalue()


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
