"""What a verdict says to a lawyer, Hebrew and English."""

from vault.bundle.verdict import Code, Verdict
from vault.catalogue.fields import Description
from vault.catalogue.words import Language

_HOLDS = Description(
    "החבילה תקינה: היא בדיוק מה שחתמה המפעילה עבור הנמען הזה, שלמה וללא שינוי.",
    "The package holds: it is exactly what the operator signed for this recipient, complete and unaltered.",
)
_FAILS = Description(
    "החבילה אינה תקינה ואין להסתמך עליה. ואלה הממצאים:", "The package does not hold and must not be relied on. What was found:"
)
_RECORDS = Description("רשומות בחבילה", "records in the package")
_WITHHELD = Description("רשומות שהצו חל עליהן ואינן בחבילה", "records that the order covers and the package does not hold")
_STAMPED = Description("רשות חותמת זמן ראתה את החבילה החתומה במועד", "A time-stamping authority saw the signed package at")
_UNSTAMPED = Description(
    "לחבילה אין חותמת זמן: מועד החתימה נסמך על המפעילה בלבד.",
    "The package has no time stamp: when it was signed rests on the operator's word alone.",
)

FINDINGS = {
    Code.OUTER_CORRUPT: Description("הקובץ פגום, קטוע, או אינו חבילה מסוג זה", "the file is damaged, cut short, or not such a package"),
    Code.WRONG_RECIPIENT: Description("החבילה אינה מיועדת למפתח זה", "the package is not meant for this key"),
    Code.PATH_UNSAFE: Description("בחבילה שם קובץ מסוכן", "the package holds an unsafe file name"),
    Code.UNTRUSTED_KEY: Description("החבילה נחתמה במפתח אחר מזה שנמסר כמהימן", "signed by another key than the one that is trusted"),
    Code.SIGNATURE_INVALID: Description(
        "תוכן החבילה שונה אחרי שנחתמה, או שחתימתה זויפה", "altered after it was signed, or the signature is forged"
    ),
    Code.CMS_INVALID: Description(
        "חתימת התעודה של הארגון אינה תקפה לחבילה זו", "the signature of the organisation's certificate is not this package's"
    ),
    Code.TIMESTAMP_INVALID: Description("חותמת הזמן אינה תקפה לחבילה זו", "the time stamp is not this package's"),
    Code.MANIFEST_INVALID: Description("הקובץ החתום אינו במבנה מוכר", "what is signed is not of a known form"),
    Code.PAYLOAD_MISSING: Description("חסר קובץ", "a file is missing"),
    Code.PAYLOAD_EXTRA: Description("נוסף קובץ שאיש לא חתם עליו", "a file was added that nobody signed"),
    Code.CHECKSUM_MISMATCH: Description("קובץ שונה", "a file was changed"),
    Code.COUNT_MISMATCH: Description("מספר הרשומות אינו המספר שנחתם", "the records are not as many as was signed"),
    Code.TOTALS: Description("שתי אמירות בחבילה סותרות זו את זו", "two statements of the package contradict each other"),
    Code.LOG_MISMATCH: Description(
        "יומן הגישה שנמסר אינו מתיישב עם החבילה", "the access log that was given does not agree with the package"
    ),
}


def sentences(verdict: Verdict, language: Language) -> list[str]:
    """The verdict, a sentence a line; of an unsigned package nothing is repeated."""

    def said(text: Description) -> str:
        return text.he if language is Language.HE else text.en

    lines = [said(_HOLDS if verdict.ok else _FAILS)]
    lines += [f"- {said(FINDINGS[finding.code])} [{finding.code}: {finding.where}]" for finding in verdict.findings]
    if verdict.ok and verdict.manifest is not None:
        lines += [f"- {category}: {count} {said(_RECORDS)}" for category, count in verdict.manifest.counts.items()]
        lines += [f"- {category}: {count} {said(_WITHHELD)} ({reason})" for (category, reason), count in verdict.manifest.withheld.items()]
        stamp = verdict.stamp_time
        lines.append(f"{said(_STAMPED)} {stamp:%Y-%m-%d %H:%M:%S UTC}." if stamp else said(_UNSTAMPED))
    return lines
