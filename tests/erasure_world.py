"""A vault without its edge, for the stateful test of erasures: operations on a real database, at a clock that only the test moves.

Rules:
- One tenant; every caller is a service with one role. What is refused is raised, as the operation raises it.
- A restart closes the vault and opens it as the server does; a restore puts a copy of the database in its place while it is closed.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from deploy import backup
from tests.erasure_checks import Stored, stored
from tests.processes import copy_home
from vault import server
from vault.audit.checkpoint import NoteVerifier
from vault.config import load
from vault.errors import VaultError
from vault.names import ChildName, RecordName, SubjectName
from vault.operations import create, erase, erase_run, find, hold, replay, retain, reveal, subject_request, tenant, upkeep
from vault.operations.attempt import Attempt, Caller, Justification
from vault.operations.core import Vault
from vault.operations.find import Search
from vault.operations.hold import NewHold
from vault.operations.idempotency import RequestKey
from vault.operations.preparing import RecordInput
from vault.operations.reveal import RevealCall
from vault.policy.decide import View
from vault.store.erasures import ErasureRow

START = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
TENANT = "acme"
NO_ID = RequestKey("", "", b"")
RIGHTS = "data-subject-request"
REASON = "needed to carry out the work of this test"

# Purposes that rest on a ticket.
_TICKETS = {"claim-or-complaint": "CASE-17", "contact": "CASE-17"}

_T = TypeVar("_T")


def attempt(role: str, purpose: str, reference: str = "", *, number: int = 0) -> Attempt:
    """A call by a service of one role."""
    caller = Caller(f"spiffe://test/{role}/{number}", "service", frozenset({role}), None, "/test", "0" * 32, "mtls")
    return Attempt(caller, tenant=TENANT, justification=Justification(purpose, reference, REASON))


class World:
    """A vault and everything that is done to it; every method runs to its end.

    Args:
        template: a home to copy.
        folder: for the home and the backups.
        url: of a database with the newest schema.
    """

    def __init__(self, template: Path, folder: Path, url: str) -> None:
        self._folder, self._url, self._now = folder, url, START
        self._home = copy_home(template, folder / "home", database_url=url)
        self._runner = asyncio.Runner()
        self._vault = self._opened()
        self._run(tenant.create_tenant(self._vault, attempt("operator", ""), TENANT, display_name="", request=NO_ID))

    def close(self) -> None:
        """Close the vault."""
        self._run(server.close_vault(self._vault))
        self._runner.close()

    def clock(self) -> datetime:
        """The time; two looks at it are never the same."""
        self._now += timedelta(milliseconds=1)
        return self._now

    def jump(self, days: int) -> None:
        """Let time pass."""
        self._now += timedelta(days=days)

    def stored(self) -> Stored:
        """What the tables hold."""
        return self._run(stored(self._vault))

    def create(self, role: str, purpose: str, new: RecordInput) -> RecordName:
        """Store a record."""
        call = create.CreateCall(attempt(role, purpose), (new,), atomic=False, request=NO_ID)
        [[outcome]] = self._run(create.create_records(self._vault, TENANT, [call]))
        if isinstance(outcome, VaultError):
            raise outcome
        return outcome.name

    def reveal(self, role: str, purpose: str, names: Sequence[RecordName], fields: frozenset[str]) -> list[reveal.Outcome]:
        """What a caller is shown of records, or why not."""
        call = RevealCall(attempt(role, purpose, _TICKETS.get(purpose, "")), tuple(names), View.FULL, fields, "internal")
        [outcomes] = self._run(reveal.reveal(self._vault, TENANT, [call]))
        return outcomes

    def find(self, role: str, purpose: str, category: str, phone: str, as_of: datetime | None) -> set[tuple[str, str]]:
        """Record and subject of every match of a number."""
        search = Search(category, "phone", phone, as_of, 1000, "")
        found = self._run(find.find_subjects(self._vault, attempt(role, purpose, _TICKETS.get(purpose, "")), TENANT, search))
        return {(match.name.record, match.name.subject) for match in found.matches}

    def request(self, subject: str, *, by_tenant: bool) -> ErasureRow:
        """Ask for an erasure: as the tenant, or for the person, whose identity was verified."""
        who, name = attempt("tenant-admin", RIGHTS), SubjectName(TENANT, subject)
        if not by_tenant:
            new = subject_request.NewRequest(name, "ERASURE", "EMAIL_INFO", "SUBJECT", None)
            opened, _ = self._run(subject_request.open_subject_request(self._vault, attempt("privacy-officer", RIGHTS), TENANT, new))
            child = ChildName(TENANT, "subjectRequests", opened.request_id)
            verifying = subject_request.verify_subject_request(
                self._vault, attempt("privacy-officer", RIGHTS), child, evidence_sha256=b"\4" * 32, subject=None
            )
            self._run(verifying)
            who = attempt("privacy-officer", RIGHTS, str(child))
        selector = erase.Selector(TENANT, subject=name)
        preview, _ = self._run(erase.preview_erasure(self._vault, who, selector))
        asking = erase.request_erasure(self._vault, who, selector, preview_digest=preview.digest, keep_suppression=True, request=NO_ID)
        return self._run(asking)[0]

    def approve(self, erasure: str, *, number: int) -> ErasureRow:
        """Approve an erasure, as one of the officers."""
        name = ChildName(TENANT, "erasures", erasure)
        return self._run(erase.approve_erasure(self._vault, attempt("privacy-officer", RIGHTS, number=1 + number), name))[0]

    def erasure(self, erasure: str) -> ErasureRow:
        """An erasure as it stands."""
        return self._run(erase.get_erasure(self._vault, ChildName(TENANT, "erasures", erasure)))

    def certificates(self, erasure: str) -> list[str]:
        """Its certificate and supplements."""
        return self._run(erase.get_certificates(self._vault, ChildName(TENANT, "erasures", erasure)))

    def verifier(self) -> NoteVerifier:
        """Verifies its certificates."""
        return self._vault.signer.verifier()

    def place(self, new: NewHold) -> str:
        """Place a hold."""
        purpose = "claim-or-complaint" if new.kind == hold.CLAIM else "court-order"
        return self._run(hold.place_hold(self._vault, attempt("legal-officer", purpose, "CASE-17"), TENANT, new, NO_ID))[0].row.hold_id

    def release(self, hold_id: str, kind: str) -> None:
        """Release a hold."""
        purpose = "claim-or-complaint" if kind == hold.CLAIM else "court-order"
        name = ChildName(TENANT, "holds", hold_id)
        self._run(hold.release_hold(self._vault, attempt("legal-officer", purpose, "CASE-17"), name))

    def resume(self) -> None:
        """What the background does about erasures."""
        self._run(erase_run.resume(self._vault, upkeep.upkeep_caller()))

    def expire(self) -> None:
        """What the background does about holds."""
        self._run(hold.expire_holds(self._vault, upkeep.upkeep_caller()))

    def retain(self) -> None:
        """A retention sweep."""
        self._run(retain.run_retention(self._vault, Attempt(upkeep.upkeep_caller()), TENANT))

    def restart(self) -> None:
        """Stop and start, as the server does."""
        self._run(server.close_vault(self._vault))
        self._vault = self._opened()
        self._run(upkeep.resume_erasures(self._vault))

    def back_up(self) -> Path:
        """A backup of the database."""
        file = self._folder / f"backup-{len(list(self._folder.glob('backup-*')))}"
        backup.back_up(self._url, file)
        return file

    def restore(self, file: Path) -> bool:
        """Restore a backup, and replay what it does not know. Whether there was anything."""
        self._run(server.close_vault(self._vault))
        backup.restore(self._url, file)
        self._vault = self._opened()
        is_behind = bool(self._vault.standing.reason)
        self._run(replay.replay_erasures(self._vault, Attempt(upkeep.upkeep_caller())))
        assert not self._vault.standing.reason
        self._run(upkeep.resume_erasures(self._vault))
        return is_behind

    def _opened(self) -> Vault:
        return self._run(server.open_vault(load(self._home / "vault.yaml"), clock=self.clock))[0]

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)


def given(category: str, fields: Mapping[str, str | bytes], subject: str = "") -> RecordInput:
    """A record to store."""
    return RecordInput(category, fields, subject=str(SubjectName(TENANT, subject)) if subject else "")
