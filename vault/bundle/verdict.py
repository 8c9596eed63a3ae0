"""What the offline verifier answers: a verdict with findings, never a bare yes or no."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Code(StrEnum):
    """What is wrong with a package."""

    OUTER_CORRUPT = "OUTER_CORRUPT"  # the age file or the tar inside it is damaged, or was not written by us
    WRONG_RECIPIENT = "WRONG_RECIPIENT"  # does not open with this identity, or opens with one that the signed manifest does not name
    PATH_UNSAFE = "PATH_UNSAFE"  # a member that could land elsewhere, replace another, or is not a plain file
    UNTRUSTED_KEY = "UNTRUSTED_KEY"  # signed, so it says, by a key other than the trusted one
    SIGNATURE_INVALID = "SIGNATURE_INVALID"  # the manifest is not what the trusted key signed
    CMS_INVALID = "CMS_INVALID"  # the organisation's signature is not over this manifest, or not by the certificate that the manifest names
    TIMESTAMP_INVALID = "TIMESTAMP_INVALID"  # the time stamp is not over this manifest, or not of the authority that was named
    MANIFEST_INVALID = "MANIFEST_INVALID"  # signed by the right key, yet not a manifest of a known format
    PAYLOAD_MISSING = "PAYLOAD_MISSING"  # a file that must be there is not
    PAYLOAD_EXTRA = "PAYLOAD_EXTRA"  # a file that nobody signed
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"  # a file is not what was signed, or the bag's own checksums disagree with it
    COUNT_MISMATCH = "COUNT_MISMATCH"  # recounted rows are not the signed or the printed number
    TOTALS = "TOTALS"  # two statements of the package about itself disagree
    LOG_MISMATCH = "LOG_MISMATCH"  # the operator's log is not the one whose head was signed, or names other records for this order


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong. `where` is a path of the package or a rule; never a value."""

    code: Code
    where: str


class FindingError(Exception):
    """Ends a verification that cannot go on; stays inside the verifier, which puts the finding into the verdict."""

    def __init__(self, code: Code, where: str) -> None:
        super().__init__(f"{code}: {where}")
        self.finding = Finding(code, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The signed manifest, parsed. Digests are lower-case hex; `withheld` counts by (category, reason); what a format lacks is empty."""

    format: str
    export_id: str
    snapshot_time: str
    recipient_fingerprint: str
    order_id: str
    document_sha256: str
    scope_digest: str
    counts: Mapping[str, int]
    withheld: Mapping[tuple[str, str], int]
    audit_log: str
    audit_size: int
    audit_root: str
    files: Mapping[str, str]
    selected: Mapping[str, int] = field(default_factory=dict)
    certificate: str = ""
    timestamp_authority: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Args:
        findings: in the order found; empty only if every check was made and passed.
        manifest: what the trusted key signed; None while the signature is not established, so that nothing unsigned is repeated.
        order: the order reference as printed in the package; empty unless its checksum holds.
        stamp_time: when a time authority saw the manifest; None without a time stamp that holds.
    """

    findings: tuple[Finding, ...]
    manifest: Manifest | None = None
    order: Mapping[str, object] = field(default_factory=dict, repr=False)
    stamp_time: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether the package is exactly what the trusted key signed for this recipient."""
        return self.manifest is not None and not self.findings

    @property
    def exit_code(self) -> int:
        """0 if ok, else 1."""
        return 0 if self.ok else 1

    @property
    def codes(self) -> frozenset[Code]:
        """The kinds of finding."""
        return frozenset(finding.code for finding in self.findings)

    @property
    def export_id(self) -> str | None:
        """Id of the export, once the signature is established."""
        return self.manifest.export_id if self.manifest else None
