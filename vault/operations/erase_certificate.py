"""The certificate of an erasure: what went, what stays, why, and until when (§6.5).

A signed note over canonical JSON. It names the person by an opaque id alone. A hold is not told from other duties to keep: whoever reads the
certificate must not learn of an order (N16).
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from vault.audit import certificate as form
from vault.audit.checkpoint import sign_note
from vault.catalogue.model import Erasure, ErasureException
from vault.names import ChildName, SubjectName
from vault.operations.attempt import Receipt
from vault.operations.core import Vault
from vault.store.erasures import ErasureRow

_NEUTRAL = "RETAINED_UNDER_LAW"
# What is not searched, because no id leads there: what senders wrote about the person into messages to others (§6.2).
_NOT_REACHABLE = "MERGED_BODIES"


def certificate(
    vault: Vault,
    tenant: str,
    row: ErasureRow,
    receipt: Receipt,
    *,
    number: int,
    next_time: datetime | None,
    notified: Sequence[tuple[str, str, int]],
) -> str:
    """Sign what an erasure did.

    Args:
        vault: the vault.
        tenant: id of the tenant.
        row: the erasure, with its outcomes.
        receipt: the log entry that records it.
        number: 0 for the certificate, 1 and up for supplements to it.
        next_time: when what is kept is looked at next; None if nothing is.
        notified: recipient, state and number of the tasks that tell of it.
    """
    name = ChildName(tenant, "erasures", row.erasure_id)
    body = {
        "format": form.FORMAT,
        "issuer": vault.name,
        "operator": vault.catalogue.operator.in_both,
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
        "methods": _methods(row),
        "outcomes": _lines(row),
        "not_reachable": _NOT_REACHABLE,
        "suppression": "KEPT" if row.keep_suppression else "ERASED",
        "notifications": [{"recipient": recipient, "state": state, "count": count} for recipient, state, count in notified],
        "policy_version": vault.catalogue.policy_version,
        "audit": {"log": receipt.log, "index": receipt.index},
    }
    return sign_note(json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1) + "\n", vault.signer)


def _methods(row: ErasureRow) -> list[dict[str, object]]:
    """How it was done, with the keys that were destroyed."""
    if row.state == "FORWARDED":
        return []
    keys = [f"{row.subject_id}/{version}" for version in row.destroyed_keys]
    methods: list[dict[str, object]] = [{"method": "KEY_DESTRUCTION", "key_ids": keys}, {"method": "ROW_DELETION", "key_ids": []}]
    if any(count.outcome == Erasure.TOKENISED for count in row.outcomes):
        methods.append({"method": "TOKENISATION", "key_ids": []})
    return methods


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
            basis = _NEUTRAL if count.basis == ErasureException.LEGAL_HOLD else count.basis.upper().replace("-", "_")
            kept[count.category].append({"basis": basis, "count": count.count, "until": count.until})
            continue
        line[count.outcome] = _number(line[count.outcome]) + count.count
        if count.outcome == Erasure.FORWARDED:
            line["controller"] = "tenant"
    return [{**lines[category], "restricted": kept[category]} for category in sorted(lines)]


def _number(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - put there above
    return value
