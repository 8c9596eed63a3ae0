"""Numbers of cases in Israeli courts, as printed and in one spelling. Pure.

Since the courts keep their files by computer a case is `number-month-year`, e.g. `צ"א 12345-06-26`; before that, and in the Supreme Court still,
it is `number/year`, e.g. `בש"פ 1234/26`. In front stand one or two words that say which kind of case it is; their mark is typed in many ways.
"""

import re
from dataclasses import dataclass

from vault.errors import InvalidArgumentError

# Gershayim, geresh, and what keyboards offer instead of them.
_MARKS = str.maketrans(dict.fromkeys("״“”„″''׳‘’`´", '"'))
# Marks of direction, which come along when text is copied.
_DIRECTION = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
_KIND = r'(?P<kind>[א-ת]+(?:"+[א-ת]+)?(?: \([א-ת" ]+\))?(?: [א-ת]+(?:"+[א-ת]+)?)?)?'
_BY_MONTH = re.compile(rf"{_KIND} ?(?P<number>\d{{1,6}})-(?P<month>0?[1-9]|1[0-2])-(?P<year>\d{{2}}|\d{{4}})")
_BY_YEAR = re.compile(rf"{_KIND} ?(?P<number>\d{{1,6}})/(?P<year>\d{{2}}|\d{{4}})")


@dataclass(frozen=True, slots=True)
class CaseNumber:
    """A number as it was printed, and how it is compared.

    Attributes:
        kind: what stands before it, with a straight mark, e.g. `צ"א`; empty if nothing does.
        normalised: `12345-06-26`, or `1234/26`.
    """

    printed: str
    kind: str
    normalised: str


def parse(printed: str) -> CaseNumber:
    """Read a number of a case.

    Raises:
        InvalidArgumentError: CASE_NUMBER_INVALID.
    """
    text = " ".join(printed.translate(_DIRECTION).translate(_MARKS).split()).replace("–", "-").replace("־", "-")
    if found := _BY_MONTH.fullmatch(text):
        normalised = f"{int(found['number'])}-{int(found['month']):02}-{found['year'][-2:]}"
    elif found := _BY_YEAR.fullmatch(text):
        normalised = f"{int(found['number'])}/{found['year'][-2:]}"
    else:
        message = 'the case number is not of the form 12345-06-26 or 1234/26, with or without words like צ"א before it'
        raise InvalidArgumentError("CASE_NUMBER_INVALID", message, field="instrument.case_number")
    return CaseNumber(printed, re.sub('"+', '"', found["kind"] or ""), normalised)
