"""What the flows about people's rights share: the subject that they are about, small checks, and forgetting it all.

Not here: the flows. Each is a file of its own: consent, guardian, preference, restrict, object, subject_request, export_subject.
"""

import calendar
import re
import unicodedata
from datetime import datetime

from vault import scan
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from vault.names import SubjectName
from vault.store import consents, guardians, objections, preferences, restrictions, subject_requests
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.subjects import SubjectRow

# The purpose of whatever is done because a person asked for it.
PURPOSE = "data-subject-request"

# What is named outside the vault and kept in clear: versions of texts, ids of notices.
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# As many digits in a row as a telephone number has without its prefix; eight may be a day.
_NUMBER = re.compile(r"(?<!\d)(?!20\d{6}(?!\d))\d{8,}")
_SHA256_BYTES = 32
_MAX_SENTENCE = 500  # characters
_MIN_WORDS = 2
_MONTHS_A_YEAR = 12


_CONSENTS, _GUARDIANS = "consent-and-instruction", "guardian-consent"


async def forget(connection: Connection, tenant: str, subject: str, *, is_gone: bool, by: str, now: datetime) -> None:
    """Delete what a person chose and objected to, and who a minor's guardian was; on finishing their erasure.

    Suppressions stay unless the person wants otherwise, so that whoever is stored again by mistake is not advertised to (A5). Consents stay as
    evidence on which nothing rests any more, and requests, both without the person. Restrictions hold on while something of the person is left
    with a tenant, and so do consents.

    Args:
        connection: an open transaction.
        tenant: id of the tenant.
        subject: the person.
        is_gone: whether nothing of the person is left with a tenant.
        by: who carries the erasure out.
        now: the time.
    """
    await guardians.unseal_guardian(connection, tenant, subject)
    await preferences.delete_preferences(connection, tenant, subject)
    await objections.delete_objections(connection, tenant, subject)
    if is_gone:
        await consents.end_consents(connection, tenant, subject, by=by, now=now)
        await restrictions.delete_restrictions(connection, tenant, subject)
        await subject_requests.unlink_requests(connection, tenant, subject)


async def proofs_of(connection: Connection, tenant: str, subject: str) -> dict[str, list[str]]:
    """Ids of what an erasure keeps as evidence of consent, by category."""
    given = [row.consent_id for row in await consents.consents_of(connection, tenant, subject)]
    guardian = await guardians.get_guardian(connection, tenant, subject)
    found = {_CONSENTS: given, _GUARDIANS: [subject] if guardian is not None else []}
    return {category: ids for category, ids in found.items() if ids}


async def forget_proof(connection: Connection, tenant: str, category: str, item: str) -> None:
    """Delete evidence of consent whose time is over."""
    if category == _GUARDIANS:
        await guardians.delete_guardian(connection, tenant, item)
    else:
        await consents.delete_consent(connection, tenant, item)


async def living_subject(connection: Connection, name: SubjectName) -> SubjectRow:
    """The subject, locked until the transaction ends, so that no erasure overtakes what is written about it.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    row = await subject_store.get_subject(connection, name.tenant, name.subject, lock=True)
    if row is None:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if row.state in {"ERASING", "ERASED"}:
        raise FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")
    return row


def may_be_contact(text: str) -> bool:
    """Whether a word that stays in clear may be somebody's number or mailbox."""
    return scan.find_contact(text) is not None or _NUMBER.search(text) is not None


def check_label(text: str, *, field: str) -> str:
    """Check a word that stays in clear; empty is well.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if text and (not _LABEL.fullmatch(text) or may_be_contact(text)):
        message = f"field '{field}' is not 1 to 64 letters, digits, '.', '_' or '-', or looks like a telephone number"
        raise InvalidArgumentError("FIELD_INVALID", message, field=field)
    return text


def check_word(text: str, words: frozenset[str], *, field: str) -> str:
    """Check a word of a closed set.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if text not in words:
        raise InvalidArgumentError("FIELD_INVALID", f"field '{field}' is not one of {', '.join(sorted(words))}", field=field)
    return text


def check_digest(digest: bytes, *, field: str = "evidence_sha256", required: bool = True) -> bytes:
    """Check a SHA-256 digest.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if len(digest) != _SHA256_BYTES and (required or digest):
        raise InvalidArgumentError("FIELD_INVALID", f"field '{field}' is not 32 bytes", field=field)
    return digest


def check_sentence(text: str, *, field: str) -> str:
    """Check a sentence that is kept sealed and must be about nobody.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
    """
    words = sum(any(letter.isalpha() for letter in word) for word in text.split())
    is_line = not any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in text)
    if words < _MIN_WORDS or len(text) > _MAX_SENTENCE or not is_line:
        message = f"field '{field}' is not a sentence of at least two words and at most {_MAX_SENTENCE} characters on one line"
        raise InvalidArgumentError("FIELD_INVALID", message, field=field, limit=str(_MAX_SENTENCE))
    if kind := scan.find_personal_data(text):
        raise InvalidArgumentError("PII_IN_JUSTIFICATION", f"the text holds personal data ({kind})", field=field, kind=kind)
    return text


def months_after(moment: datetime, months: int) -> datetime:
    """The same day and time some calendar months later; where that month has no such day, its last one (Regulation 1182/71, Article 3)."""
    years, month = divmod(moment.month - 1 + months, _MONTHS_A_YEAR)
    year, month = moment.year + years, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))
