"""The cover pages, Hebrew and English: what a person reads first. Plain text; the same facts as the signed manifest.

Rules:
- Every count stands on a line `- <category>: <rows>`, in both languages, so that the verifier can recount what a person is told.
- In the Hebrew page every run of digits or Latin letters is a left-to-right isolate (UAX #9): without it numbers and dates read backwards.
- No target, no value of a record.
"""

import re
from datetime import datetime

from vault.bundle.content import PackageContent
from vault.bundle.seal import fingerprint

_LRI, _PDI, _RLM = "\u2066", "\u2069", "\u200f"
_LTR_RUN = re.compile(r"[+0-9A-Za-z][!-~]*(?: [!-~]+)*")


def cover_en(content: PackageContent) -> str:
    """The English cover page, lines ended by LF."""
    order, scope = content.order, content.scope
    lines = [
        "PACKAGE OF RECORDS UNDER AN ORDER",
        "",
        f"Package: EXP-{content.export_id}",
        f"Prepared by: {content.operator}",
        f"Snapshot taken: {_utc(content.created)}",
        "",
        f"Instrument: {order.instrument_type}",
        f"Court: {order.court_name}",
        f"Case: {order.case_no}",
        f"Judge or officer: {order.judge_name}",
        f"Requesting body: {order.requesting_body}",
        f"Issued: {_utc(order.issued_at)}",
        f"Valid until: {_utc(order.valid_until)}",
        f"SHA-256 of the document: {order.document_sha256}",
        "",
        f"Period: {_utc(scope.time_from)} to {_utc(scope.time_to)}",
        f"Categories asked for: {', '.join(scope.categories)}",
        f"Identifiers named by the order: {scope.target_count}",
        f"Scope digest: {scope.digest}",
        "",
        "Records in this package:",
        *(f"- {table.category}: {len(table.rows)}" for table in content.tables),
        f"Records in total: {sum(len(table.rows) for table in content.tables)}",
        "",
        "Withheld, by reason:",
        *(f"- {item.category} ({item.reason}): {item.count}" for item in content.withheld),
        f"Withheld in total: {sum(item.count for item in content.withheld)}",
        "",
        f"Recipient: {_recipient(content)}",
        f"SHA-256 of the recipient key: {fingerprint(content.recipient.age_recipient)}",
        f"Audit log: {content.audit_head.log}, size {content.audit_head.size}, root {content.audit_head.root}",
        "",
        "How to verify: obtain the operator's public key by a way other than this package, then check",
        "the signature meta/export-manifest.sig over meta/export-manifest.json, the SHA-256 of each file",
        "that the manifest names, and manifest-sha512.txt (sha512sum -c). All times are UTC.",
    ]
    return "\n".join(lines) + "\n"


def cover_he(content: PackageContent) -> str:
    """The Hebrew cover page: the same facts in the same order, lines ended by LF."""
    order, scope = content.order, content.scope
    lines = [
        "חבילת רשומות לפי צו",
        "",
        f"חבילה: {_ltr(f'EXP-{content.export_id}')}",
        f"הוכנה בידי: {_ltr(content.operator)}",
        f"מועד צילום הנתונים: {_ltr(_utc(content.created))}",
        "",
        f"סוג המסמך: {_ltr(order.instrument_type)}",
        f"בית המשפט: {_ltr(order.court_name)}",
        f"מספר התיק: {_ltr(order.case_no)}",
        f"שופט או קצין מוסמך: {_ltr(order.judge_name)}",
        f"הגוף המבקש: {_ltr(order.requesting_body)}",
        f"ניתן ביום: {_ltr(_utc(order.issued_at))}",
        f"בתוקף עד: {_ltr(_utc(order.valid_until))}",
        f"טביעת {_ltr('SHA-256')} של המסמך: {_ltr(order.document_sha256)}",
        "",
        f"התקופה: מ־{_ltr(_utc(scope.time_from))} עד {_ltr(_utc(scope.time_to))}",
        f"סוגי המידע שהתבקשו: {', '.join(_ltr(category) for category in scope.categories)}",
        f"מספר המזהים הנקובים בצו: {_ltr(str(scope.target_count))}",
        f"טביעת היקף הצו: {_ltr(scope.digest)}",
        "",
        "רשומות בחבילה:",
        *(f"- {_ltr(table.category)}: {_ltr(str(len(table.rows)))}" for table in content.tables),
        f"סך הכול רשומות: {_ltr(str(sum(len(table.rows) for table in content.tables)))}",
        "",
        "רשומות שלא נמסרו, לפי סיבה:",
        *(f"- {_ltr(item.category)} ({_ltr(item.reason)}): {_ltr(str(item.count))}" for item in content.withheld),
        f"סך הכול לא נמסרו: {_ltr(str(sum(item.count for item in content.withheld)))}",
        "",
        f"הנמען: {_ltr(_recipient(content))}",
        f"טביעת {_ltr('SHA-256')} של מפתח הנמען: {_ltr(fingerprint(content.recipient.age_recipient))}",
        f"יומן הביקורת: {_ltr(content.audit_head.log)}, גודל {_ltr(str(content.audit_head.size))}, שורש {_ltr(content.audit_head.root)}",
        "",
        "כיצד לאמת: יש להשיג את המפתח הציבורי של המפעיל בדרך אחרת ולא מתוך חבילה זו, ואז לבדוק",
        f"את החתימה {_ltr('meta/export-manifest.sig')} על הקובץ {_ltr('meta/export-manifest.json')}, את טביעת {_ltr('SHA-256')} של כל קובץ",
        f"הנקוב בו, ואת {_ltr('manifest-sha512.txt')} באמצעות {_ltr('sha512sum')}. כל השעות הן בזמן אוניברסלי מתואם.",
    ]
    # A line whose letters are all inside isolates has no direction of its own: the mark gives it one.
    return "".join(f"{_RLM}{line}\n" if line else "\n" for line in lines)


def _recipient(content: PackageContent) -> str:
    return ", ".join(part for part in (content.recipient.body, content.recipient.person) if part)


def _ltr(text: str) -> str:
    return _LTR_RUN.sub(lambda run: f"{_LRI}{run[0]}{_PDI}", text)


def _utc(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")
