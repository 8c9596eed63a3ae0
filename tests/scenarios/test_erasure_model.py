"""Random histories of a vault – records, erasures, holds, sweeps, jumps of the clock, restarts, restores – against a plain model (§6, A4, A29).

After each step the tables are compared with the model, part by part and in plain text, and what callers are shown and find is compared at the numbers
in turn. `make torture-erasure` runs many; here, a few that never change.
"""

import copy
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.databases import PostgresServer, sqlite_url
from tests.erasure_checks import findings
from tests.erasure_model import BY_LAW, KEPT, OPEN, TOKEN, Erasure, Hold, Model, Part, Record, end_of, is_past_use
from tests.erasure_world import World, given
from vault.audit.certificate import verify_certificate
from vault.errors import UnavailableError, VaultError
from vault.names import RecordName, SubjectName
from vault.operations import erase_run
from vault.operations.hold import CLAIM, PRESERVATION, NewHold

# `make torture-erasure` sets more.
SEQUENCES = int(os.environ.get("PII_VAULT_ERASURE_SEQUENCES", "4"))
STEPS = 25
PHONES = [f"+97250234567{n}" for n in range(4)]
LINE = "+972732345678"
# Who creates, who reads in the ordinary course, and which field is looked at.
WAYS = {
    "end-customer-contact": (("tenant-app", "service-delivery"), ("tenant-app", "service-delivery"), "phone"),
    "site-visitor": (("tenant-app", "service-delivery"), ("account-manager", "contact"), "phone"),
    "call-detail": (("billing", "billing"), ("billing", "billing"), "called"),
    "number-mapping": (("second-number-app", "service-delivery"), ("second-number-app", "service-delivery"), "real_number"),
    "billing-record": (("billing", "billing"), ("billing", "billing"), "amount"),
    "email-template": (("tenant-admin", "service-delivery"), ("tenant-admin", "customer-report"), "placeholders"),
}
FOUND = ("end-customer-contact", "site-visitor", "call-detail", "number-mapping")
CLAIMING = ("legal-officer", "claim-or-complaint")
ran: Counter[str] = Counter()
_T = TypeVar("_T")

pick = st.integers(min_value=0, max_value=30)


class Histories(RuleBasedStateMachine):
    """What happens to a vault, and to the model of it."""

    template: Path
    server: PostgresServer | None
    database: str

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="pii-vault-history-"))
        self._name = self.server.create(self.database) if self.server is not None else ""
        if self.server is None:
            shutil.copyfile(self.database, self._folder / "vault.db")
        url = self.server.database_url(self._name) if self.server is not None else sqlite_url(self._folder / "vault.db")
        self.world, self.model = World(self.template, self._folder, url), Model()
        self.backups: list[tuple[Path, Model]] = []
        self.ledger: list[tuple[str, str, bool]] = []
        self.steps = 0

    def teardown(self) -> None:
        """Look at everything once more, and clean up."""
        try:
            for phone in PHONES:
                self._check_found(phone)
            ran["sequences"] += 1
        finally:
            self.world.close()
            if self.server is not None:
                self.server.drop(self._name)
            shutil.rmtree(self._folder)

    @initialize()
    def begin(self) -> None:
        """One person, so that there is something from the start."""
        self._put("end-customer-contact", {"phone": PHONES[0]}, {"subject": PHONES[0]})

    @rule(category=st.sampled_from(["end-customer-contact", "site-visitor"]), number=pick)
    def put_number(self, category: str, number: int) -> None:
        """A list member or a visitor of the site; the same number again is the same person, unless they were erased."""
        phone = PHONES[number % len(PHONES)]
        more = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"} if category == "site-visitor" else {}
        self._put(category, {"phone": phone, **more}, {"subject": phone})

    @rule(one=pick, other=pick, days=st.integers(min_value=0, max_value=300))
    def put_call(self, one: int, other: int, days: int) -> None:
        """A call between two numbers, through a customer's line."""
        calling, called = PHONES[one % len(PHONES)], PHONES[(one + 1 + other % (len(PHONES) - 1)) % len(PHONES)]
        happened = self.world.clock() - timedelta(days=days)
        fields = {"cdr_id": "c-1", "shadow_number": LINE, "status": "answered", "duration_s": "61", "start_at": happened.isoformat()}
        whose = {"customer": LINE, "calling": calling, "called": called}
        self._put("call-detail", {**fields, "calling": calling, "called": called}, whose, happened=happened)

    @rule(number=pick, ago=st.integers(min_value=100, max_value=900), ended=st.booleans())
    def put_mapping(self, number: int, ago: int, ended: bool) -> None:
        """A second number, for an interval or until now."""
        phone, begin = PHONES[number % len(PHONES)], self.world.clock() - timedelta(days=ago)
        until = begin + timedelta(days=50) if ended else None
        fields = {"real_number": phone, "assigned_number": "+972552345678", "service": "NUM2", "valid_from": begin.isoformat()}
        more = {"valid_to": until.isoformat()} if until else {}
        self._put("number-mapping", {**fields, **more}, {"subject": phone}, happened=begin, until=until)

    @rule(number=pick, days=st.integers(min_value=0, max_value=500))
    def put_invoice(self, number: int, days: int) -> None:
        """An invoice of somebody who is named."""
        happened, subject = self.world.clock() - timedelta(days=days), self._nth(list(self.model.subjects), number)
        fields = {"invoice_no": "i-1", "service": "VOICE", "issued_at": happened.isoformat(), "amount": "11900"}
        self._put("billing-record", fields, {"subject": ""}, subject=subject, happened=happened)

    @rule(number=pick)
    def put_template(self, number: int) -> None:
        """What somebody who is named wrote for the tenant."""
        subject = self._nth(list(self.model.subjects), number)
        self._put("email-template", {"template_id": "t-1", "html": b"<p>", "placeholders": "name"}, {"author": ""}, subject=subject)

    @rule(number=pick, by_tenant=st.booleans())
    def request(self, number: int, by_tenant: bool) -> None:
        """A tenant's instruction, or a person's request."""
        subject = self._nth(list(self.model.subjects), number)
        counts = self.model.preview(subject, by_tenant=by_tenant, now=self.world.clock())
        is_beyond = by_tenant and not counts and bool(self.model.parts_of(subject))
        if self.model.subjects[subject] != "ACTIVE" or is_beyond:
            with pytest.raises(VaultError):
                self.world.request(subject, by_tenant=by_tenant)
            return
        row = self.world.request(subject, by_tenant=by_tenant)
        known = self.model.erasures.get(row.erasure_id)
        waiting = [e for e in self.model.erasures.values() if (e.subject, e.by_tenant, e.state) == (subject, by_tenant, "REQUESTED")]
        if known is not None or waiting:
            # E12: the same request is the same erasure.
            assert known is not None
            assert (known.subject, known.by_tenant) == (subject, by_tenant)
            assert known in waiting or known.state == "FORWARDED"
            return
        is_forwarded = bool(counts) and all(outcome == "forwarded" for _, outcome in counts)
        needed = 2 if any(outcome == "restricted" for _, outcome in counts) else 1
        assert (row.state, row.required_approvals) == ("FORWARDED" if is_forwarded else "REQUESTED", needed)
        self.model.erasures[row.erasure_id] = Erasure(subject, by_tenant, row.state, needed, asked=counts)

    @precondition(lambda self: any(erasure.state == "REQUESTED" for erasure in self.model.erasures.values()))
    @rule(number=pick, interrupted=st.sampled_from([False, False, True]))
    def approve(self, number: int, interrupted: bool) -> None:
        """Everybody who has to approves; sometimes a dependency is away just then."""
        name = self._nth([name for name, erasure in self.model.erasures.items() if erasure.state == "REQUESTED"], number)
        erasure, now = self.model.erasures[name], self.world.clock()
        is_stale = self.model.preview(erasure.subject, by_tenant=erasure.by_tenant, now=now) != erasure.asked
        if self.model.subjects[erasure.subject] != "ACTIVE" or is_stale:
            with pytest.raises(VaultError):
                self.world.approve(name, number=erasure.approvals)
            return
        with _away(interrupted):
            for _ in range(erasure.approvals, erasure.needed):
                self.world.approve(name, number=erasure.approvals)
                erasure.approvals += 1
        self.model.begin(erasure, now)
        if not interrupted:
            self._noted(name)
            self.model.run(name, now)

    @rule(number=pick, claims=st.booleans(), by_record=st.booleans(), narrow=st.booleans(), days=st.integers(min_value=1, max_value=30))
    def place(self, number: int, claims: bool, by_record: bool, narrow: bool, days: int) -> None:
        """A hold for a letter or a claim, on a person or a record."""
        now, records = self.world.clock(), list(self.model.records)
        by_record = by_record and bool(records)
        record, subject = self._nth(records, number) if by_record else "", self._nth(list(self.model.subjects), number)
        categories = ("call-detail", "site-visitor") if narrow and not by_record else ()
        end, review = (None, now + timedelta(days=300)) if claims else (now + timedelta(days=days), None)
        new = NewHold(
            CLAIM if claims else PRESERVATION,
            subjects=() if by_record else (SubjectName("acme", subject),),
            records=(RecordName("acme", self.model.records[record].owner, record),) if by_record else (),
            categories=categories,
            expire_time=end,
            review_time=review,
        )
        if not by_record and self.model.subjects[subject] != "ACTIVE":
            with pytest.raises(VaultError):
                self.world.place(new)
            return
        people, kept = frozenset() if by_record else frozenset({subject}), frozenset({record} if by_record else ())
        self.model.holds[self.world.place(new)] = Hold(new.kind, people, kept, frozenset(categories), end)

    @precondition(lambda self: bool(self.model.holds))
    @rule(number=pick)
    def release(self, number: int) -> None:
        """The end of a hold."""
        name = self._nth(list(self.model.holds), number)
        self.world.release(name, self.model.holds[name].kind)
        self.model.holds[name].released = True

    @rule(days=st.sampled_from([1, 40, 200, 400, 3000]))
    def jump(self, days: int) -> None:
        """Time passes, and the background has its turn."""
        self.world.jump(days)
        self.turn()

    @rule()
    def turn(self) -> None:
        """A turn of the background."""
        now = self.world.clock()
        self._resume(now)
        self.world.expire()
        self.model.expire(now)
        self.sweep()

    @rule()
    def sweep(self) -> None:
        """A retention sweep."""
        self.world.retain()
        self.model.retain(self.world.clock())

    @rule()
    def restart(self) -> None:
        """The vault is stopped and started."""
        self.world.restart()
        self._resumed(self.world.clock())

    @rule()
    def back_up(self) -> None:
        """A backup."""
        self.backups.append((self.world.back_up(), copy.deepcopy(self.model)))

    @precondition(lambda self: bool(self.backups))
    @rule(number=pick)
    def restore(self, number: int) -> None:
        """A backup comes back: what was erased since is erased again, what came since is lost, what was added again stays what it was."""
        file, model = self._nth(self.backups, number)
        self.model = copy.deepcopy(model)
        is_behind = self.world.restore(file)
        now = self.world.clock()
        missed = [entry for entry in self.ledger if self._state_of(entry[0]) == "REQUESTED"]
        assert is_behind == bool(missed)
        for name, subject, by_tenant in missed:
            if subject in self.model.subjects:
                erasure = self.model.erasures.setdefault(name, Erasure(subject, by_tenant, "REQUESTED"))
                self.model.begin(erasure, now)
                self.model.run(name, now)
        if is_behind:
            self.model.retain(now)
        self._resumed(now)
        ran["restores"] += 1

    @invariant()
    def as_the_model_says(self) -> None:
        """The tables, what callers are shown, and what they find."""
        found, model = self.world.stored(), self.model
        assert findings(found) == []
        assert found.subjects == model.subjects
        assert found.identities == set(model.owners.values())
        parts = {(name, role): part for name, record in model.records.items() for role, part in record.parts.items()}
        states = {
            place: TOKEN if not version else KEPT if found.is_restricted(place) else OPEN for place, (_, version) in found.parts.items()
        }
        assert states == {place: part.state for place, part in parts.items()}
        assert found.opened == {place: part.fields for place, part in parts.items() if part.state != TOKEN}
        self._check_shown()
        self._check_found(PHONES[self.steps % len(PHONES)])
        self._check_certificates()
        self.steps += 1

    def _put(
        self,
        category: str,
        fields: Mapping[str, str | bytes],
        whose: dict[str, str],
        *,
        subject: str = "",
        happened: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        now, model = self.world.clock(), self.model
        people = {phone: subject or model.owners.get(phone, "") for phone in whose.values()}
        if any(model.subjects.get(who, "ACTIVE") != "ACTIVE" for who in people.values()):
            with pytest.raises(VaultError):
                self.world.create(*WAYS[category][0], given(category, fields, subject))
            return
        name = self.world.create(*WAYS[category][0], given(category, fields, subject))
        found, parts = self.world.stored(), {}
        for role, phone in whose.items():
            who, _ = found.parts[name.record, role]
            # The same person as before, or one whom nobody knew.
            assert who == people[phone] or (not people[phone] and who not in model.subjects)
            people[phone] = who
            parts[role] = Part(who, found.opened[name.record, role], phone)
        model.subjects |= dict.fromkeys(people.values(), "ACTIVE")
        model.owners |= {phone: who for phone, who in people.items() if phone}
        end = end_of(category, happened or now, until)
        model.records[name.record] = Record(category, now, happened or now, end, parts, until)

    def _check_shown(self) -> None:
        now = self.world.clock()
        for category, (_, ordinary, field) in WAYS.items():
            records = {name: record for name, record in self.model.records.items() if record.category == category}
            ways = [(ordinary, False), (CLAIMING, True)] if category in BY_LAW else [(ordinary, False)]
            for way, claims in ways if records else ():
                names = [RecordName("acme", record.owner, name) for name, record in records.items()]
                shown = self.world.reveal(*way, names, frozenset({field}))
                for record, outcome in zip(records.values(), shown, strict=True):
                    expected = self._expected(record, field, claims=claims, now=now)
                    if expected is not None:
                        values = None if isinstance(outcome, VaultError) else dict(outcome.fields)
                        assert values == (expected or None), (category, way, outcome)

    def _expected(self, record: Record, field: str, *, claims: bool, now: datetime) -> dict[str, str] | None:
        """What is shown; nothing for a refusal, None where the policy of reading decides and not erasure."""
        parts = record.parts.values()
        if self.model.subjects[record.owner] == "ERASING" or (not claims and any(part.state == KEPT for part in parts)):
            return {}
        owner = next(iter(parts))
        if not claims and is_past_use(record, now):
            return {}
        if owner.state == TOKEN:
            return None
        seen = [part for part in parts if part.state != TOKEN and self.model.subjects[part.subject] != "ERASING"]
        return {name: value for part in seen for name, value in part.fields.items() if name == field} or None

    def _check_found(self, phone: str) -> None:
        for category in FOUND:
            ways = [(WAYS[category][1], {OPEN}), (CLAIMING, {OPEN, KEPT})] if category in BY_LAW else [(WAYS[category][1], {OPEN})]
            now = self.world.clock()
            as_of = now if category == "number-mapping" else None
            for way, states in ways:
                expected = {
                    (name, part.subject)
                    for name, record in self.model.records.items()
                    for part in record.parts.values()
                    if record.category == category and part.phone == phone and part.state in states
                    if as_of is None or (record.happened <= as_of and (record.until is None or as_of < record.until))
                    if way == CLAIMING or not is_past_use(record, now)
                }
                assert self.world.find(*way, category, phone, as_of) == expected, (category, way)

    def _check_certificates(self) -> None:
        for name, erasure in self.model.erasures.items():
            row, kept = self.world.erasure(name), self.model.restricted(name)
            if erasure.state != "DONE":
                assert row.state == erasure.state
                continue
            said = json.loads(json.dumps(verify_certificate(self.world.certificates(name)[-1], self.world.verifier())))
            lines = {line["category"]: line for line in said["outcomes"]}
            restricted = {category: sum(item["count"] for item in line["restricted"]) for category, line in lines.items()}
            assert row.state == "PARTIAL" if kept else row.state in {"PARTIAL", "COMPLETE"}
            assert {category: count for category, count in restricted.items() if count} == dict(kept)
            assert {category: line["found"] for category, line in lines.items()} == dict(erasure.found)
            for category, line in lines.items():
                assert line["found"] == line["erased"] + line["tokenised"] + line["forwarded"] + restricted[category]

    def _resume(self, now: datetime) -> None:
        self.world.resume()
        self._resumed(now)

    def _resumed(self, now: datetime) -> None:
        for name, erasure in self.model.erasures.items():
            if erasure.state == "RUNNING":
                self._noted(name)
        self.model.resume(now)

    def _noted(self, name: str) -> None:
        erasure = self.model.erasures[name]
        entry = name, erasure.subject, erasure.by_tenant
        self.ledger += [entry] if entry not in self.ledger else []

    def _state_of(self, name: str) -> str:
        return self.model.erasures[name].state if name in self.model.erasures else "REQUESTED"

    @staticmethod
    def _nth(found: list[_T], number: int) -> _T:
        return found[number % len(found)]


@contextmanager
def _away(is_away: bool) -> Iterator[None]:
    """A dependency that is away once the erasure is approved."""

    async def held_up(*_: object) -> None:
        raise UnavailableError("AUDIT_UNAVAILABLE", "stands in for a database that is away")

    with pytest.MonkeyPatch.context() as patched:
        if is_away:
            patched.setattr(erase_run, "run", held_up)
        yield


@pytest.mark.timeout(60 + 20 * SEQUENCES)
def test_random_histories_end_as_the_model_says(database_kind: str, home_template: Path, request: pytest.FixtureRequest) -> None:
    """Nothing that must be gone is readable, nothing that must stay is lost, what is kept is for claims alone, certificates add up."""
    of_postgres = database_kind == "postgres"

    class OnThisDatabase(Histories):
        template = home_template
        server = request.getfixturevalue("postgres_server") if of_postgres else None
        database = request.getfixturevalue("postgres_template") if of_postgres else str(request.getfixturevalue("sqlite_template"))

    is_long = "PII_VAULT_ERASURE_SEQUENCES" in os.environ
    ran.clear()
    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not is_long,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

    print(f"{database_kind}: {ran['sequences']} sequences, {ran['restores']} restores, 0 mismatches")  # noqa: T201 - what the run measured
    assert ran["sequences"] >= SEQUENCES // 2
