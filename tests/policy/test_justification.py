"""A justification is a sentence with a checkable reference and without personal data (P1.6b-need, A30)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault import names, scan
from vault.errors import InvalidArgumentError
from vault.policy.decide import Reference
from vault.policy.justification import check

REASON = "customer reports that calls drop"
ID = "a" * 26


def nothing_found(_: str) -> str | None:
    return None


def checked(reference: str = "", reason: str = REASON, pattern: str = r"[A-Z]{2,10}-\d{1,9}") -> Reference:
    return check("technical-fault", reference, reason, reference_pattern=pattern, find_personal_data=scan.find_personal_data)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("", Reference.NONE),
        ("OPS-4711", Reference.TICKET),
        (f"tenants/acme/customerRequests/{ID}", Reference.CUSTOMER_REQUEST),
        (f"tenants/acme/orders/{ID}", Reference.ORDER),
        (f"tenants/acme/incidents/{ID}", Reference.INCIDENT),
        (f"tenants/{'a' * 63}/customerRequests/{ID}", Reference.CUSTOMER_REQUEST),
    ],
)
def test_a_reference_is_known_by_its_form(reference: str, kind: Reference) -> None:
    assert checked(reference) is kind


@pytest.mark.parametrize(
    "reference",
    [
        "4711",
        "ops-4711",
        "OPS-4711 ",
        "OPS-4711\n",
        "see OPS-4711",
        "tenants/acme",
        "tenants/acme/orders/1",
        f"tenants/acme/erasures/{ID}",
        f"tenants/ACME/orders/{ID}",
        f"tenants/acme/orders/{ID}/exports/{ID}",
        f"/tenants/acme/orders/{ID}",
    ],
)
def test_a_reference_of_no_known_form_is_refused(reference: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checked(reference)

    assert (caught.value.reason, caught.value.field) == ("REFERENCE_INVALID", "justification.reference")


def test_a_ticket_longer_than_64_characters_is_refused_even_if_the_pattern_takes_it() -> None:
    assert checked("A" * 64, pattern="A+") is Reference.TICKET

    with pytest.raises(InvalidArgumentError) as caught:
        checked("A" * 65, pattern="A+")

    assert caught.value.reason == "REFERENCE_INVALID"


@pytest.mark.parametrize(
    "reason", [REASON, "תקלה בניתוב שיחות נכנסות", "\u200fתקלה בניתוב שיחות\u200f", "abcde fghij", "x" * 490 + " sentences"]
)
def test_a_sentence_is_accepted(reason: str) -> None:
    assert checked(reason=reason) is Reference.NONE


@pytest.mark.parametrize(
    "reason",
    [
        "",
        ".",
        "..........  ..........",
        "1234567890 1234567890 ticket",
        "because",
        "incomprehensible",
        "abcd fghij",
        "incomprehensible .",
        "x" * 491 + " sentences",
        "two lines\nof a sentence",
        "a sentence with a bell\x07",
    ],
)
def test_what_is_no_sentence_is_refused(reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checked(reason=reason)

    assert (caught.value.reason, caught.value.field) == ("JUSTIFICATION_REQUIRED", "justification.reason")


def test_a_purpose_is_required() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check("", "", REASON, find_personal_data=nothing_found)

    assert (caught.value.reason, caught.value.field) == ("JUSTIFICATION_REQUIRED", "justification.purpose")


@pytest.mark.parametrize(
    ("reference", "reason", "kind", "field", "value"),
    [
        ("", "customer at 050-1234567 complains", "phone", "justification.reason", "050-1234567"),
        ("", "mail from noa@example.com bounced", "email", "justification.reason", "noa@example.com"),
        ("0501234567", REASON, "phone", "justification.reference", "0501234567"),
    ],
)
def test_personal_data_is_refused_by_its_kind_and_never_repeated(reference: str, reason: str, kind: str, field: str, value: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checked(reference, reason, pattern=r"\d+")

    error = caught.value
    assert (error.reason, error.field, error.metadata["kind"]) == ("PII_IN_JUSTIFICATION", field, kind)
    assert value not in f"{error} {error!r} {error.metadata}"


def test_random_ids_of_resources_are_not_taken_for_personal_data() -> None:
    """Base32 may spell long runs of digits."""
    reference = "tenants/acme/orders/2345672345672345672345672a"

    assert check("court-order", reference, REASON, find_personal_data=lambda text: "phone" if "2345" in text else None) is Reference.ORDER


@given(seed=st.binary(min_size=16, max_size=16), tenant=st.from_regex(names.TENANT_ID, fullmatch=True).filter(lambda t: t != "system"))
def test_the_name_of_every_order_is_a_reference(seed: bytes, tenant: str) -> None:
    name = names.ChildName(tenant, "orders", names.new_id(lambda _: seed))

    assert checked(str(name)) is Reference.ORDER


@given(reason=st.text(max_size=600), reference=st.text(max_size=80))
def test_any_text_is_accepted_or_refused_and_never_repeated(reason: str, reference: str) -> None:
    try:
        check("technical-fault", reference, reason, find_personal_data=nothing_found)
    except InvalidArgumentError as error:
        refused = error
    else:
        return

    assert (refused.reason, refused.field) in {
        ("JUSTIFICATION_REQUIRED", "justification.reason"),
        ("REFERENCE_INVALID", "justification.reference"),
    }
    assert all(len(text) < 12 or text not in f"{refused} {refused.metadata}" for text in (reason, reference))
