"""The files that answer a person's request for their own data. Pure: values in, bytes of a ZIP out.

    data.json          everything, with what it is used for, until when it is kept and who receives it
    csv/CATEGORY.csv   one table per category, for a spreadsheet
    statement.json     who is controller, what is held for somebody else, what was left out and why

Rules:
- CSV is UTF-8 with BOM (a Hebrew Excel needs it), every cell quoted; a cell that a spreadsheet could run as a formula gets an apostrophe.
- JSON is exact: what is in it needs nothing taken off (GDPR 20, machine-readable).
"""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vault.bundle.records import GUARDED, PREFIX

FORMAT = "pii-vault-subject-data/1"
_STATEMENT = "HOLDER_STATEMENT"
# ZIP knows no zone and no year before 1980; the files say themselves when they were made.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Text:
    """One text in Hebrew and in English."""

    he: str
    en: str

    def json(self) -> dict[str, str]:
        """As it stands in the files."""
        return {"he": self.he, "en": self.en}


@dataclass(frozen=True, slots=True)
class CategoryData:
    """A person's rows of one category, and what is to be said about them."""

    name: str
    title: Text
    source: Text
    purposes: Mapping[str, Text]
    controller: Text
    recipients: Sequence[str]
    retention: Text
    portable: bool
    labels: Mapping[str, Text]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]] = field(repr=False)


_HELD = Text(
    he="אנו מחזיקים מידע עליך עבור הלקוח הנקוב, שהוא בעל השליטה בו. תוכנו אינו נמסר כאן; יש לפנות אל הלקוח.",
    en="We hold data about you for the customer named, who is its controller. Its content is not given here; please turn to the customer.",
)
_LEFT_OUT = Text(
    he="מידע מסוג זה קיים ואינו נמסר בקובץ, משום שהוא משמש מערכות בלבד",
    en="data of this kind exists and is not handed out in a file, because only services work with it",
)


def build(
    subject: str,
    data: Sequence[CategoryData],
    *,
    created: datetime,
    policy_version: str,
    controller: Text,
    holder_for: tuple[str, Text] | None,
    left_out: Sequence[str],
) -> bytes:
    """The package.

    Args:
        subject: resource name of the person.
        data: what is handed out.
        created: when.
        policy_version: policy that decided about it.
        controller: the operator.
        holder_for: resource name and name of the customer for whom more is held; None if nothing is.
        left_out: categories that exist and are not handed out.
    """
    head = {"format": FORMAT, "subject": subject, "created": created.isoformat(), "policy_version": policy_version}
    statement = {
        **head,
        "controller": controller.json(),
        "statements": [
            {"type": _STATEMENT, "tenant": holder_for[0], "controller": holder_for[1].json(), "text": _HELD.json()},
        ]
        if holder_for
        else [],
        "left_out": [{"category": name, "reason": _LEFT_OUT.json()} for name in left_out],
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        _write(package, "data.json", _json({**head, "categories": [_category(item) for item in data]}))
        for item in data:
            _write(package, f"csv/{item.name}.csv", _csv(item))
        _write(package, "statement.json", _json(statement))
    return out.getvalue()


def _category(item: CategoryData) -> dict[str, object]:
    return {
        "category": item.name,
        "title": item.title.json(),
        "controller": item.controller.json(),
        "source": item.source.json(),
        "purposes": {name: text.json() for name, text in item.purposes.items()},
        "recipients": list(item.recipients),
        "retention": item.retention.json(),
        "portable": item.portable,
        "fields": {name: text.json() for name, text in item.labels.items()},
        "records": [{key: row[key] for key in item.columns if row.get(key)} for row in item.rows],
    }


def _csv(item: CategoryData) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(item.columns)
    writer.writerows([_guard(row.get(name, "")) for name in item.columns] for row in item.rows)
    return ("\ufeff" + out.getvalue()).encode()


def _guard(cell: str) -> str:
    return PREFIX + cell if cell.startswith(tuple(GUARDED)) else cell


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _write(package: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    package.writestr(info, content)
