"""The offline verifier of termination reports: a signed note over canonical JSON in, what it says out. Needs a public key and nothing else (I8)."""

import json

from vault.audit.checkpoint import NoteVerifier, open_note
from vault.errors import DataLossError

FORMAT = "pii-vault-termination-report/2"
# What earlier versions of the vault issued, which did not say who the operator is; those reports hold for ever.
_FIRST_FORMAT = "pii-vault-termination-report/1"
_FIRST_MEMBERS = frozenset(
    {
        *("format", "issuer", "tenant", "state", "asked_by", "requester", "approver"),
        *("request_time", "effective_time", "credentials_time", "grace_end_time", "return_time", "finish_time"),
        *("method", "categories", "keys", "audit", "policy_version"),
    }
)
_FORMATS = {FORMAT: _FIRST_MEMBERS | {"operator"}, _FIRST_FORMAT: _FIRST_MEMBERS}


def verify_report(text: str, verifier: NoteVerifier) -> dict[str, object]:
    """What a report says, if the operator's key signed exactly it.

    It proves that the operator said so at the time; that the log agrees is proved by the entry it names, see `verify.py`.

    Raises:
        DataLossError: NOTE_INVALID, not signed by this key or altered; REPORT_INVALID, signed, but no termination report of this operator.
    """
    try:
        said: object = json.loads(open_note(text, verifier))
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.keys() != _FORMATS.get(str(said.get("format"))) or said["issuer"] != verifier.name:
        raise DataLossError("REPORT_INVALID", "the note is not a termination report of this operator")
    return said
