"""Write the sample input of the demo: two lists, calls, number mappings and a court order, with what must come out of them.

    python deploy/demo/make_samples.py [FOLDER]

Rules:
- Wholly invented. Names are common ones put together at random, numbers are drawn at random from those that can exist, mail domains are the ones
  reserved for examples (RFC 2606), the card number is a card scheme's published test number, and no court issued the order.
- Deterministic: the same files with every run, the spreadsheet by its cells. `tests/unit/test_demo_samples.py` holds the committed files to that.
- `expected.json` is counted while the rows are made up, not by reading them back: the importer is tested against the intention.

Needs the standard library and openpyxl.
"""

import csv
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import openpyxl

FIRST_NAMES = (
    "אביגיל",
    "אור",
    "איתי",
    "אלון",
    "גיל",
    "דנה",
    "הדס",
    "חן",
    "טל",
    "יואב",
    "יונתן",
    "לירון",
    "מיכל",
    "נועם",
    "עדי",
    "ענת",
    "רוני",
    "שי",
)
LAST_NAMES = (
    "אבני",
    "ברק",
    "גבע",
    "דגן",
    "הראל",
    "ורד",
    "זיו",
    "חרמון",
    "טבת",
    "יערי",
    "כרמל",
    "לביא",
    "מור",
    "נווה",
    "סלע",
    "עוז",
    "צור",
    "רז",
)
STREETS = ("הגפן", "הזית", "החרוב", "הרימון", "השקד", "התאנה", "האלון", "הברוש")
TOWNS = ("חיפה", "נתניה", "עפולה", "רחובות", "אשקלון", "דימונה")
ENGLISH_NAMES = ("Adam", "Dana", "Eli", "Gal", "Lior", "Maya", "Noam", "Ruth", "Shira", "Tom")
ENGLISH_LAST_NAMES = ("Alon", "Bar", "Carmel", "Dror", "Golan", "Harel", "Levy", "Mor", "Peled", "Sade")
MAIL_DOMAINS = ("example.com", "example.org", "example.net")
PREFIXES = ("50", "52", "53", "54", "58")
TEST_CARD = "4111 1111 1111 1111"
LIST_HEADER = ("טלפון", 'דוא"ל', "שם פרטי", "שם משפחה", "כתובת", "מספר לקוח", "הערה")
CALL_HEADER = ("cdr_id", "shadow_number", "star_number", "calling", "called", "route_line", "route_ip", "status", "duration_s", "start_at")
MAPPING_HEADER = ("user_ref", "real_number", "assigned_number", "service", "valid_from", "valid_to")
PERIOD = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
ISSUED = datetime(2026, 7, 15, 8, 0, tzinfo=UTC)
# Far off, so that the demo does not stop working one day; a real order runs for weeks.
EXPIRES = datetime(2036, 7, 15, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """Somebody who does not exist; `mobile` is nine digits, without country and leading zero."""

    mobile: str
    email: str
    first: str
    last: str
    address: str


@dataclass
class Expected:
    """What an import of one file must report. Rows that are neither rejected nor duplicates are accepted."""

    category: str
    rows: int = 0
    duplicates: int = 0
    issues: list[tuple[int, str, str]] = field(default_factory=list)
    also: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The form in which `expected.json` has it; an identifier that was left out is an issue, but its row is not rejected."""
        rejected = Counter(reason for _, reason, _ in self.issues if reason != "IDENTIFIER_DROPPED")
        return {
            "category": self.category,
            "rows": self.rows,
            "accepted": self.rows - self.duplicates - rejected.total(),
            "duplicates": self.duplicates,
            "rejected": dict(sorted(rejected.items())),
            "issues": [{"line": line, "reason": reason, "field": name} for line, reason, name in self.issues],
            **self.also,
        }


class Invention:
    """Draws what is made up; no number is drawn twice."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same files with every run
        self._drawn: set[str] = set()

    def mobile(self) -> str:
        """A number of a mobile network. Networks have their numbers in blocks: a third digit from 3 to 7 is in use with every prefix."""
        return self._new(lambda: self.random.choice(PREFIXES) + self.random.choice("34567") + self._digits(6))

    def landline(self) -> str:
        """A number of the Tel Aviv area, eight digits without country and leading zero."""
        return self._new(lambda: "3" + self.random.choice("567") + self._digits(6))

    def person(self) -> Person:
        """Somebody with a Hebrew name."""
        draw = self.random.choice
        address = f"{draw(STREETS)} {self.random.randrange(1, 90)}, {draw(TOWNS)}"
        return Person(self.mobile(), self._email(), draw(FIRST_NAMES), draw(LAST_NAMES), address)

    def english_person(self) -> Person:
        """Somebody with an English name."""
        return replace(self.person(), first=self.random.choice(ENGLISH_NAMES), last=self.random.choice(ENGLISH_LAST_NAMES))

    def moment(self) -> datetime:
        """A second of the ten months from the beginning of the order's period."""
        return PERIOD[0] + timedelta(seconds=self.random.randrange(300 * 86_400))

    def _email(self) -> str:
        return f"mailbox{self._new(lambda: self._digits(5))}@{self.random.choice(MAIL_DOMAINS)}"

    def _digits(self, count: int) -> str:
        return "".join(self.random.choice("0123456789") for _ in range(count))

    def _new(self, draw: Callable[[], str]) -> str:
        while (value := draw()) in self._drawn:
            pass
        self._drawn.add(value)
        return value


def spelt(mobile: str, way: int) -> str:
    """A number in one of the ways in which people write it."""
    area, rest = mobile[:2], mobile[2:]
    ways = (
        f"0{area}-{rest}",
        f"0{mobile}",
        f"+972-{area}-{rest}",
        f"0{area} {rest[:3]} {rest[3:]}",
        f"972{mobile}",
        f"\u200e0{area}-{rest[:3]}-{rest[3:]}\u200f",
    )
    return ways[way % len(ways)]


def make_customers(invention: Invention) -> tuple[list[Sequence[str]], Expected, list[Person]]:
    """The big list: what a customer's spreadsheet program saved years ago, with all that goes wrong in such a file."""
    expected = Expected("list-profile")
    people = [invention.person() for _ in range(55)]
    rows = [[spelt(one.mobile, n), one.email, one.first, one.last, one.address, str(30_001 + n), ""] for n, one in enumerate(people)]
    rows[4][6] = 'ביקשה להתקשר אחרי 17:00;\nלא בשבת. "דחוף"'
    rows[9][6] = '=HYPERLINK("http://example.com/";"לפרטים")'
    rows[13][1] = ""
    rows[17][0] = ""
    rows[22][0] = "אין"
    rows[30][6] = f"שולם בכרטיס {TEST_CARD}"
    # The same people again, further down, their numbers written otherwise; of two values for one field the later stands.
    for at, (earlier, way) in {20: (2, 1), 33: (11, 4), 41: (3, 0), 50: (24, 5), 59: (0, 2)}.items():
        again = people[earlier]
        rows.insert(at, [spelt(again.mobile, way), again.email, again.first, again.last, "התאנה 3, נתניה", str(40_001 + at), "עודכן"])
        expected.duplicates += 1
    rows.insert(27, ["0501", "", *_names(invention), "", "39998", ""])
    rows.insert(46, ["", "", *_names(invention), "", "39999", "חסר טלפון"])
    line = 2
    for row in rows:
        if not row[1] and row[0] in {"", "0501"}:
            expected.issues.append((line, "NO_USABLE_IDENTIFIER", "phone"))
        elif row[0] == "אין":
            expected.issues.append((line, "IDENTIFIER_DROPPED", "phone"))
        elif TEST_CARD in row[6]:
            expected.issues.append((line, "PAN_IN_FREE_FIELD", "extra"))
        line += 1 + sum(cell.count("\n") for cell in row)
    expected.rows = len(rows)
    return [LIST_HEADER, *rows], expected, people


def make_second_list(invention: Invention, people: Sequence[Person]) -> tuple[list[list[object]], Expected]:
    """The small list, a spreadsheet in English: numbers that lost their zero, dates, and three people of the big list."""
    expected = Expected("list-profile", also={"people_of_customers_csv": 3})
    guests = [invention.english_person() for _ in range(15)] + [people[n] for n in (1, 6, 28)]
    rows: list[list[object]] = []
    for n, one in enumerate(guests):
        phone = int(one.mobile) if n % 3 == 0 else spelt(one.mobile, n)
        rows.append([phone, one.email, one.first, one.last, one.address, 700 + n, date(2026, 1 + n % 6, 1 + n)])
    rows.insert(12, [spelt(guests[5].mobile, 2), guests[5].email, guests[5].first, guests[5].last, "", 790, date(2026, 6, 30)])
    rows.insert(16, ["n/a", "unknown", "Gal", "Bar", "", 791, None])
    expected.duplicates = 1
    expected.issues = [(18, "NO_USABLE_IDENTIFIER", "email")]
    expected.rows = len(rows)
    return [["Phone", "E-mail", "First name", "Last name", "Address", "Customer no.", "Joined"], *rows], expected


def make_calls(invention: Invention) -> tuple[list[Sequence[str]], Expected, str, int]:
    """Calls of ten months; also the number that calls most, and how many calls an order about it covers in the period."""
    target, lines = invention.mobile(), [invention.landline() for _ in range(6)]
    callers = [invention.mobile() for _ in range(45)]
    start, end = PERIOD
    second = timedelta(seconds=1)
    # The first and the last moment of the period, and those next to it: the period is [start, end).
    within = [start, *(start + timedelta(days=day, hours=9, minutes=day) for day in (16, 45, 46, 88, 120, 151)), end - second]
    made = [(at, target, "", "") for at in (*within, start - second, end)]
    made += [(start + timedelta(days=70, hours=15), callers[0], target, ""), (start + timedelta(days=133, hours=7), callers[1], "", target)]
    covered = len(within) + 2
    while len(made) < 200:  # noqa: PLR2004 - rows of the file
        forwarded = invention.random.choice(callers) if invention.random.random() < 0.6 else ""  # noqa: PLR2004
        made.append((invention.moment(), invention.random.choice(callers), "", forwarded))
    rows = [CALL_HEADER, *(_call(invention, n, call, lines) for n, call in enumerate(sorted(made), start=1))]
    return rows, Expected("call-detail", rows=len(made)), target, covered


def make_mappings(invention: Invention) -> tuple[list[Sequence[str]], Expected]:
    """Numbers assigned to users of the second-number service; one was handed back and given to another user."""
    rows: list[Sequence[str]] = [MAPPING_HEADER]
    recycled = "972" + invention.mobile()
    for n in range(1, 11):
        begin = PERIOD[0] + timedelta(days=3 * n, hours=8)
        # The second and the last row are the two users of one number.
        assigned = recycled if n in {2, 10} else "972" + invention.mobile()
        handed_back = begin + timedelta(days=60) if n in {2, 5} else None
        begin = begin + timedelta(days=120) if n == 10 else begin  # noqa: PLR2004
        rows.append(
            (
                f"user-{n:03d}",
                "972" + invention.mobile(),
                assigned,
                "NUM2",
                begin.isoformat(),
                handed_back.isoformat() if handed_back else "",
            )
        )
    return rows, Expected("number-mapping", rows=10, also={"recycled_numbers": 1})


def make_order(target: str, document: bytes) -> dict[str, object]:
    """The order's details as the command line reads them (requirements §5.1, §5.3); the recipient's key is the demo's to make."""
    start, end = PERIOD
    return {
        "instrument_type": "COMMS_DATA",
        "court_name": "בית משפט השלום בחיפה",
        "case_no": 'צ"א 40917-07-26',
        "judge_name": "כב' השופטת ל' אורן",
        "requesting_body": "משטרת ישראל, יחידת חקירות לדוגמה",
        "call_back": "03-5550100, the registry in our own directory",
        "document_sha256": hashlib.sha256(document).hexdigest(),
        "issued_at": _rfc3339(ISSUED),
        "valid_until": _rfc3339(EXPIRES),
        "scope": {
            "targets": [{"id_type": "PHONE", "value": f"+972{target}"}],
            "categories": ["call-detail"],
            "time_from": _rfc3339(start),
            "time_to": _rfc3339(end),
        },
    }


def make_document() -> bytes:
    """One page that stands for the scanned order."""
    lines = (
        "SAMPLE - NOT A COURT ORDER",
        "Invented for the demonstration of pii-vault.",
        "No court issued it, and nobody it could concern exists.",
    )
    shown = "".join(f"({line}) Tj 0 -24 Td " for line in lines)
    page = f"BT /Body 14 Tf 72 760 Td {shown}ET".encode("ascii")
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R/Resources<</Font<</Body 4 0 R>>>>>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(page), page),
    )
    document, table = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, content in enumerate(objects, start=1):
        table += b"%010d 00000 n \n" % len(document)
        document += b"%d 0 obj%b\nendobj\n" % (number, content)
    size = len(objects) + 1
    return document + b"xref\n0 %d\n%btrailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, table, size, len(document))


def write_samples(folder: Path) -> None:
    """Write every file."""
    invention = Invention(2026)
    customers, of_customers, people = make_customers(invention)
    second, of_second = make_second_list(invention, people)
    calls, of_calls, target, covered = make_calls(invention)
    mappings, of_mappings = make_mappings(invention)
    document = make_document()
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "customers.csv", customers, encoding="cp1255", delimiter=";")
    _write_workbook(folder / "customers.xlsx", second)
    _write_csv(folder / "calls.csv", calls)
    _write_csv(folder / "mappings.csv", mappings)
    (folder / "order.pdf").write_bytes(document)
    _write_json(folder / "order.json", make_order(target, document))
    _write_json(
        folder / "expected.json",
        {
            "customers.csv": of_customers.as_json(),
            "customers.xlsx": of_second.as_json(),
            "calls.csv": of_calls.as_json(),
            "mappings.csv": of_mappings.as_json(),
            "order.json": {"records": {"call-detail": covered}},
        },
    )


def _names(invention: Invention) -> tuple[str, str]:
    person = invention.person()
    return person.first, person.last


def _call(invention: Invention, number: int, call: tuple[datetime, str, str, str], lines: Sequence[str]) -> Sequence[str]:
    at, calling, called, forwarded = call
    draw = invention.random
    line = draw.choice(lines)
    status = draw.choice(("answered", "answered", "answered", "busy", "no-answer", "failed"))
    return (
        f"c{number:04d}",
        f"972{line}",
        f"*{2300 + lines.index(line)}" if draw.random() < 0.3 else "",  # noqa: PLR2004
        f"972{calling}",
        f"972{called or line}",
        f"972{forwarded}" if forwarded else "",
        f"192.0.2.{draw.randrange(1, 255)}" if draw.random() < 0.4 else "",  # noqa: PLR2004 - addresses for examples: RFC 5737
        status,
        str(draw.randrange(5, 1800) if status == "answered" else 0),
        # Some exchanges write the time of their own clock: the same moment, another spelling.
        at.isoformat() if number % 3 else at.astimezone(timezone(timedelta(hours=2))).isoformat(),
    )


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _write_csv(path: Path, rows: Sequence[Sequence[str]], *, encoding: str = "utf-8", delimiter: str = ",") -> None:
    with path.open("w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def _write_workbook(path: Path, rows: Sequence[Sequence[object]]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None  # noqa: S101 - a new workbook has one sheet
    sheet.title = "Club"
    for row in rows:
        sheet.append(list(row))
    book.properties.creator = "pii-vault"
    book.properties.created = book.properties.modified = PERIOD[0].replace(tzinfo=None)
    book.save(path)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "samples")
