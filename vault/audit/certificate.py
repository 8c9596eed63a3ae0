"""The offline verifier of erasure certificates: a signed note over canonical JSON in, what it says out. Needs a public key and nothing else (I8)."""

import json

from vault.audit.checkpoint import NoteVerifier, open_note
from vault.errors import DataLossError

FORMAT = "pii-vault-erasure-certificate/3"
# What earlier versions of the vault issued; those certificates hold for ever. The second did not say who the operator is.
_SECOND_FORMAT = "pii-vault-erasure-certificate/2"
_SECOND_MEMBERS = frozenset(
    {
        *("format", "issuer", "certificate_no", "supplements", "erasure", "subject", "state"),
        *("requester_kind", "reference", "requester", "approvers"),
        *("request_time", "finish_time", "issue_time", "next_time"),
        *("methods", "outcomes", "not_reachable", "suppression", "notifications", "policy_version", "audit"),
    }
)
_FIRST_FORMAT = "pii-vault-erasure-certificate/1"
_FIRST_MEMBERS = frozenset(
    {
        *("format", "issuer", "erasure", "subject", "state", "requester", "approver", "request_time", "finish_time"),
        *("method", "outcomes", "kept", "audit", "policy_version"),
    }
)
_FORMATS = {FORMAT: _SECOND_MEMBERS | {"operator"}, _SECOND_FORMAT: _SECOND_MEMBERS, _FIRST_FORMAT: _FIRST_MEMBERS}


def verify_certificate(text: str, verifier: NoteVerifier) -> dict[str, object]:
    """What a certificate says, if the operator's key signed exactly it.

    It proves that the operator said so at the time; that the log agrees is proved by the entry it names, see `verify.py`.

    Raises:
        DataLossError: NOTE_INVALID, not signed by this key or altered; CERTIFICATE_INVALID, signed, but no certificate of this operator.
    """
    try:
        said: object = json.loads(open_note(text, verifier))
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.keys() != _FORMATS.get(str(said.get("format"))) or said["issuer"] != verifier.name:
        raise DataLossError("CERTIFICATE_INVALID", "the note is not an erasure certificate of this operator")
    return said
