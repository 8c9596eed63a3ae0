"""How Israeli courts number their cases, in the spellings that people type (§5.1)."""

import pytest

from vault.errors import InvalidArgumentError
from vault.operations.case_number import parse


@pytest.mark.parametrize(
    ("printed", "kind", "normalised"),
    [
        ("12345-03-26", "", "12345-03-26"),
        ('צ"א 12345-06-26', 'צ"א', "12345-06-26"),
        ("צ״א 12345-06-26", 'צ"א', "12345-06-26"),
        ("צ''א  12345-6-2026", 'צ"א', "12345-06-26"),
        ("\u200fצ״א \u200e12345-06-26\u200f", 'צ"א', "12345-06-26"),
        ("צ”א 012345–06–26", 'צ"א', "12345-06-26"),
        ('ה"ת 40917-12-26', 'ה"ת', "40917-12-26"),
        ('צ"א (מחוזי ת"א) 1-01-26', 'צ"א (מחוזי ת"א)', "1-01-26"),
        ('בש"פ 1234/26', 'בש"פ', "1234/26"),
        ("בג״ץ 1234/2026", 'בג"ץ', "1234/26"),
        ("תיק פלילי 90123/05", "תיק פלילי", "90123/05"),
    ],
)
def test_one_case_has_one_number_however_it_is_typed(printed: str, kind: str, normalised: str) -> None:
    case = parse(printed)

    assert (case.printed, case.kind, case.normalised) == (printed, kind, normalised)


@pytest.mark.parametrize(
    "printed",
    [
        "",
        'צ"א',
        "12345",
        "12345-13-26",
        "12345-00-26",
        "1234567-06-26",
        "12345-06-6",
        "12345/6",
        "PE 12345-06-26",
        "12345-06-26 א",
        "1-2-3-26",
    ],
)
def test_what_no_court_numbers_a_case_with_is_refused(printed: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse(printed)

    assert (refused.value.reason, refused.value.field) == ("CASE_NUMBER_INVALID", "instrument.case_number")
