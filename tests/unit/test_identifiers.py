"""One spelling per identifier (L42, E19), and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import InvalidArgumentError
from vault.identifiers import IdentifierKind, normalise

SPELLINGS = [
    "0502345678",
    "050-2345678",
    "050-234-5678",
    "+972502345678",
    "972502345678",
    "+972-50-2345678",
    "+972 50 234 5678",
    "00972502345678",
    " 0502345678 ",
    "\u200e050-2345678\u200f",
    "０５０２３４５６７８",
    "050\u00a0234\u00a05678",
]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=range(len(SPELLINGS)))
def test_every_spelling_of_a_number_is_one_number(spelling: str) -> None:
    assert normalise(IdentifierKind.PHONE, spelling) == "+972502345678"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("email", "Noa.Cohen@EXAMPLE.com", "noa.cohen@example.com"),
        ("email", "user@דוגמה.co.il", "user@xn--4dbclt4e.co.il"),
        ("company-number", "51-234567-8", "512345678"),
        ("company-number", "1234567", "001234567"),
        ("company-name", 'כהן ובניו בע"מ', "כהן ובניו"),
        ("company-name", "כהן ובניו בע״מ", "כהן ובניו"),
        ("company-name", "Cohen & Sons, Ltd.", "cohen & sons"),
        ("star-number", "*2000", "*2000"),
        ("virtual-number", "97231234567", "+97231234567"),
        ("username", "ＮＯＡ", "noa"),
    ],
)
def test_normal_forms(kind: str, value: str, expected: str) -> None:
    if kind == "email" and expected.startswith("user@xn"):
        expected = "user@" + "דוגמה".encode("idna").decode() + ".co.il"

    assert normalise(IdentifierKind(kind), value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("phone", value) for value in ("12", "abc", "05-", "0501", "+1", "", "050234567889", "0502345678 ext 5")],
        *[
            ("email", value)
            for value in ("a", "a@b", "@example.com", "a b@example.com", '"a"@example.com', "a@@example.com", "a..b@example.com")
        ],
        ("company-number", "51-23-x"),
        ("company-number", "1234567890"),
        ("company-name", '"-"'),
        ("star-number", "2000"),
    ],
)
def test_unusable_identifier_is_refused_without_repeating_it(kind: str, value: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        normalise(IdentifierKind(kind), value)

    assert refused.value.reason == "IDENTIFIER_INVALID"
    assert len(value) < 3 or value not in str(refused.value)


@given(st.sampled_from(list(IdentifierKind)), st.text(max_size=40))
def test_a_normal_form_is_its_own_normal_form(kind: IdentifierKind, value: str) -> None:
    try:
        once = normalise(kind, value)
    except InvalidArgumentError:
        return

    assert normalise(kind, once) == once


@given(st.sampled_from(["50", "52", "53", "54"]), st.integers(2_000_000, 9_999_999))
def test_local_and_international_forms_agree(prefix: str, number: int) -> None:
    try:
        local = normalise(IdentifierKind.PHONE, f"0{prefix}{number}")
    except InvalidArgumentError:
        return

    assert normalise(IdentifierKind.PHONE, f"972{prefix}{number}") == local == f"+972{prefix}{number}"
