"""The offline verifier of erasure certificates: a signed note over canonical JSON in, what it says out. Needs a public key and nothing else (I8)."""

import json

from vault.audit.checkpoint import NoteVerifier, open_note
from vault.errors import DataLossError

FORMAT = "pii-vault-erasure-certificate/1"
_MEMBERS = frozenset(
    {
        "format",
        "issuer",
        "erasure",
        "subject",
        "state",
        "requester",
        "approver",
        "request_time",
        "finish_time",
        "method",
        "outcomes",
        "kept",
        "audit",
        "policy_version",
    }
)


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
    if not isinstance(said, dict) or said.keys() != _MEMBERS or said["format"] != FORMAT or said["issuer"] != verifier.name:
        raise DataLossError("CERTIFICATE_INVALID", "the note is not an erasure certificate of this operator")
    return said
