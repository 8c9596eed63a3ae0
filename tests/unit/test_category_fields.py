"""What the categories ask of a record beyond types: forms, reasons of their own, parties that may be missing, age, what is made unreadable."""

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from vault.catalogue.loader import load
from vault.catalogue.model import HeldAs
from vault.errors import FailedPreconditionError, InvalidArgumentError, VaultError
from vault.operations.core import Limits, Vault
from vault.operations.preparing import Prepared, RecordInput, expiry, prepare, prepare_values
from vault.scan import scrub

CATALOGUE = load()
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SUBJECT = "tenants/acme/subjects/" + "a" * 26
USED = {"catalogue": CATALOGUE, "region": "IL", "limits": Limits(), "clock": lambda: NOW}
VAULT = Vault(**{part.name: cast("Any", USED.get(part.name)) for part in dataclass_fields(Vault)})
VERIFIER = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub"

VISITOR = {"phone": "0502345678", "is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}
CARD = {"psp_token": "tok_9f", "brand": "visa", "last4": "1111", "exp_month": "3", "exp_year": "2030", "holder": "דנה לוי"}
USAGE = {"kind": "ACTION", "at": "2026-11-24T10:00:00Z"}
CREDENTIAL = {"username": "dana", "verifier": VERIFIER}


def prepared(category: str, fields: Mapping[str, str | bytes], *, level: str = "") -> Prepared:
    return prepare(VAULT, RecordInput(category, fields, subject=SUBJECT, level=level))


def refusal(category: str, fields: Mapping[str, str | bytes], *, level: str = "") -> tuple[str, str | None]:
    with pytest.raises(VaultError) as caught:
        prepared(category, fields, level=level)
    return caught.value.reason, caught.value.field


def sealed(record: Prepared) -> dict[str, bytes]:
    return {name: value for part in record.parts for name, value in part.fields.items()}


@pytest.mark.parametrize("category", [c.name for c in CATALOGUE.categories.values() if c.held_as is HeldAs.REGISTER])
def test_what_a_register_holds_is_not_stored_as_a_record(category: str) -> None:
    """C22, C26, C27, C29, C30, C31: whatever the fields are, the answer is the same and comes first."""
    for fields in ({}, {"no_such_field": "x"}):
        with pytest.raises(FailedPreconditionError) as caught:
            prepared(category, fields)
        assert (caught.value.reason, caught.value.field) == ("CATEGORY_HELD_AS_REGISTER", "category")


def test_a_visitors_record_names_the_terms_and_where_it_comes_from() -> None:
    """P2.1-tou, P2.3-collect."""
    without_terms = {name: value for name, value in VISITOR.items() if name != "terms_version"}
    without_source = {name: value for name, value in VISITOR.items() if name != "source"}

    assert refusal("site-visitor", without_terms) == ("TERMS_VERSION_REQUIRED", "terms_version")
    assert refusal("site-visitor", {**VISITOR, "terms_version": ""}) == ("TERMS_VERSION_REQUIRED", "terms_version")
    assert refusal("site-visitor", without_source) == ("FIELD_REQUIRED", "source")
    assert refusal("site-visitor", {**VISITOR, "source": "ELSEWHERE"}) == ("FIELD_INVALID", "source")
    assert prepared("site-visitor", VISITOR).metadata == {name: value for name, value in VISITOR.items() if name != "phone"}


@pytest.mark.parametrize(("born", "is_minor"), [("2008-11-25", True), ("2008-11-24", False), ("2009-06-01", True), ("1970-01-01", False)])
def test_a_declared_minor_is_not_stored_without_a_guardian(born: str, is_minor: bool) -> None:
    """P2.6-minor, A12: under 18 at the time of giving it. Nobody can have consented for a person who is not known yet; for one who is named, the
    record says that somebody must have."""
    given = {**VISITOR, "birth_date": born}
    unknown = RecordInput("site-visitor", given)

    if is_minor:
        with pytest.raises(FailedPreconditionError) as caught:
            prepare(VAULT, unknown)
        assert (caught.value.reason, caught.value.field) == ("GUARDIAN_CONSENT_REQUIRED", "birth_date")
    else:
        assert sealed(prepare(VAULT, unknown))["birth_date"] == born.encode()
    assert prepared("site-visitor", given).minor_by == ("birth_date" if is_minor else "")


def test_a_birthday_that_is_changed_later_is_looked_at_again() -> None:
    """P2.6-minor: a correction does not store what the first record could not."""
    with pytest.raises(FailedPreconditionError) as caught:
        prepare_values(VAULT, CATALOGUE.category("site-visitor"), {"birth_date": "2010-01-01"}, {}, partial=True)

    assert caught.value.reason == "GUARDIAN_CONSENT_REQUIRED"


@pytest.mark.parametrize("born", ["1.2.2001", "2001-02-30", "20010203", "2001-2-3", "2001-02-03T00:00:00Z", "not a day"])
def test_a_birthday_is_written_in_one_way(born: str) -> None:
    assert refusal("site-visitor", {**VISITOR, "birth_date": born}) == ("FIELD_INVALID", "birth_date")


@pytest.mark.parametrize(
    "name",
    ["cvv", "CVV2", "card_number", "cardNumber", "pan", "track1", "track_2", "pin", "pin_block", "security-code", "card_pin", "magstripe"],
)
def test_a_card_record_takes_no_secret_of_the_card(name: str) -> None:
    """P3.1-direct, L40: refused by the name, whatever it holds."""
    assert refusal("payment-card", {**CARD, name: "x"})[0] == "SAD_FORBIDDEN"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("last4", "411111111111", "FIELD_INVALID"),
        ("last4", "12a4", "FIELD_INVALID"),
        ("last4", "123", "FIELD_INVALID"),
        ("exp_month", "13", "FIELD_INVALID"),
        ("exp_month", "0", "FIELD_INVALID"),
        ("exp_year", "1999", "FIELD_INVALID"),
        ("psp_token", "4111111111111111", "PAN_IN_FREE_FIELD"),
        ("holder", "4111 1111 1111 1111", "PAN_IN_FREE_FIELD"),
        ("holder", "cvv 123", "SAD_FORBIDDEN"),
        ("brand", "4111111111111111", "FIELD_INVALID"),
    ],
)
def test_no_field_of_a_card_record_can_hold_the_number(field: str, value: str, reason: str) -> None:
    """P3.1-direct, L40: token, brand, last four digits, expiry and holder, each of its own form."""
    assert refusal("payment-card", {**CARD, field: value}) == (reason, field)


def test_a_card_record_holds_five_things_and_only_the_brand_in_clear() -> None:
    record = prepared("payment-card", {**CARD, "exp_month": "03"})

    assert sealed(record).keys() == {"psp_token", "last4", "exp_month", "exp_year", "holder"}
    assert sealed(record)["exp_month"] == b"3"
    assert record.metadata == {"brand": "visa"}
    assert set(CATALOGUE.category("payment-card").fields) == {*CARD, "removed_at"}


def test_a_merged_mail_is_refused_for_that_reason() -> None:
    """P3.2-exp-tpl, A20."""
    fields: dict[str, str | bytes] = {"message_id": "m-1", "channel": "EMAIL", "submitted_at": "2026-11-24T10:00:00Z", "body": b"dear Dana"}

    assert refusal("outgoing-message", fields, level="system-file") == ("EMAIL_BODY_NOT_COLLECTED", "channel")


@pytest.mark.parametrize("verifier", ["hunter2", "$2b$12$abc", "$argon2i$v=19$m=1,t=1,p=1$YQ$YQ", VERIFIER + " ", VERIFIER + "\nhunter2"])
def test_only_a_verifier_is_taken_for_one(verifier: str) -> None:
    """§2A C23: a password that comes in by mistake is refused, not stored."""
    assert refusal("access-credential", {**CREDENTIAL, "verifier": verifier}) == ("FIELD_INVALID", "verifier")


def test_an_access_key_is_kept_as_its_digest_and_a_public_key_without_its_comment() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ"
    record = prepared("access-credential", {**CREDENTIAL, "api_key_hash": "a" * 64, "ssh_pubkey": key})

    assert sealed(record).keys() == {"username", "verifier", "api_key_hash", "ssh_pubkey"}
    assert refusal("access-credential", {**CREDENTIAL, "api_key_hash": "key-1234"})[1] == "api_key_hash"
    assert refusal("access-credential", {**CREDENTIAL, "ssh_pubkey": f"{key} dana@laptop"})[1] == "ssh_pubkey"


@pytest.mark.parametrize("reasons", ["", "d", "a.a", "b.a", "a,b", "c.b"])
def test_a_former_customer_is_kept_for_at_least_one_of_three_reasons(reasons: str) -> None:
    """P3.8-reasons."""
    fields = {"phone": "0502345678", "ended_at": "2026-01-01T00:00:00Z", "reasons": reasons}

    assert refusal("former-customer-contact", fields)[1] == "reasons"
    for kept in ("a", "b", "c", "a.b", "a.c", "b.c", "a.b.c"):
        assert prepared("former-customer-contact", {**fields, "reasons": kept}).metadata["reasons"] == kept


def test_a_call_of_the_second_number_has_another_party_and_an_action_has_none() -> None:
    """P3.4-perm-party."""
    action = prepared("app-usage", USAGE)
    call = prepared("app-usage", {**USAGE, "kind": "CALL", "peer_number": "0522345678", "duration_s": "61"})

    assert [part.role for part in action.parts] == ["subject"]
    assert [part.role for part in call.parts] == ["subject", "peer"]
    assert sealed(call) == {"peer_number": b"+972522345678"}


def test_numbers_and_addresses_in_a_crash_are_made_unreadable() -> None:
    """P3.4-crash."""
    trace = "at dial(+972502345678) for dana@example.com, line 0502345679, build 12345, at 2026-11-24"
    fields = {"install_id": "i-1", "crashed_at": "2026-11-24T10:00:00Z", "trace": trace}

    stored = sealed(prepared("app-diagnostics", fields))["trace"].decode()

    assert stored == "at dial(•••) for •••, line •••, build 12345, at 2026-11-24"
    assert scrub(stored) == stored


@pytest.mark.parametrize("field", ["store_password", "content", "operating_entity", "device_contacts"])
def test_what_a_category_does_not_list_is_refused(field: str) -> None:
    """P3.4-perm-buy, P3.3-cdr, P3.3-services, P3.4-contacts."""
    purchase = {"store": "APPLE", "order_ref": "o-1", "product": "p-1", "amount": "990", "at": "2026-11-24T10:00:00Z"}

    reason = refusal("app-purchase", {**purchase, field: "x"})[0]

    assert reason == ("CATEGORY_NOT_COLLECTED" if field == "device_contacts" else "UNKNOWN_FIELD")


@pytest.mark.parametrize(
    ("category", "metadata", "occurred", "expected"),
    [
        ("app-usage", {"kind": "ACTION"}, NOW, NOW + timedelta(days=180)),
        ("app-usage", {"kind": "CALL"}, NOW, NOW + timedelta(days=365)),
        ("site-visitor", {"is_subscriber": "no"}, None, NOW + timedelta(days=365)),
        ("site-visitor", {"is_subscriber": "yes"}, None, NOW + timedelta(days=731)),
        ("billing-record", {"service": "VOICE"}, datetime(2024, 3, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=2557)),
        ("call-recording", {}, None, NOW + timedelta(days=1)),
        ("payment-card", {}, None, None),
    ],
)
def test_retention_counts_by_the_kind_of_record(
    category: str, metadata: Mapping[str, str], occurred: datetime | None, expected: datetime | None
) -> None:
    """§2B, P2.5-nonsub, P3.4-rec: a recording that nobody takes is gone after a day."""
    assert expiry(CATALOGUE.category(category), "", metadata, created=NOW, occurred=occurred) == expected


def test_a_record_at_the_end_of_the_calendar_has_no_tax_year_after_it() -> None:
    fields = {"invoice_no": "i-1", "service": "APP", "issued_at": "9999-06-01T00:00:00Z", "amount": "1"}

    assert refusal("billing-record", fields) == ("FIELD_INVALID", "issued_at")


def test_a_list_file_says_how_it_came_and_what_it_is() -> None:
    """P3.2.1-channels."""
    fields: dict[str, str | bytes] = {"sha256": "a" * 64, "channel": "SFTP", "ingress": "TLS", "body": b"050-2345678"}

    assert prepared("list-file", fields).metadata == {"sha256": "a" * 64, "channel": "SFTP", "ingress": "TLS"}
    assert refusal("list-file", {name: value for name, value in fields.items() if name != "channel"}) == ("FIELD_REQUIRED", "channel")
    assert refusal("list-file", {**fields, "channel": "POST"}) == ("FIELD_INVALID", "channel")
    with pytest.raises(InvalidArgumentError):
        prepared("list-file", {**fields, "sha256": "short"})
