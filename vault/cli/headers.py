"""What the header of a list file means: which column is which field, in Hebrew and in English.

Rules:
- A header is compared by its letters and digits only: case, spaces, underscores, quotes, geresh, gershayim and direction marks are spelling.
- What the user says with `--map` goes before what is recognised. A column that nothing is known about becomes an extra field where the category
  has them, and is refused where it has none: no column is dropped unless the user drops it.
- The first row may be a person's data instead of a header, so it is refused unless something in it is recognised and nothing in it looks like
  data; no error repeats a cell, columns are named by position.

Pure. The table of fields stands here because the command line speaks to the vault like every other client and does not see its catalogue; a test
holds the two together.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from vault.errors import InvalidArgumentError

_CONTACT = {
    "phone": (
        *(
            "mobile",
            "cell",
            "cellular",
            "cellphone",
            "cell number",
            "mobile phone",
            "mobile number",
            "tel",
            "telephone",
            "telephone number",
        ),
        *("phone number", "phone no", "phone 1", "mobile 1", "msisdn"),
        *("טלפון", "מספר טלפון", "מס' טלפון", "טל", "טל'", "נייד", "טלפון נייד", "מספר נייד", "מס' נייד", "טל' נייד", "מספר טלפון נייד"),
        *("סלולרי", "סלולארי", "טלפון סלולרי", "טלפון סלולארי", "מספר סלולרי", "פלאפון", "פלאפון נייד", "טלפון 1", "נייד 1"),
    ),
    "email": (
        *("mail", "mail address", "email address", "mailbox", "email 1"),
        *('דוא"ל', "דואל", "דואר אלקטרוני", "אימייל", "אי-מייל", "מייל", "מיילים", 'כתובת דוא"ל', "כתובת דואר אלקטרוני", "כתובת מייל"),
        *("כתובת אימייל", "תיבת דואר אלקטרוני"),
    ),
}
# Names of each field besides its own. A name whose unit or meaning is open (a bare "duration", a bare "name") is left out on purpose.
FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "end-customer-contact": _CONTACT,
    "list-membership": _CONTACT,
    "list-profile": {
        **_CONTACT,
        "first_name": ("first", "given name", "forename", "private name", "שם פרטי", "פרטי"),
        "last_name": ("last", "family", "family name", "surname", "שם משפחה", "משפחה", "שם המשפחה"),
        "address": (
            "full address",
            "postal address",
            "street address",
            "home address",
            "כתובת",
            "כתובת מלאה",
            "כתובת מגורים",
            "כתובת למשלוח",
        ),
    },
    "call-detail": {
        "cdr_id": ("cdr", "call id", "record id", "מזהה שיחה", "מזהה רשומת השיחה"),
        "shadow_number": ("shadow", "shadow no", "line number", "virtual number", "מספר צל", "מספר הקו", "מספר קו", "מספר וירטואלי"),
        "star_number": ("star", "star no", "short number", "כוכבית", "מספר כוכבית", "מספר מקוצר"),
        "calling": ("caller", "calling number", "calling party", "a number", "from", "מחייג", "מספר מחייג", "המספר המחייג", "הצד המחייג"),
        "called": ("callee", "called number", "called party", "b number", "to", "מחויג", "מספר מחויג", "המספר המחויג", "הצד המחויג"),
        "route_line": ("route", "routed to", "routed line", "קו מנותב", "נותב אל", "הקו שאליו נותבה השיחה"),
        "route_ip": ("ip", "ip address", "pbx ip", "pbx address", "כתובת ip", "כתובת מרכזייה", "כתובת ה-IP של המרכזייה"),
        "status": ("result", "outcome", "call status", "סטטוס", "תוצאה", "תוצאת השיחה", "מצב"),
        "duration_s": ("duration seconds", "duration in seconds", "duration sec", "seconds", "משך בשניות", "משך השיחה בשניות", "שניות"),
        "start_at": ("start", "start time", "started at", "call start", "מועד תחילת השיחה", "תחילת שיחה", "מועד התחלה", "תחילה"),
    },
    "number-mapping": {
        "real_number": ("real", "real phone", "users number", "מספר אמיתי", "המספר האמיתי"),
        "assigned_number": ("assigned", "virtual number", "second number", "מספר מוקצה", "המספר שהוקצה", "מספר שהוקצה", "מספר נוסף"),
        "service": ("service name", "שירות", "השירות"),
        "user_ref": ("user", "user id", "user reference", "מזהה משתמש", "מזהה המשתמש"),
        "valid_from": ("from", "start", "since", "assigned at", "תחילה", "תחילת ההקצאה", "תחילת הקצאה", "מתאריך", "בתוקף מ"),
        "valid_to": ("to", "until", "end", "valid until", "released at", "סוף", "סוף ההקצאה", "סוף הקצאה", "עד תאריך", "בתוקף עד"),
    },
    "business-account": {
        **_CONTACT,
        "full_name": ("contact", "contact name", "contact person", "שם מלא", "איש קשר", "שם איש קשר"),
        "company_name": ("company", "business name", "organisation", "organization", "חברה", "שם חברה", "שם החברה", "שם העסק", "שם עסק"),
        "company_no": (
            *("company number", "company id", "registration number"),
            *("ח.פ.", "מספר ח.פ.", "מס' ח.פ.", "מספר חברה", "ח.פ./ע.מ.", "עוסק מורשה", "מספר עוסק"),
        ),
        "billing_address": ("address", "invoice address", "כתובת", "כתובת לחיוב", "כתובת חיוב", "כתובת למשלוח חשבונית"),
        "account_manager": ("account manager id", "מנהל תיק", "מנהל התיק", "מזהה מנהל התיק"),
    },
}
TAKES_EXTRA = frozenset({"list-profile"})
_EXTRA = "extra"
_DROP = frozenset({"", "-"})
_MAX_NAME_CHARACTERS = 64  # longest key of an extra field, as the vault takes it
_POSITION = re.compile(r"#([1-9][0-9]{0,4})")
_DATA = re.compile(r"(?:[0-9][^0-9]{0,2}){7}|\S@\S+\.\S")


class Use(StrEnum):
    """What becomes of the cells of a column."""

    FIELD = "field"
    EXTRA = "extra"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Column:
    """How one column was understood.

    Attributes:
        position: one-based.
        use: what becomes of its cells.
        name: name of the field, for an extra field its header; empty if dropped. Not in `repr`: a header is the file's content.
    """

    position: int
    use: Use
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One `--map`: a column, by position or by header, and what it is.

    Attributes:
        number: which `--map` it is, one-based; errors name it by this.
        position: one-based; 0 if the column is named by its header.
        header: header in plain form; empty if the column is named by position.
        target: name of the field, `extra`, or empty to drop the column.
    """

    number: int
    position: int
    header: str = field(repr=False)
    target: str


@dataclass(frozen=True, slots=True)
class Header:
    """How a first row was understood.

    Attributes:
        columns: one for each column; cells to the right of them belong to no column.
        is_header: whether the row is a header, and not already data.
    """

    columns: tuple[Column, ...]
    is_header: bool


def parse_mapping(category: str, mapping: Iterable[str]) -> tuple[Entry, ...]:
    """Read `--map` values: `COLUMN=field`, `#3=field`, `COLUMN=extra`; `COLUMN=` and `COLUMN=-` drop the column.

    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, no file of this category can be imported. MAP_INVALID, not of this form, no such field, or two
            columns for one field.
    """
    fields = _fields_of(category)
    entries: list[Entry] = []
    for number, text in enumerate(mapping, start=1):
        column, equals, target = (part.strip() for part in text.rpartition("="))
        position = _POSITION.fullmatch(column)
        if not equals or not column:
            raise _map_invalid(number, "is not COLUMN=field or #NUMBER=field")
        target = "" if target in _DROP else target
        if target and target not in fields and not (target == _EXTRA and category in TAKES_EXTRA):
            raise _map_invalid(number, f"names no field of '{category}', which has {', '.join(fields)}")
        if target not in {"", _EXTRA} and target in {entry.target for entry in entries}:
            raise _map_invalid(number, f"gives a second column for '{target}'")
        entries.append(Entry(number, int(position[1]) if position else 0, "" if position else plain(column), target))
    return tuple(entries)


def count_recognised(cells: Sequence[str], category: str, entries: Iterable[Entry]) -> int:
    """How many cells of a first row are known headers; tells the right delimiter from a wrong one."""
    known = _LOOKUP[category].keys() | {entry.header for entry in entries if entry.header}
    return sum(plain(cell) in known for cell in cells)


def understand(cells: Sequence[str], category: str, entries: Sequence[Entry]) -> Header:
    """Say what each column is, from the first row that is not empty.

    Args:
        cells: the row, trimmed.
        category: what the rows are; checked by `parse_mapping`.
        entries: what the user says.
    Raises:
        InvalidArgumentError: HEADER_NOT_RECOGNISED, nothing in the row is known, or a part of it looks like data. COLUMN_UNKNOWN, a column is
            no field and the category has no others. COLUMN_AMBIGUOUS, two columns are one field. MAP_INVALID, no such column, or mapped twice.
    """
    said = _said(cells, entries)
    known = [_LOOKUP[category].get(plain(cell), "") for cell in cells]
    named = {entry.header for entry in entries if entry.header}
    suspect = [n for n, cell in enumerate(cells, start=1) if _DATA.search(cell) and not known[n - 1] and plain(cell) not in named]
    if named or (any(known) and not suspect):
        if suspect:
            raise _not_recognised(f"column {suspect[0]} of the first row looks like data")
        columns = _with_header(cells, category, said, known)
        _check_names(columns)
        return Header(columns, is_header=True)
    if not any(said.values()):
        raise _not_recognised("the first row looks like data" if suspect else "no column of the first row is known")
    return Header(_without_header(max(len(cells), *said), said), is_header=False)


def plain(header: str) -> str:
    """A header as it is compared: letters and digits of its NFKC form, case-folded; itself if it has none."""
    folded = unicodedata.normalize("NFKC", header).casefold()
    return "".join(letter for letter in folded if letter.isalnum()) or folded.strip()


def _fields_of(category: str) -> Mapping[str, tuple[str, ...]]:
    try:
        return FIELDS[category]
    except KeyError:
        raise InvalidArgumentError(
            "UNKNOWN_CATEGORY", f"files of these categories can be imported: {', '.join(FIELDS)}", field="category"
        ) from None


def _lookup(fields: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {plain(name): own for own, names in fields.items() for name in (own, *names)}


_LOOKUP = {category: _lookup(fields) for category, fields in FIELDS.items()}


def _said(cells: Sequence[str], entries: Sequence[Entry]) -> dict[int, str]:
    """What the user says, by position."""
    said: dict[int, str] = {}
    for entry in entries:
        places = [entry.position] if entry.position else [n for n, cell in enumerate(cells, start=1) if plain(cell) == entry.header]
        if not places:
            raise _map_invalid(entry.number, "names a column that the file does not have")
        if len(places) > 1:
            raise _map_invalid(entry.number, "names several columns; give one by position, as #NUMBER")
        if places[0] in said:
            raise _map_invalid(entry.number, "names a column that is mapped already")
        said[places[0]] = entry.target
    return said


def _with_header(cells: Sequence[str], category: str, said: Mapping[int, str], known: Sequence[str]) -> tuple[Column, ...]:
    taken = set(said.values()) - {"", _EXTRA}
    for position in said:
        if position > len(cells):
            raise _column_unknown(position, "is none of the header's")
    # Delimiters after the last header make columns without name and, if the rows are sound, without content.
    width = max((n for n, cell in enumerate(cells, start=1) if cell or n in said), default=0)
    columns = []
    for position, cell in enumerate(cells[:width], start=1):
        name, target = _shown(cell), said.get(position)
        if target is None:
            own = known[position - 1]
            target = own if own and own not in taken else _EXTRA
            if target == _EXTRA and category not in TAKES_EXTRA:
                raise _column_unknown(position, f"is no field of '{category}', or a second one of the same")
        if target != _EXTRA:
            columns.append(Column(position, Use.FIELD if target else Use.DROPPED, target))
        elif not name:
            raise _column_unknown(position, "has no header")
        elif len(name) > _MAX_NAME_CHARACTERS or not name.isprintable():
            raise _column_unknown(position, f"has a header of more than {_MAX_NAME_CHARACTERS} characters or with unprintable ones")
        else:
            columns.append(Column(position, Use.EXTRA, name))
    return tuple(columns)


def _without_header(width: int, said: Mapping[int, str]) -> tuple[Column, ...]:
    columns = []
    for position in range(1, width + 1):
        target = said.get(position, _EXTRA)
        if target == _EXTRA:
            raise _column_unknown(position, "has no header")
        columns.append(Column(position, Use.FIELD if target else Use.DROPPED, target))
    return tuple(columns)


def _check_names(columns: Sequence[Column]) -> None:
    counts = Counter((column.use, column.name) for column in columns if column.use is not Use.DROPPED)
    for (use, name), count in counts.items():
        if count > 1:
            places = ", ".join(str(column.position) for column in columns if (column.use, column.name) == (use, name))
            what = f"all mean '{name}'" if use is Use.FIELD else "have the same header"
            raise InvalidArgumentError("COLUMN_AMBIGUOUS", f"columns {places} {what}; choose with --map", columns=places)


def _shown(cell: str) -> str:
    """A header as the name of an extra field: NFC, on one line, without direction marks and other format characters."""
    text = "".join(letter for letter in unicodedata.normalize("NFC", cell) if unicodedata.category(letter) != "Cf")
    return " ".join(text.split())


def _not_recognised(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        "HEADER_NOT_RECOGNISED", f"{message}; name columns with --map COLUMN=field, or --map '#1=field' for a file without header"
    )


def _column_unknown(position: int, message: str) -> InvalidArgumentError:
    hint = f"use --map '#{position}=field', or --map '#{position}=-' to drop it"
    return InvalidArgumentError("COLUMN_UNKNOWN", f"column {position} {message}; {hint}", column=str(position))


def _map_invalid(number: int, message: str) -> InvalidArgumentError:
    return InvalidArgumentError("MAP_INVALID", f"--map number {number} {message}", field="map", number=str(number))
