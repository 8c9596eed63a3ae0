"""The closed texts on the pages of a court-order package, Hebrew and English, for a lawyer to read and correct.

A word that is not listed is shown as it stands, so that nothing is lost.
"""

from vault.catalogue.fields import Description

LABELS = {
    "cover": Description("חבילת רשומות לפי צו", "Records delivered under an order"),
    "statement": Description("הצהרת מנהל הרשומות", "Statement of the custodian of the records"),
    "package": Description("החבילה", "The package"),
    "export": Description("מזהה החבילה", "Package"),
    "operator": Description("הוכנה בידי", "Prepared by"),
    "snapshot": Description("מועד צילום הנתונים", "Snapshot taken"),
    "order": Description("הצו", "The order"),
    "instrument": Description("סוג המסמך", "Instrument"),
    "court": Description("בית המשפט או הגורם המוסמך", "Court or authority"),
    "case": Description("מספר התיק", "Case"),
    "judge": Description("שופט או קצין מוסמך", "Judge or officer"),
    "body": Description("הגוף המבקש", "Requesting body"),
    "issued": Description("ניתן ביום", "Issued"),
    "valid": Description("בתוקף עד", "Valid until"),
    "document": Description("טביעת SHA-256 של מסמך הצו", "SHA-256 of the order's document"),
    "scope": Description("היקף הצו", "What the order covers"),
    "from": Description("מתאריך", "From"),
    "to": Description("עד תאריך (לא כולל)", "To (exclusive)"),
    "targets": Description("מספר המזהים הנקובים בצו", "Identifiers named by the order"),
    "digest": Description("טביעת ההיקף המאושר", "Digest of the approved scope"),
    "records": Description("הרשומות שבחבילה", "Records in this package"),
    "category": Description("סוג המידע", "Category"),
    "count": Description("רשומות", "Records"),
    "total": Description("סך הכול", "In total"),
    "withheld": Description("רשומות שהצו חל עליהן ואינן בחבילה", "Records that the order covers and this package does not hold"),
    "reason": Description("הסיבה", "Reason"),
    "none": Description("אין", "None"),
    "recipient": Description("הנמען", "Recipient"),
    "recipient_key": Description("טביעת SHA-256 של מפתח הנמען", "SHA-256 of the recipient's key"),
    "key_verified": Description("אופן אימות המפתח", "How that key was verified"),
    "log": Description("יומן הגישה", "Access log"),
    "log_size": Description("רשומות ביומן בעת הצילום", "Entries at the snapshot"),
    "log_root": Description("טביעת ראש היומן", "Head of the log"),
    "verify": Description("כיצד לאמת", "How to verify"),
    "keeping": Description("כיצד נוצרו הרשומות ונשמרו", "How the records were made and kept"),
    "first": Description("האירוע הראשון", "First event"),
    "last": Description("האירוע האחרון", "Last event"),
    "within": Description("נשמרו בתוך יממה מן האירוע", "Stored within a day of the event"),
    "signature": Description("חתימה", "Signature"),
    "name": Description("שם מלא ותפקיד", "Full name and position"),
    "identity": Description("מספר זהות", "Identity number"),
    "signed": Description("תאריך וחתימה", "Date and signature"),
}

INSTRUMENTS = {
    "COMMS_DATA": Description("צו לקבלת נתוני תקשורת", "Order for communications data"),
    "COMMS_URGENT": Description("היתר דחוף לקבלת נתוני תקשורת", "Urgent permit for communications data"),
    "PRODUCTION": Description("צו להמצאת מסמכים", "Production order"),
    "CIVIL_DISCLOSURE": Description("צו לגילוי מסמכים בהליך אזרחי", "Order for disclosure in civil proceedings"),
    "REGULATOR_DEMAND": Description("דרישה של רשות מוסמכת", "Demand of an authority"),
}

REASONS = {
    "KEY_DESTROYED": Description(
        "הרשומה נמחקה ומפתח ההצפנה שלה הושמד לפני הכנת החבילה; אין דרך לשחזרה",
        "The record was erased and its encryption key destroyed before the package was built; it cannot be brought back",
    ),
    "CHANGED_SINCE_SNAPSHOT": Description(
        "הרשומה תוקנה בזמן הכנת החבילה; יש לבקשה מחדש",
        "The record was rectified while the package was built; it has to be asked for again",
    ),
    "CLASS_NOT_COVERED": Description("מסמך מסוג זה אינו חל על מידע כזה", "An instrument of this kind does not cover such data"),
}

# How a package is checked: with our command, and without it.
VERIFY = (
    Description(
        "את המפתח הציבורי של המפעילה יש להשיג בדרך אחרת, ולא מתוך החבילה, ולהשוות את טביעתו. אחר כך:",
        "Obtain the operator's public key by a way other than this package and compare its fingerprint. Then:",
    ),
    Description(
        "לחלופין בכלים מקובלים, כמפורט במסמך התיעוד: פתיחת המעטפה, אימות החתימה על הקובץ ואימות הטביעות שבו.",
        "Or with common tools, as the documentation says: open the envelope, check the signature over the manifest, and the digests in it.",
    ),
    Description(
        "כל השעות בדפים אלה הן בזמן אוניברסלי מתואם. הדפים נועדו לקריאה; מה שנחתם הוא הקובץ שלהלן.",
        "All times on these pages are UTC. The pages are for reading; what is signed is this file.",
    ),
)

# The statement, for section 36 of the Evidence Ordinance; what is in braces is filled from facts.
STATEMENT = (
    Description(
        'אני הח"מ, המופקד על רשומות המפעילה, נותן הצהרה זו לשם הגשת הרשומות שבחבילה כרשומות מוסדיות לפי סעיף 36 לפקודת הראיות.',
        "I, the custodian of the operator's records, make this statement so that the records in this package may be "
        "admitted as institutional records "
        "under section 36 of the Evidence Ordinance.",
    ),
    Description(
        "הרשומות נוצרו במהלך הפעילות הרגיל של המפעילה, בידי המערכות שמספקות את השירות, סמוך להתרחשות האירועים שהן מתעדות. "
        "העובדות לכל סוג מידע מפורטות בטבלה שלהלן.",
        "The records were made in the ordinary course of the operator's business, by the systems that provide the "
        "service, near the time of the events "
        "that they record. The facts for each category are in the table below.",
    ),
    Description(
        "כל שדה נשמר כשהוא מוצפן ומאומת (AES-256-GCM), וכל שינוי בו היה מתגלה בפתיחתו. כל הרשומות שבחבילה נפתחו בהכנתה, והאימות עלה יפה בכולן.",
        "Every field is kept encrypted and authenticated (AES-256-GCM); any alteration is found when it is opened. "
        "All records in this package were "
        "opened when it was built, and every one of them was authentic.",
    ),
    Description(
        "הגישה לרשומות מוגבלת לפי תפקיד ומטרה, וכל גישה נרשמת לפני שנמסר דבר ביומן שאפשר רק להוסיף לו. ראש היומן בעת "
        "צילום הנתונים נקוב להלן ובקובץ החתום.",
        "Access to the records is limited by role and purpose, and every access is entered, before anything is released, in a log that can only be "
        "appended to. The head of the log at the snapshot stands below and in the signed manifest.",
    ),
    Description(
        "הרשומות נבחרו לפי המזהים, סוגי המידע והתקופה שבצו, והועתקו לכאן בלי שינוי, בידי תוכנה ובלי מגע יד אדם בתוכן.",
        "The records were selected by the identifiers, categories and period of the order, and copied here without "
        "alteration, by a program and without "
        "anybody touching what they say.",
    ),
)
