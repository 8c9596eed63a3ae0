"""From what a caller sends to what can be sealed: checked, in normal form, split by party – or refused by field and rule, never by value."""

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.catalogue.loader import load
from vault.catalogue.model import Category
from vault.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError, VaultError
from vault.identifiers import IdentifierKind
from vault.operations.core import Limits, Vault
from vault.operations.preparing import Identifier, Prepared, RecordInput, encoded, expiry, prepare, prepare_values

CATALOGUE = load()
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SUBJECT = "tenants/acme/subjects/" + "a" * 26
CARD = "4111 1111 1111 1111"  # the schemes' published test number


def vault(*, region: str = "IL", limits: Limits | None = None, **categories: Category) -> Vault:
    """What preparing uses of a vault: catalogue, region and limits. The rest is not there and must not be touched."""
    changed = {category.name: category for category in categories.values()}
    catalogue = replace(CATALOGUE, categories=MappingProxyType({**CATALOGUE.categories, **changed}))
    used = {"catalogue": catalogue, "region": region, "limits": limits or Limits()}
    return Vault(**{part.name: cast("Any", used.get(part.name)) for part in dataclass_fields(Vault)})


VAULT = vault()
CALL: Mapping[str, str | bytes] = MappingProxyType(
    {
        "cdr_id": "cdr-1",
        "shadow_number": "03-6123456",
        "star_number": "*2000",
        "calling": "050-2345678",
        "called": "+972 52 234 5678",
        "route_line": "0361 23457",
        "route_ip": "198.51.100.7",
        "status": "answered",
        "duration_s": "0061",
        "start_at": "2026-11-23T12:00:00+02:00",
    }
)
MESSAGE: Mapping[str, str | bytes] = MappingProxyType(
    {"message_id": "m-1", "from": "0502345678", "virtual_number": "97231234567", "body": b"hello", "received_at": "2026-11-23T10:00:00Z"}
)


def call(**changes: str | None) -> RecordInput:
    return RecordInput("call-detail", {name: value for name, value in {**CALL, **changes}.items() if value is not None})


def message(*, level: str = "report", **changes: str | bytes) -> RecordInput:
    return RecordInput("incoming-message", {**MESSAGE, **changes}, level=level)


def profile(fields: Mapping[str, str | bytes] | None = None, extra: Mapping[str, str] | None = None, subject: str = SUBJECT) -> RecordInput:
    return RecordInput("list-profile", fields or {}, extra or {}, subject=subject)


def contact(subject: str = "", list_id: str = "", **fields: str) -> RecordInput:
    return RecordInput("end-customer-contact", fields, subject=subject, list_id=list_id)


def refusal(record: RecordInput, by: Vault = VAULT) -> VaultError:
    with pytest.raises(VaultError) as refused:
        prepare(by, record)

    for value in (*record.fields.values(), *record.extra.values(), *record.extra):
        text = value if isinstance(value, str) else value.decode(errors="ignore")
        assert len(text) < 4 or text not in f"{refused.value} {refused.value.metadata}"
    return refused.value


def roles(prepared: Prepared) -> dict[str, list[str]]:
    return {part.role: list(part.fields) for part in prepared.parts}


# ---- what becomes of a record ----------------------------------------------------------------------------------------------------------------


def test_a_call_is_split_by_party() -> None:
    """P3.3-cdr: each side is sealed under its own key, so that it can vanish alone."""
    prepared = prepare(VAULT, call())

    assert roles(prepared) == {
        "customer": ["shadow_number", "star_number", "route_line", "route_ip"],
        "calling": ["calling"],
        "called": ["called"],
    }
    assert prepared.category.name == "call-detail"
    assert (prepared.level, prepared.list_id, prepared.subject) == ("", "", "")


def test_every_value_is_in_normal_form() -> None:
    prepared = prepare(VAULT, call())

    assert [dict(part.fields) for part in prepared.parts] == [
        {"shadow_number": b"+97236123456", "star_number": b"*2000", "route_line": b"+97236123457", "route_ip": b"198.51.100.7"},
        {"calling": b"+972502345678"},
        {"called": b"+972522345678"},
    ]
    assert prepared.metadata == {"cdr_id": "cdr-1", "status": "answered", "duration_s": "61", "start_at": "2026-11-23T10:00:00Z"}


def test_no_part_holds_what_stays_in_clear_and_nothing_clear_is_in_a_part() -> None:
    """I2."""
    prepared = prepare(VAULT, call())

    sealed = {name for part in prepared.parts for name in part.fields}
    assert not sealed & prepared.metadata.keys()
    assert sealed | prepared.metadata.keys() == CALL.keys()


def test_each_party_is_found_by_its_own_identifiers_and_searched_by_all_of_them() -> None:
    customer, calling, called = prepare(VAULT, call()).parts

    assert customer.identities == (Identifier(IdentifierKind.VIRTUAL_NUMBER, "+97236123456", "shadow_number"),)
    assert customer.searchable == (
        *customer.identities,
        Identifier(IdentifierKind.STAR_NUMBER, "*2000", "star_number"),
        Identifier(IdentifierKind.PHONE, "+97236123457", "route_line"),
    )
    assert calling.identities == calling.searchable == (Identifier(IdentifierKind.PHONE, "+972502345678", "calling"),)
    assert called.identities == called.searchable == (Identifier(IdentifierKind.PHONE, "+972522345678", "called"),)


def test_the_best_identifier_comes_first_whatever_the_order_of_the_request() -> None:
    """A person is found or created by the first; the catalogue says which that is."""
    for fields in ({"email": "noa@example.com", "phone": "0502345678"}, {"phone": "0502345678", "email": "noa@example.com"}):
        [part] = prepare(VAULT, contact(**fields)).parts

        assert [item.field for item in part.identities] == ["phone", "email"]


def test_one_identifier_of_several_is_enough() -> None:
    [part] = prepare(VAULT, contact(email="Noa@Example.com")).parts

    assert part.identities == (Identifier(IdentifierKind.EMAIL, "noa@example.com", "email"),)
    assert part.fields == {"email": b"noa@example.com"}


def test_one_number_on_both_sides_of_a_call_is_two_parts() -> None:
    _, calling, called = prepare(VAULT, call(called="0502345678")).parts

    assert calling.identities[0].value == called.identities[0].value
    assert (calling.role, called.role) == ("calling", "called")


def test_numbers_without_a_country_are_of_the_vaults_region() -> None:
    numbers = {"calling": "020 7946 0018", "called": "020 7946 0019", "shadow_number": "020 7946 0020", "route_line": None}
    prepared = prepare(vault(region="GB"), call(**numbers))

    assert prepared.parts[1].fields == {"calling": b"+442079460018"}


def test_times_are_taken_out_and_in_utc() -> None:
    prepared = prepare(VAULT, call())

    assert prepared.occur_time == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    assert prepared.occur_time.tzinfo is UTC
    assert (prepared.valid_from, prepared.valid_to) == (None, None)


def test_an_interval_is_taken_out() -> None:
    fields = {"real_number": "0502345678", "assigned_number": "0522345678", "service": "NUM2", "valid_from": "2026-01-01T00:00:00Z"}

    open_ended = prepare(VAULT, RecordInput("number-mapping", fields))
    closed = prepare(VAULT, RecordInput("number-mapping", {**fields, "valid_to": "2026-02-01T02:00:00+02:00"}))

    assert (open_ended.valid_from, open_ended.valid_to) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert (closed.valid_from, closed.valid_to) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


def test_extra_fields_are_one_sealed_map() -> None:
    [part] = prepare(VAULT, profile(extra={"shoe size": "38", "שם חיבה": "נונו"})).parts

    assert dict(part.fields) == {"extra": '{"shoe size":"38","שם חיבה":"נונו"}'.encode()}
    assert part.searchable == ()


def test_a_named_subject_owns_the_record_even_without_any_field() -> None:
    prepared = prepare(VAULT, RecordInput("list-membership", {"source": "API"}, subject=SUBJECT, list_id="spring"))

    assert (prepared.subject, prepared.list_id) == ("a" * 26, "spring")
    assert [(part.role, dict(part.fields), part.identities) for part in prepared.parts] == [("subject", {}, ())]


def test_a_record_prepared_again_from_its_normal_form_is_the_same() -> None:
    first = prepare(VAULT, call())
    normal = {name: value.decode() for part in first.parts for name, value in part.fields.items()} | dict(first.metadata)

    assert prepare(VAULT, RecordInput("call-detail", normal)) == first


def test_nothing_personal_shows_in_the_text_form_of_what_is_prepared() -> None:
    record = contact(phone="0502345678", email="noa@example.com")

    shown = f"{record!r} {prepare(VAULT, record)!r}"

    assert not any(value in shown for value in ("502345678", "noa", "example.com"))


@pytest.mark.parametrize(("value", "sealed"), [("נועה", "נועה".encode()), (b"\xff\x00", b"\xff\x00"), ({"ב": "א"}, '{"ב":"א"}'.encode())])
def test_values_are_sealed_as_bytes(value: str | bytes | dict[str, str], sealed: bytes) -> None:
    assert encoded(value) == sealed


# ---- what is refused -------------------------------------------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[RecordInput, str, str]] = {
    "unknown category": (RecordInput("nonsense", {}), "UNKNOWN_CATEGORY", "category"),
    "no category": (RecordInput("", {}), "UNKNOWN_CATEGORY", "category"),
    "category never stored": (RecordInput("device-sms", {}), "CATEGORY_NOT_COLLECTED", "category"),
    "unknown field": (call(colour="blue"), "UNKNOWN_FIELD", "fields"),
    "card field": (call(cvv="123"), "SAD_FORBIDDEN", "fields"),
    "field never stored": (call(device_contacts="x"), "CATEGORY_NOT_COLLECTED", "fields"),
    "field missing": (call(calling=None), "FIELD_REQUIRED", "calling"),
    "required field empty": (call(calling=""), "FIELD_REQUIRED", "calling"),
    "optional field empty": (call(route_ip=""), "FIELD_INVALID", "route_ip"),
    "number too short": (call(calling="12"), "IDENTIFIER_INVALID", "calling"),
    "star number without star": (call(star_number="2000"), "IDENTIFIER_INVALID", "star_number"),
    "word outside the set": (call(status="ringing"), "FIELD_INVALID", "status"),
    "negative number": (call(duration_s="-1"), "FIELD_INVALID", "duration_s"),
    "number with exponent": (call(duration_s="1e3"), "FIELD_INVALID", "duration_s"),
    "time in words": (call(start_at="yesterday"), "FIELD_INVALID", "start_at"),
    "time without offset": (call(start_at="2026-11-23T12:00:00"), "FIELD_INVALID", "start_at"),
    "day that is none": (call(start_at="2026-02-30T12:00:00Z"), "FIELD_INVALID", "start_at"),
    "sentence for an id": (call(cdr_id="call of Noa"), "FIELD_INVALID", "cdr_id"),
    "telephone number for an id": (call(cdr_id="0502345678"), "FIELD_INVALID", "cdr_id"),
    "telephone number for a list": (contact(phone="0522345678", list_id="0502345678"), "NAME_INVALID", "list"),
    "text too long": (call(route_ip="x" * 65), "FIELD_INVALID", "route_ip"),
    "level missing": (message(level=""), "LEVEL_INVALID", "level"),
    "level unknown": (message(level="archive"), "LEVEL_INVALID", "level"),
    "level where there is none": (replace(call(), level="report"), "LEVEL_INVALID", "level"),
    "text for bytes": (message(body="text"), "FIELD_INVALID", "body"),
    "no bytes": (message(body=b""), "FIELD_INVALID", "body"),
    "bytes for text": (RecordInput("call-detail", {**CALL, "calling": b"0502345678"}), "FIELD_INVALID", "calling"),
    "no identifier": (contact(channel="WEB"), "NO_USABLE_IDENTIFIER", "phone"),
    "sentence for a list": (contact(phone="0502345678", list_id="a list of people"), "NAME_INVALID", "list"),
    "subject without a name": (contact(phone="0502345678", subject="noa"), "NAME_INVALID", "record.subject"),
    "subject with too long an id": (contact(phone="0502345678", subject=SUBJECT + "b"), "NAME_INVALID", "record.subject"),
    "profile of nobody": (profile({"first_name": "נועה"}, subject=""), "NO_USABLE_IDENTIFIER", "record"),
    "membership of nobody": (RecordInput("list-membership", {"source": "API"}), "NO_USABLE_IDENTIFIER", "record"),
    "text for a map": (profile({"extra": "text"}), "FIELD_INVALID", "extra"),
    "extra given twice": (profile({"extra": "text"}, {"a": "b"}), "FIELD_INVALID", "extra"),
    "too many extra fields": (profile(extra={str(number): "x" for number in range(51)}), "FIELD_INVALID", "extra"),
    "empty key": (profile(extra={"": "x"}), "FIELD_INVALID", "extra"),
    "long key": (profile(extra={"k" * 65: "x"}), "FIELD_INVALID", "extra"),
    "key on two lines": (profile(extra={"a\nb": "x"}), "FIELD_INVALID", "extra"),
    "zero byte": (profile(extra={"a": "x\x00"}), "FIELD_INVALID", "extra"),
    "card key": (profile(extra={"CVV": "x"}), "SAD_FORBIDDEN", "extra"),
    "spelled-out card key": (profile(extra={"Card Number": "x"}), "SAD_FORBIDDEN", "extra"),
    "extra where there is none": (RecordInput("call-detail", CALL, {"a": "b"}), "UNKNOWN_FIELD", "fields"),
}


@pytest.mark.parametrize(("record", "reason", "field"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_field_and_reason(record: RecordInput, reason: str, field: str) -> None:
    refused = refusal(record)

    assert isinstance(refused, InvalidArgumentError)
    assert (refused.reason, refused.field) == (reason, field)


def test_an_identifier_that_cannot_be_used_is_named_by_field_and_kind() -> None:
    refused = refusal(contact(phone="0502345678", email="noa at example"))

    assert (refused.field, refused.metadata) == ("email", {"kind": "email"})


def test_an_interval_that_ends_before_it_begins_is_refused() -> None:
    fields = {"real_number": "0502345678", "assigned_number": "0522345678", "service": "NUM2", "valid_from": "2026-01-01T00:00:00Z"}

    for end in ("2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T01:00:00+02:00"):
        refused = refusal(RecordInput("number-mapping", {**fields, "valid_to": end}))
        assert (refused.reason, refused.field) == ("FIELD_INVALID", "valid_to")


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (profile({"first_name": f"נועה {CARD}"}), "first_name"),
        (profile({"address": f"\u200f{CARD}\u200e"}), "address"),
        (profile(extra={"note": CARD}), "extra"),
        (profile(extra={CARD: "x"}), "extra"),
        (message(body=f"card {CARD}".encode()), "body"),
        (message(body=f"כרטיס {CARD}".encode()), "body"),
        (message(body=f"כרטיס {CARD}".encode("utf-16-be")), "body"),
        (message(body=f"card {CARD}".encode("utf-16-le")), "body"),
        (message(body=b"\xff\xfe 4111\xff1111 1111 1111"), "body"),
    ],
    ids=["name", "direction marks", "value", "key", "body", "Hebrew body", "UTF-16 body", "little-endian body", "damaged body"],
)
def test_a_card_number_in_anything_people_write_is_refused(record: RecordInput, field: str) -> None:
    """L40: no card data in free fields, list extras and message bodies. Harm: keys of extra fields and bodies, which are bytes, went unread."""
    refused = refusal(record)

    assert (refused.reason, refused.field) == ("PAN_IN_FREE_FIELD", field)


@pytest.mark.parametrize(
    "record",
    [profile(extra={"note": "cvv 123"}), message(body="קוד אבטחה 123".encode()), profile({"last_name": "CVC: 4821"})],
    ids=["extra", "body", "name"],
)
def test_a_security_code_in_anything_people_write_is_refused(record: RecordInput) -> None:
    assert refusal(record).reason == "SAD_FORBIDDEN"


@pytest.mark.parametrize("body", ["call 050-2345678 or 052-2345678", "order 20261123 of 150 pieces", "שלום", "קוד: 1234"])
def test_an_ordinary_body_is_kept_as_it_is(body: str) -> None:
    [part] = prepare(VAULT, message(body=body.encode())).parts

    assert part.fields["body"] == body.encode()


def test_bytes_that_are_no_text_are_kept_as_they_are() -> None:
    body = bytes(range(256)) * 4

    [part] = prepare(VAULT, message(body=body)).parts

    assert part.fields["body"] == body


@pytest.mark.parametrize("category", ["call-detail", "incoming-message"])
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "9999-06-01T00:00:00Z"])
def test_a_moment_after_which_the_calendar_ends_is_refused(category: str, moment: str) -> None:
    """Harm: retention counted from such a moment overflowed while the record was stored, an internal error in the middle of a transaction."""
    record = call(start_at=moment) if category == "call-detail" else message(received_at=moment)
    field = "start_at" if category == "call-detail" else "received_at"

    refused = refusal(record)

    assert (refused.reason, refused.field) == ("FIELD_INVALID", field)


@pytest.mark.parametrize(("category", "field"), [("number-mapping", "valid_to"), ("complaint-case", "closed_at")])
def test_an_end_after_which_the_calendar_ends_is_refused_as_well(category: str, field: str) -> None:
    mapped = {"real_number": "0502345678", "assigned_number": "0732345678", "service": "NUM2", "valid_from": "2026-01-01T00:00:00Z"}
    case = {"case_no": "c-1", "channel": "LETTER", "text": "hello"}
    fields: Mapping[str, str | bytes] = {**(mapped if category == "number-mapping" else case), field: "9999-06-01T00:00:00Z"}

    refused = refusal(RecordInput(category, fields, subject=SUBJECT))

    assert (refused.reason, refused.field) == ("FIELD_INVALID", field)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9990-01-01T00:00:00Z"])
def test_a_moment_of_the_calendar_is_taken(moment: str) -> None:
    assert prepare(VAULT, call(start_at=moment)).metadata["start_at"] == moment


def test_a_record_above_the_limit_is_refused_with_the_limit() -> None:
    body = b"x" * 1000
    small = vault(limits=Limits(record_bytes=1400))
    smaller = vault(limits=Limits(record_bytes=1300))

    assert prepare(small, message(body=body)).parts
    refused = refusal(message(body=body), smaller)

    assert isinstance(refused, ResourceExhaustedError)
    assert (refused.reason, refused.metadata) == ("RECORD_TOO_LARGE", {"limit": "1300"})


# ---- parts of a record -----------------------------------------------------------------------------------------------------------------------


def test_some_fields_of_a_record_are_checked_like_all_of_them() -> None:
    category = CATALOGUE.category("call-detail")

    normal = prepare_values(VAULT, category, {"calling": "050-2345678"}, {}, partial=True)

    assert normal == {"calling": "+972502345678"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"calling": "x"}, "IDENTIFIER_INVALID"),
        ({"colour": "x"}, "UNKNOWN_FIELD"),
        ({"calling": ""}, "FIELD_REQUIRED"),
        ({"pin": "1"}, "SAD_FORBIDDEN"),
    ],
    ids=["identifier", "unknown", "empty", "card"],
)
def test_some_fields_that_do_not_fit_are_refused(fields: dict[str, str | bytes], reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        prepare_values(VAULT, CATALOGUE.category("call-detail"), fields, {}, partial=True)

    assert refused.value.reason == reason


# ---- retention -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "level", "occurred", "expected"),
    [
        ("call-detail", "", NOW - timedelta(days=5), NOW + timedelta(days=360)),
        ("call-detail", "", None, NOW + timedelta(days=365)),
        ("incoming-message", "system-log", NOW, NOW + timedelta(days=7)),
        ("incoming-message", "report", NOW, NOW + timedelta(days=365)),
        ("incoming-message", "system-file", NOW, NOW + timedelta(days=180)),
        ("end-customer-contact", "", None, None),
        ("business-account", "", None, None),
        ("number-mapping", "", NOW, None),
    ],
)
def test_retention_counts_from_what_is_known_when_a_record_is_stored(
    category: str, level: str, occurred: datetime | None, expected: datetime | None
) -> None:
    """§2B. None: it counts from something that has not happened yet."""
    assert expiry(CATALOGUE.category(category), level, {}, created=NOW, occurred=occurred) == expected


@pytest.mark.parametrize(
    ("category", "field", "days"),
    [
        ("number-mapping", "valid_to", 2557),
        ("email-template", "ended_at", 30),
        ("payment-card", "removed_at", 396),
        ("access-credential", "closed_at", 1),
        ("complaint-case", "closed_at", 2557),
    ],
)
def test_retention_counts_from_the_end_that_a_record_tells(category: str, field: str, days: int) -> None:
    """§2B: C09, C14, C16, C23, C28; without the field, from nothing yet."""
    told = {field: "2026-02-01T00:00:00Z"}

    assert expiry(CATALOGUE.category(category), "", told, created=NOW, occurred=NOW) == datetime(2026, 2, 1, tzinfo=UTC) + timedelta(
        days=days
    )
    assert expiry(CATALOGUE.category(category), "", {}, created=NOW, occurred=NOW) is None


# ---- laws ------------------------------------------------------------------------------------------------------------------------------------

short = st.text(max_size=30)
FIELD_NAMES = sorted({*CALL, *MESSAGE, "phone", "email", "extra", "first_name", "pin"})


@settings(deadline=None)
@given(
    category=st.sampled_from(sorted(CATALOGUE.categories)) | short,
    fields=st.dictionaries(st.sampled_from(FIELD_NAMES) | short, short | st.binary(max_size=30), max_size=12),
    extra=st.dictionaries(short, short, max_size=5),
    level=st.sampled_from(["", "report", "system-log"]) | short,
    subject=st.sampled_from(["", SUBJECT]) | short,
    list_id=st.sampled_from(["", "spring"]) | short,
)
def test_any_input_is_prepared_or_refused_by_reason(
    category: str, fields: dict[str, str | bytes], extra: dict[str, str], level: str, subject: str, list_id: str
) -> None:
    """Hostile input is never an internal error."""
    try:
        prepare(VAULT, RecordInput(category, fields, extra, subject, level, list_id))
    except (InvalidArgumentError, FailedPreconditionError, ResourceExhaustedError) as error:
        refused = error
    else:
        return

    assert refused.reason.isupper()


@settings(deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(CALL)), st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat) | short, max_size=3)
)
def test_a_call_with_anything_in_it_is_prepared_or_refused_by_reason(changes: dict[str, str]) -> None:
    try:
        prepared = prepare(VAULT, RecordInput("call-detail", {**CALL, **changes}))
    except InvalidArgumentError as error:
        refused = error
    else:
        assert len(prepared.parts) == 3
        return

    assert refused.reason in {"FIELD_INVALID", "FIELD_REQUIRED", "IDENTIFIER_INVALID"}
    assert refused.field in changes
