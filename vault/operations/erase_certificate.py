"""The certificate of an erasure: what went, what stays, why, and until when (§6.5).

A signed note over canonical JSON. It names the person by an opaque id alone. A hold is not told from other duties to keep: whoever reads the
certificate must not learn of an order (N16).
"""

import json
from collections import defaultdict
from datetime import datetime

from vault.audit import certificate as form
from vault.audit.checkpoint import sign_note
from vault.catalogue.model import Erasure, ErasureException
from vault.names import ChildName, SubjectName
from vault.operations.attempt import Receipt
from vault.operations.core import Vault
from vault.store.erasures import ErasureRow

_NEUTRAL = "retained-under-law"
# What is not searched, because no id leads there (§6.2).
_NOT_REACHABLE = ("personal details that senders wrote into messages to other people",)


def certificate(vault: Vault, tenant: str, row: ErasureRow, receipt: Receipt, *, number: int, next_time: datetime | None) -> str:
    """Sign what an erasure did.

    Args:
        vault: the vault.
        tenant: id of the tenant.
        row: the erasure, with its outcomes.
        receipt: the log entry that records it.
        number: 0 for the certificate, 1 and up for supplements to it.
        next_time: when what is kept is looked at next; None if nothing is.
    """
    name = ChildName(tenant, "erasures", row.erasure_id)
    body = {
        "format": form.FORMAT,
        "issuer": vault.name,
        "certificate_no": row.erasure_id + (f"-S{number}" if number else ""),
        "supplements": row.erasure_id if number else "",
        "erasure": str(name),
        "subject": str(SubjectName(tenant, row.subject_id)),
        "state": row.state,
        "requester_kind": row.requester_kind,
        "reference": row.reference,
        "requester": row.requester,
        "approvers": list(row.approvers),
        "request_time": row.request_time.isoformat(),
        "finish_time": row.finish_time.isoformat() if row.finish_time else "",
        "issue_time": vault.clock().isoformat(),
        "next_time": next_time.isoformat() if next_time else "",
        "methods": [] if row.state == "FORWARDED" else ["key-destruction", "row-deletion", "tokenisation"],
        "outcomes": _lines(row),
        "not_reachable": list(_NOT_REACHABLE),
        "suppression": "kept" if row.keep_suppression else "erased",
        "policy_version": vault.catalogue.policy_version,
        "audit": {"log": receipt.log, "index": receipt.index},
    }
    return sign_note(json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1) + "\n", vault.signer)


def _lines(row: ErasureRow) -> list[dict[str, object]]:
    """One line per category."""
    lines: dict[str, dict[str, object]] = {}
    kept: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for count in row.outcomes:
        line = lines.setdefault(
            count.category, {"category": count.category, "found": 0, "erased": 0, "tokenised": 0, "forwarded": 0, "controller": ""}
        )
        line["found"] = _number(line["found"]) + count.count
        if count.outcome == Erasure.RESTRICTED:
            basis = _NEUTRAL if count.basis == ErasureException.LEGAL_HOLD else count.basis
            kept[count.category].append({"basis": basis, "count": count.count, "until": count.until})
            continue
        line[count.outcome] = _number(line[count.outcome]) + count.count
        if count.outcome == Erasure.FORWARDED:
            line["controller"] = "tenant"
    return [{**lines[category], "restricted": kept[category]} for category in sorted(lines)]


def _number(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - put there above
    return value
