"""Certificates and reports of every version of the vault hold; what no version issued does not."""

import json
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.audit.certificate import verify_certificate
from vault.audit.checkpoint import NoteSigner, NoteVerifier, sign_note
from vault.audit.termination_report import verify_report
from vault.errors import DataLossError

SIGNER = NoteSigner("vault.example", Ed25519PrivateKey.from_private_bytes(b"\7" * 32))
CERTIFICATE = [
    *("issuer", "certificate_no", "supplements", "erasure", "subject", "state", "requester_kind", "reference", "requester", "approvers"),
    *("request_time", "finish_time", "issue_time", "next_time", "methods", "outcomes", "not_reachable", "suppression", "notifications"),
    *("policy_version", "audit"),
]
REPORT = [
    *("issuer", "tenant", "state", "asked_by", "requester", "approver", "request_time", "effective_time", "credentials_time"),
    *("grace_end_time", "return_time", "finish_time", "method", "categories", "keys", "audit", "policy_version"),
]


def signed(form: str, members: list[str]) -> str:
    body = {**dict.fromkeys(members, ""), "issuer": SIGNER.name, "format": form}
    return sign_note(json.dumps(body, sort_keys=True, indent=1) + "\n", SIGNER)


@pytest.mark.parametrize(
    ("verify", "kind", "members", "last"),
    [(verify_certificate, "erasure-certificate", CERTIFICATE, 3), (verify_report, "termination-report", REPORT, 2)],
)
def test_what_was_issued_before_the_operator_was_named_holds(
    verify: Callable[[str, NoteVerifier], Mapping[str, object]], kind: str, members: list[str], last: int
) -> None:
    """P1.1-identity, I8: the newest form names the operator, the one before it does not, and neither is taken for the other."""
    older, newest = f"pii-vault-{kind}/{last - 1}", f"pii-vault-{kind}/{last}"

    for form, said in ((older, members), (newest, [*members, "operator"])):
        assert verify(signed(form, said), SIGNER.verifier())["format"] == form
    for form, said in ((older, [*members, "operator"]), (newest, members), (f"pii-vault-{kind}/{last + 1}", [*members, "operator"])):
        with pytest.raises(DataLossError, match=r"the note is not an? "):
            verify(signed(form, said), SIGNER.verifier())
