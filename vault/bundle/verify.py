"""The offline verifier of court-order packages: sealed file, recipient's identity and operator's public key in, verdict out. No network.

Rules:
- Shares no code with the writer (I8): its own tar reader, its own CSV reader, its own idea of which files a package has.
- Nothing inside the package is believed before the signature of the manifest is established; nothing unsigned is repeated in the verdict.
- What the manifest says lies beside its signature, CMS and time stamp, must be there and hold; what it does not say must not be there.
- Then every file must be named by the manifest and every file named must be there, byte for byte; then the files must agree among
  themselves.
- What is wrong with the package is a finding; what is wrong with the caller's keys is raised.
- Nothing is written to disk unless `extract_to` is given and the verdict is ok.

What it cannot say: whether the records are true or complete (custodian's statement), whether the order is genuine (the court), or whether
the trusted key is the operator's. **The caller obtains that key by a way other than the package.**
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyrage
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pyrage import x25519

from vault.bundle.archive import Archive, read_archive, write_out
from vault.bundle.countersigned import check_cms, check_timestamp, first_fingerprint
from vault.bundle.logged import check_log
from vault.bundle.recount import check_agreement, read_order
from vault.bundle.verdict import Code, Finding, FindingError, Manifest, Verdict
from vault.errors import InvalidArgumentError

MANIFEST = "meta/export-manifest.json"
SIGNATURE, CMS, TIMESTAMP = "meta/export-manifest.sig", "meta/export-manifest.p7s", "meta/export-manifest.tsr"
ORGANISATION, AUTHORITY = "data/06_custody/organisation.pem", "data/06_custody/timestamp_authority.pem"
_SIGNED_PREFIX = b"pii-vault/export-manifest/1\n"
_TAGS = ("bag-info.txt", "bagit.txt", "manifest-sha256.txt", "manifest-sha512.txt", "tagmanifest-sha512.txt")
_FIXED = (*_TAGS, "data/01_order/order_ref.json", "data/04_withheld/withheld.csv", "data/06_custody/custody.json")
# By format: files that every package has, members of its manifest beside those of the first.
_FILES = {
    "pii-vault-export/1": {
        *_FIXED,
        *("data/00_cover/cover_en.txt", "data/00_cover/cover_he.txt", "data/05_statement/record_statement.txt"),
    },
    "pii-vault-export/2": {
        *_FIXED,
        *("data/00_cover/cover_en.pdf", "data/00_cover/cover_he.pdf"),
        *("data/05_statement/record_statement_en.pdf", "data/05_statement/record_statement_he.pdf"),
    },
}
_MEMBERS = {"pii-vault-export/1": "", "pii-vault-export/2": " selected certificate timestamp_authority"}
_FILES_PER_CATEGORY = ("data/02_records/{}.csv", "data/02_records/{}.jsonl", "data/03_schema/{}.json")
_RAW_KEY_BYTES = 32
# By how much the clock of a time authority may be behind ours.
_CLOCKS_APART = timedelta(minutes=5)
_CLAIMED_KEY = re.compile(rb'"key_id":"([0-9a-f]{16})"')
_LINE, _WORD, _SHA256 = re.compile(r".*"), re.compile(r"[A-Za-z0-9_-]+"), re.compile(r"[0-9a-f]{64}")
_SHA256_OR_NONE = re.compile(r"(?:[0-9a-f]{64})?")
_EXPORT_ID, _UTC = re.compile(r"[a-z2-7]{26}"), re.compile(r"[0-9-]{10}T[0-9:.]+Z")


def verify(
    sealed: bytes,
    *,
    identity: str,
    trust: bytes,
    timestamp_root: bytes = b"",
    audit_log: Iterable[str] | None = None,
    extract_to: Path | None = None,
) -> Verdict:
    """Verify a sealed package.

    Args:
        sealed: the `.age` file.
        identity: an age X25519 secret key, or the text of an identity file that holds one.
        trust: the operator's Ed25519 public key, PEM or 32 raw bytes.
        timestamp_root: the time authority's root, PEM, if the one in the package is not to be taken on the operator's word.
        audit_log: lines of a dump of the log that the manifest names, to see whether its head and the records it names are the package's.
        extract_to: a directory to create with the package's files, if and only if the verdict is ok.
    Raises:
        InvalidArgumentError: IDENTITY_INVALID, TRUST_KEY_INVALID.
        FailedPreconditionError: EXTRACT_FAILED.
    """
    secret, key = _read_identity(identity), _read_trust(trust)
    try:
        # (1) the outer envelope, (2) the tar, (3) the signature, (4) the manifest: without any of them there is nothing to go on with.
        archive = read_archive(_open(sealed, secret))
        manifest = _read_manifest(_signed_bytes(archive, key), key)
    except FindingError as error:
        return Verdict((error.finding,))
    # (5) the recipient and the files, against what was signed.
    findings = [*_check_recipient(manifest, secret), *_check_frame(archive, manifest), *_check_files(archive, manifest)]
    if findings:
        return Verdict(tuple(findings), manifest)
    # (6) what was laid over the same manifest by others.
    stamp_time, countersigned = _check_countersigned(archive, manifest, timestamp_root)
    # (7) the files among themselves, and the log: they are what was signed, but was it sound?
    logged = check_log(audit_log, manifest) if audit_log is not None else ()
    verdict = Verdict((*countersigned, *check_agreement(archive, manifest), *logged), manifest, read_order(archive), stamp_time)
    if verdict.ok and extract_to is not None:
        write_out(archive, extract_to)
    return verdict


def _read_identity(text: str) -> x25519.Identity:
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        (key,) = keys
        return x25519.Identity.from_str(key)
    except (ValueError, pyrage.IdentityError):
        raise InvalidArgumentError("IDENTITY_INVALID", "identity is not one age X25519 secret key", field="identity") from None


def _read_trust(trust: bytes) -> Ed25519PublicKey:
    try:
        key = Ed25519PublicKey.from_public_bytes(trust) if len(trust) == _RAW_KEY_BYTES else load_pem_public_key(trust)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidArgumentError("TRUST_KEY_INVALID", "trusted key is not an Ed25519 public key", field="trust")
    return key


def _open(sealed: bytes, secret: x25519.Identity) -> bytes:
    try:
        tar: bytes = pyrage.decrypt(sealed, [secret])
    except pyrage.DecryptError as error:
        # The library has one exception; only its text tells a foreign key from damage.
        # Damage to the recipient's own line in the header looks like a foreign key, and is no better news.
        if str(error).startswith("No matching keys"):
            raise FindingError(Code.WRONG_RECIPIENT, "package is not sealed to this identity") from None
        raise FindingError(Code.OUTER_CORRUPT, "package is damaged or not an age file") from None
    return tar


def _signed_bytes(archive: Archive, key: Ed25519PublicKey) -> bytes:
    """The manifest's bytes, established as signed by the trusted key."""
    for path in (MANIFEST, SIGNATURE):
        if path not in archive.files:
            raise FindingError(Code.PAYLOAD_MISSING, path)
    raw, signature = archive.files[MANIFEST], archive.files[SIGNATURE]
    try:
        decoded = base64.b64decode(signature.removesuffix(b"\n"), validate=True)
        key.verify(decoded, _SIGNED_PREFIX + raw)
        canonical = base64.b64encode(decoded) + b"\n" == signature
    except (ValueError, InvalidSignature):
        canonical = False
    if not canonical:
        claimed = _CLAIMED_KEY.search(raw)
        stranger = claimed is not None and claimed[1].decode() != _key_id(key)
        raise FindingError(Code.UNTRUSTED_KEY if stranger else Code.SIGNATURE_INVALID, SIGNATURE)
    return raw


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _check_recipient(manifest: Manifest, secret: x25519.Identity) -> Iterator[Finding]:
    if manifest.recipient_fingerprint != hashlib.sha256(str(secret.to_public()).encode()).hexdigest():
        yield Finding(Code.WRONG_RECIPIENT, "signed manifest names another recipient key")


def _check_frame(archive: Archive, manifest: Manifest) -> Iterator[Finding]:
    if archive.root != f"EXP-{manifest.export_id}" or archive.mtime != int(datetime.fromisoformat(manifest.snapshot_time).timestamp()):
        yield Finding(Code.OUTER_CORRUPT, "name or date of the archive is not the signed one")


def _check_files(archive: Archive, manifest: Manifest) -> Iterator[Finding]:
    beside = {SIGNATURE, *([CMS] if manifest.certificate else []), *([TIMESTAMP] if manifest.timestamp_authority else [])}
    yield from (Finding(Code.PAYLOAD_MISSING, path) for path in sorted(beside - archive.files.keys()))
    found = archive.files.keys() - {MANIFEST, *beside}
    yield from (Finding(Code.PAYLOAD_MISSING, path) for path in sorted(manifest.files.keys() - found))
    yield from (Finding(Code.PAYLOAD_EXTRA, path) for path in sorted(found - manifest.files.keys()))
    for path in sorted(found & manifest.files.keys()):
        if hashlib.sha256(archive.files[path]).hexdigest() != manifest.files[path]:
            yield Finding(Code.CHECKSUM_MISMATCH, path)


def _check_countersigned(archive: Archive, manifest: Manifest, timestamp_root: bytes) -> tuple[datetime | None, list[Finding]]:
    """When an authority saw the manifest, if one did, and what does not hold."""
    raw, stamp_time, findings = archive.files[MANIFEST], None, list[Finding]()
    try:
        if manifest.certificate:
            if first_fingerprint(archive.files[ORGANISATION]) != manifest.certificate:
                findings.append(Finding(Code.TOTALS, ORGANISATION))
            check_cms(archive.files[CMS], raw, certificate=manifest.certificate, where=CMS)
    except FindingError as error:
        findings.append(error.finding)
    try:
        if manifest.timestamp_authority:
            if first_fingerprint(archive.files[AUTHORITY]) != manifest.timestamp_authority:
                findings.append(Finding(Code.TOTALS, AUTHORITY))
            stamp_time = check_timestamp(archive.files[TIMESTAMP], raw, root=timestamp_root or archive.files[AUTHORITY], where=TIMESTAMP)
            if stamp_time < datetime.fromisoformat(manifest.snapshot_time) - _CLOCKS_APART:
                # Nobody can have stamped a manifest before there was anything to say in it.
                findings.append(Finding(Code.TIMESTAMP_INVALID, TIMESTAMP))
    except FindingError as error:
        findings.append(error.finding)
    return stamp_time if not findings else None, findings


def _read_manifest(raw: bytes, key: Ed25519PublicKey) -> Manifest:
    """Parse the signed manifest; an unknown format or field is refused, like a missing one (I9)."""
    try:
        value: object = json.loads(raw)
        canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    except (ValueError, RecursionError):
        raise _manifest_invalid() from None
    names = "format export_id snapshot_time operator policy_version key_id order scope_digest recipient counts withheld audit_head files"
    form = _table(value).get("format")
    if not isinstance(form, str) or form not in _MEMBERS:
        raise _manifest_invalid()
    top = _fields(value, names + _MEMBERS[form])
    if canonical != raw or top["key_id"] != _key_id(key):
        raise _manifest_invalid()
    order = _fields(top["order"], "order_id document_sha256")
    recipient = _fields(top["recipient"], "body person verified_by fingerprint")
    head = _fields(top["audit_head"], "log size root")
    manifest = Manifest(
        format=form,
        export_id=_text(top["export_id"], _EXPORT_ID),
        snapshot_time=_instant(top["snapshot_time"]),
        recipient_fingerprint=_text(recipient["fingerprint"], _SHA256),
        order_id=_text(order["order_id"]),
        document_sha256=_text(order["document_sha256"], _SHA256),
        scope_digest=_text(top["scope_digest"], _SHA256),
        counts={category: _number(count) for category, count in _table(top["counts"]).items()},
        withheld=_withheld(top["withheld"]),
        audit_log=_text(head["log"]),
        audit_size=_number(head["size"]),
        audit_root=_text(head["root"], _SHA256),
        files={path: _text(digest, _SHA256) for path, digest in _table(top["files"]).items()},
        selected={category: _number(count) for category, count in _table(top.get("selected", {})).items()},
        certificate=_text(top.get("certificate", ""), _SHA256_OR_NONE),
        timestamp_authority=_text(top.get("timestamp_authority", ""), _SHA256_OR_NONE),
    )
    if manifest.files.keys() != _files_of(manifest):
        raise _manifest_invalid()
    return manifest


def _files_of(manifest: Manifest) -> set[str]:
    """Every file outside `meta/` that such a package has."""
    named = ((ORGANISATION, manifest.certificate), (AUTHORITY, manifest.timestamp_authority))
    of_categories = {form.format(category) for category in manifest.counts for form in _FILES_PER_CATEGORY}
    return _FILES[manifest.format] | of_categories | {path for path, is_there in named if is_there}


def _withheld(value: object) -> dict[tuple[str, str], int]:
    if not isinstance(value, list):
        raise _manifest_invalid()
    rows = [_fields(item, "category count reason") for item in value]
    withheld = {(_text(row["category"], _WORD), _text(row["reason"], _WORD)): _number(row["count"]) for row in rows}
    if len(withheld) != len(rows):
        raise _manifest_invalid()
    return withheld


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _manifest_invalid()
    return value


def _fields(value: object, names: str) -> dict[str, object]:
    table = _table(value)
    if table.keys() != set(names.split()):
        raise _manifest_invalid()
    return table


def _text(value: object, form: re.Pattern[str] = _LINE) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise _manifest_invalid()
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _manifest_invalid()
    return value


def _instant(value: object) -> str:
    text = _text(value, _UTC)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _manifest_invalid() from None
    return text


def _manifest_invalid() -> FindingError:
    return FindingError(Code.MANIFEST_INVALID, MANIFEST)
