"""The database definition document (L1, L37, P2.2-notice): Markdown in Hebrew or English, made of the policy bundle and nothing else.

Pure but for the clock: what the bundle does not say is not in it, and what it says of a category cannot be left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from vault.catalogue.fields import Description, FieldType, Sensitivity
from vault.catalogue.model import Category, Officer, Retention
from vault.catalogue.words import ContractEnd, CourtClass, Erasure, HeldAs, Minors, Recipient, Responsibility
from vault.errors import InvalidArgumentError
from vault.operations.core import Vault

LANGUAGES = ("he", "en")
_DEFAULT = "he"


@dataclass(frozen=True, slots=True)
class Definition:
    """The document, the policy version that it was made from, and whether it is due to be looked through again."""

    document: str
    policy_version: str
    stale: bool


def database_definition(vault: Vault, language: str) -> Definition:
    """Render the document.

    Raises:
        InvalidArgumentError: FIELD_INVALID, no such language.
    """
    if language not in {"", *LANGUAGES}:
        raise InvalidArgumentError("FIELD_INVALID", f"language is one of {', '.join(LANGUAGES)}", field="language")
    document = "\n".join(_Writer(vault, language or _DEFAULT).lines()) + "\n"
    return Definition(document, vault.catalogue.policy_version, is_stale(vault))


def is_stale(vault: Vault) -> bool:
    """Whether twelve months have passed since the document was looked through (regulation 2)."""
    reviewed = vault.catalogue.organisation.definition_reviewed
    due = date(reviewed.year + 1, reviewed.month, min(reviewed.day, 28) if reviewed.month == 2 else reviewed.day)  # noqa: PLR2004 - February
    return vault.clock().date() > due


class _Writer:
    """Writes in one language; every text of its own stands in `_TEXTS`."""

    def __init__(self, vault: Vault, language: str) -> None:
        self._catalogue = vault.catalogue
        self._language = language
        self._today = vault.clock().date()

    def lines(self) -> Iterator[str]:
        """The document, line by line."""
        said = self._catalogue.organisation
        yield f"# {self._own('title')}"
        yield ""
        yield f"- {self._own('policy')}: `{self._catalogue.policy_version}`"
        yield f"- {self._own('reviewed')}: {said.definition_reviewed.isoformat()}"
        yield f"- {self._own('made')}: {self._today.isoformat()}"
        yield ""
        yield f"## {self._own('who')}"
        yield ""
        for label, entity, address in (
            ("operator", self._catalogue.operator, said.operator_address),
            ("affiliate", self._catalogue.affiliate, said.affiliate_address),
        ):
            yield f"- {self._own(label)}: {self._of(entity.name)}, {self._of(address)} (`{entity.id}`)"
        for label, officer in (
            ("manager", said.database_manager),
            ("security", said.security_officer),
            ("privacy", said.privacy_officer),
        ):
            yield f"- {self._own(label)}: {self._officer(officer)}"
        yield ""
        yield f"## {self._own('purposes')}"
        yield ""
        for purpose in self._catalogue.purposes.values():
            yield f"- {self._of(purpose.description)} (`{purpose.name}`)"
        yield ""
        yield f"## {self._own('transfers')}"
        yield ""
        yield self._of(said.transfers)
        yield ""
        yield f"## {self._own('holders')}"
        yield ""
        for holder in said.holders:
            yield f"- {self._of(holder.name)}: {self._of(holder.processing)}"
        yield ""
        yield f"## {self._own('risks')}"
        yield ""
        for risk in said.risks:
            yield f"- {self._of(risk.risk)}: {self._of(risk.measure)}"
        yield ""
        yield f"## {self._own('never')}"
        yield ""
        for text in self._catalogue.never_stored.names.values():
            yield f"- {self._of(text)}"
        yield ""
        yield f"## {self._own('categories')}"
        for category in self._catalogue.categories.values():
            yield ""
            yield from self._category(category)

    def _category(self, category: Category) -> Iterator[str]:
        yield f"### {category.code} {self._of(category.title)}"
        yield ""
        yield f"{self._of(category.description)} (`{category.name}`, {self._word(category.held_as)})"
        yield ""
        yield f"- {self._own('use')}: {self._of(category.notice)}"
        named = [self._of(self._catalogue.purposes[name].description) for name in sorted({n for g in category.grants for n in g.purposes})]
        yield f"- {self._own('granted')}: {'; '.join(named) or self._own('nothing')}"
        yield f"- {self._own('source')}: {self._of(category.source)}"
        yield f"- {self._own('people')}: {self._of(category.data_subject)}"
        yield f"- {self._own('role')}: {self._word(category.responsibility)}. {self._of(category.towards)}"
        if category.minors is not None:
            yield f"- {self._own('minors')}: {self._word(category.minors)}"
        yield f"- {self._own('recipients')}: {'; '.join(self._recipients(category))}"
        yield f"- {self._own('court')}: {self._word(category.court_class)}"
        yield from self._retention(category)
        yield f"- {self._own('erasure')}: {self._word(category.on_erasure)}{self._note(category.erasure_note)}"
        yield f"- {self._own('end')}: {self._word(category.on_contract_end)}{self._note(category.contract_end_note)}"
        yield ""
        yield f"| {self._own('field')} | {self._own('type')} | {self._own('sensitivity')} | {self._own('goes')} |"
        yield "|---|---|---|---|"
        for field in category.fields.values():
            sooner = f"{field.keep_days} {self._own('days')}" if field.keep_days else "–"
            about = f"{self._of(field.description)} (`{field.name}`)"
            yield f"| {about} | {self._word(field.type)} | {self._word(field.sensitivity)} | {sooner} |"

    def _retention(self, category: Category) -> Iterator[str]:
        if category.retention is not None:
            yield f"- {self._own('kept')}: {self._kept(category.retention)}"
        for level in category.levels.values():
            off = "" if level.retained else f" ({self._own('off')})"
            yield f"- {self._own('kept')}, {self._own(level.name)}{off}: {self._kept(level.retention)}"
        for row in category.rows:
            if row.retention is not None:
                yield f"- {self._own('kept')}, {self._of(row.description)}: {self._kept(row.retention)}"

    def _kept(self, retention: Retention) -> str:
        return f"{self._of(retention.text)}. {self._own('reason')}: {self._of(retention.reason)}"

    def _recipients(self, category: Category) -> list[str]:
        found = {recipient for grant in category.grants for recipient in grant.recipients}
        if category.shared_with_affiliate != "no":
            found.add(Recipient.AFFILIATE)
        named = [self._word(recipient) for recipient in Recipient if recipient in found]
        return named or [self._own("nobody")]

    def _officer(self, officer: Officer) -> str:
        return f"{self._of(officer.office)}, {officer.contact}"

    def _note(self, note: Description | None) -> str:
        return f". {self._of(note)}" if note else ""

    def _of(self, text: Description) -> str:
        return text.he if self._language == "he" else text.en

    def _own(self, name: str) -> str:
        return self._of(_TEXTS[name])

    def _word(self, word: "_Word") -> str:
        return self._of(_WORDS[word])


_Word = ContractEnd | CourtClass | Erasure | FieldType | HeldAs | Minors | Recipient | Responsibility | Sensitivity


_TEXTS: Mapping[str, Description] = {
    "title": Description("הגדרת מאגר המידע", "Database definition"),
    "policy": Description("גרסת המדיניות", "Policy version"),
    "reviewed": Description("נבדק לאחרונה", "Last reviewed"),
    "made": Description("הופק", "Made"),
    "who": Description("מי מחזיק במאגר", "Who keeps the database"),
    "operator": Description("בעלת השליטה במאגר", "Operator"),
    "affiliate": Description("חברת הבת", "Affiliate"),
    "manager": Description("מנהל המאגר", "Manager of the database"),
    "security": Description("ממונה אבטחת מידע", "Security officer"),
    "privacy": Description("ממונה הגנת פרטיות", "Privacy officer"),
    "purposes": Description("מטרות השימוש", "Purposes"),
    "transfers": Description("העברה אל מחוץ לישראל", "Transfers abroad"),
    "holders": Description("עיבוד באמצעות מחזיק", "Processing through a holder"),
    "risks": Description("סיכונים עיקריים והתמודדות עמם", "Main risks and what is done about them"),
    "never": Description("מה אינו נשמר לעולם", "What is never stored"),
    "categories": Description("סוגי המידע", "Categories"),
    "use": Description("למה משמש", "Used for"),
    "granted": Description("מטרות מותרות", "Allowed purposes"),
    "source": Description("מקור", "Source"),
    "people": Description("על מי", "About whom"),
    "role": Description("מעמד", "Role"),
    "minors": Description("קטינים", "Minors"),
    "recipients": Description("מקבלים", "Recipients"),
    "court": Description("סוג הצו", "Court class"),
    "kept": Description("תקופת שמירה", "Kept"),
    "off": Description("כבוי אם לא התבקש", "off unless asked for"),
    "reason": Description("הסיבה", "Reason"),
    "erasure": Description("לבקשת מחיקה", "On a request to erase"),
    "end": Description("בסיום ההתקשרות", "At the end of the contract"),
    "field": Description("שדה", "Field"),
    "type": Description("סוג", "Type"),
    "sensitivity": Description("רגישות", "Sensitivity"),
    "goes": Description("נמחק קודם, אחרי", "Goes sooner, after"),
    "days": Description("ימים", "days"),
    "nothing": Description("אין", "none"),
    "nobody": Description("איש אינו מקבל", "Nobody"),
    "system-log": Description("יומני מערכת", "system log"),
    "report": Description("דוחות", "report"),
    "system-file": Description("קובצי מערכת", "system file"),
}
_WORDS: Mapping[_Word, Description] = {
    HeldAs.RECORD: Description("רשומה", "record"),
    HeldAs.REGISTER: Description("מרשם", "register"),
    Responsibility.CONTROLLER: Description("בעלת שליטה", "Controller"),
    Responsibility.PROCESSOR: Description("מחזיקה", "Processor"),
    Minors.GUARDIAN: Description("רק בהסכמת אפוטרופוס", "Only with a guardian's consent"),
    Minors.ATTESTED: Description("הלקוח מצהיר על הרשימות שלו", "The customer attests for its own lists"),
    Recipient.INTERNAL: Description("עובדים ומערכות מורשים", "Authorised staff and systems"),
    Recipient.TENANT: Description("הלקוח העסקי", "The business customer"),
    Recipient.AFFILIATE: Description("חברת הבת", "The affiliate"),
    Recipient.DATA_SUBJECT: Description("האדם עצמו", "The person concerned"),
    Recipient.AUTHORITY: Description("רשות מוסמכת על פי צו", "An authority, under an order"),
    Recipient.THIRD_PARTY: Description("צד שלישי בהסכמה", "A third party, by consent"),
    CourtClass.SUBSCRIBER: Description("נתוני מנוי (S)", "Subscriber data (S)"),
    CourtClass.TRAFFIC: Description("נתוני תעבורה (T)", "Traffic data (T)"),
    CourtClass.CONTENT: Description("תוכן (C)", "Content (C)"),
    CourtClass.NONE: Description("אין", "None"),
    Erasure.ERASED: Description("נמחק", "Erased"),
    Erasure.FORWARDED: Description("מועבר ללקוח ומבוצע לפי הוראתו", "Forwarded to the customer, and done as it instructs"),
    Erasure.TOKENISED: Description("הזיהוי מוחלף באסימון", "The person is replaced by a token"),
    Erasure.RESTRICTED: Description("מוגבל עד המועד", "Restricted until its date"),
    ContractEnd.DESTROYED: Description("מושמד מיד", "Destroyed at once"),
    ContractEnd.ERASED: Description("נמחק", "Erased"),
    ContractEnd.EXPIRES: Description("פג במועדו", "Runs out its time"),
    ContractEnd.KEPT: Description("נשמר", "Kept"),
    ContractEnd.TOKENISED: Description("נשמר, ובמקום האדם אסימון", "Kept, with a token in the place of the person"),
    ContractEnd.CONVERTED: Description("מומר לפרטי קשר ולחיובים", "Becomes a contact and billing records"),
    ContractEnd.UNAFFECTED: Description("אינו תלוי בהתקשרות", "Does not hang on the contract"),
    Sensitivity.OPERATIONAL: Description("תפעולי", "operational"),
    Sensitivity.PERSONAL: Description("אישי", "personal"),
    Sensitivity.HIGH: Description("בעל רגישות מיוחדת", "highly sensitive"),
    FieldType.PHONE: Description("מספר טלפון", "telephone number"),
    FieldType.EMAIL: Description("כתובת דוא״ל", "mail address"),
    FieldType.TEXT: Description("טקסט", "text"),
    FieldType.BYTES: Description("תוכן", "content"),
    FieldType.INTEGER: Description("מספר", "number"),
    FieldType.TIMESTAMP: Description("מועד", "time"),
    FieldType.DATE: Description("תאריך", "date"),
    FieldType.ENUM: Description("ערך מרשימה", "word of a list"),
    FieldType.ID: Description("מזהה", "id"),
    FieldType.COMPANY_NUMBER: Description("ח.פ", "company number"),
    FieldType.COMPANY_NAME: Description("שם חברה", "company name"),
    FieldType.STAR_NUMBER: Description("מספר מקוצר", "star number"),
    FieldType.MAP: Description("שדות נוספים", "further fields"),
}
