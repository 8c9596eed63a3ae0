"""The closed texts of the erasure certificate's pages, Hebrew and English, for a lawyer to read and correct.

One table per closed set of the certificate (policy §6.1–§6.5). A value that is not listed is shown as it stands, so that nothing is lost.
"""

from vault.catalogue.fields import Description

STATES = {
    "COMPLETE": Description(
        "המחיקה הושלמה. כל מה שנמצא נמחק, ומה שנשמר על פי דין מפורט להלן.",
        "The erasure is complete. What was found is erased; what is kept under law is listed below.",
    ),
    "PARTIAL": Description(
        "המחיקה חלקית: חלק מן הפעולות טרם הסתיימו, והן מפורטות להלן.",
        "The erasure is partial: some of what follows from it is not done yet, as listed below.",
    ),
    "FORWARDED": Description(
        "הבקשה הועברה אל בעל השליטה במאגר, וההחלטה בידיו. כאן לא נמחק דבר.",
        "The request was passed on to the controller of the data, who decides about it. Nothing was erased here.",
    ),
}

REQUESTERS = {
    "SUBJECT": Description("האדם שהמידע עליו", "The person whom the data is about"),
    "GUARDIAN": Description("הורה או אפוטרופוס", "A parent or guardian"),
    "REPRESENTATIVE": Description("מיופה כוח", "A representative with power of attorney"),
    "TENANT": Description("הלקוח, עבור משתמש הקצה שלו", "The customer, for its end customer"),
    "OPERATOR": Description("המפעילה, ביוזמתה", "The operator, of its own motion"),
    "RETENTION": Description("תום תקופת השמירה", "The end of the retention period"),
    "CONTRACT_END": Description("סיום ההתקשרות עם הלקוח", "The end of the contract with the customer"),
    "COURT": Description("בית המשפט", "A court"),
}

BASES = {
    "LEGAL_HOLD": Description("צו או דרישת שימור", "A court order or a demand for preservation"),
    "STATUTORY_TAX": Description("שמירת מסמכים לפי דיני המס", "Documents kept under tax law"),
    "REGULATORY_TELECOM": Description("חובת שמירה לפי דיני התקשורת", "A duty to keep under telecommunications law"),
    "LEGAL_CLAIM": Description("תביעה או הליך משפטי", "A legal claim or proceeding"),
    "CONSENT_EVIDENCE": Description("ראיה להסכמה שניתנה", "Evidence of a consent that was given"),
    "AUDIT_FLOOR": Description("תקופת שמירה מזערית של יומן הביקורת", "Minimum period of the audit log"),
    "RETAINED_UNDER_LAW": Description("נשמר על פי דין", "Retained under law"),
}

METHODS = {
    "KEY_DESTRUCTION": Description(
        "השמדת מפתח ההצפנה: כל עותק של המידע, גם בגיבויים, אינו ניתן עוד לפענוח",
        "Destruction of the encryption key: no copy of the data, in backups too, can be decrypted any more",
    ),
    "ROW_DELETION": Description("מחיקת הרשומות ממסד הנתונים", "Deletion of the rows from the database"),
    "TOKENISATION": Description(
        "החלפת המזהה באסימון שאין ממנו דרך חזרה אל האדם",
        "Replacement of the identifier by a token that does not lead back to the person",
    ),
}

SUPPRESSION = {
    "KEPT": Description(
        "נשמר אסימון חד־כיווני, כדי שלא יישלח עוד דיוור לאדם זה",
        "A one-way token is kept, so that nothing is marketed to this person again",
    ),
    "ERASED": Description("נמחק גם סימן ההסרה מדיוור", "The mark of the opt-out is erased too"),
}

NOTIFICATION_STATES = {
    "PENDING": Description("טרם נשלחה", "Not sent yet"),
    "SENT": Description("נשלחה, טרם אושרה", "Sent, not acknowledged yet"),
    "ACKNOWLEDGED": Description("נשלחה ואושרה", "Acknowledged"),
    "FAILED": Description("השליחה נכשלה", "Sending failed"),
}

NOT_REACHABLE = {
    "MERGED_BODIES": Description(
        "מידע אישי שמוזג בגוף הודעות אל אנשים אחרים אינו ניתן לאיתור לפי מזהה, ולא חיפשו אותו.",
        "Personal data merged into the bodies of messages to other people cannot be found by an identifier and was not searched for.",
    ),
}

LABELS = {
    "title": Description("תעודת מחיקה", "Certificate of erasure"),
    "request": Description("הבקשה", "The request"),
    "certificate_no": Description("מספר התעודה", "Certificate number"),
    "issuer": Description("המנפיק", "Issuer"),
    "operator": Description("המפעילה", "Operator"),
    "erasure": Description("המחיקה", "Erasure"),
    "state": Description("מצב", "State"),
    "next_time": Description("המועד הבא", "Next date"),
    "supplement": Description("תוספת מספר", "Supplement number"),
    "supplements": Description("משלימה את התעודה", "Supplements certificate"),
    "identifier": Description("המזהה, ממוסך", "Identifier, masked"),
    "subject": Description("האדם, בכינוי שאינו מזהה", "The person, by an opaque name"),
    "requester_kind": Description("מי ביקש", "Requested by"),
    "request_time": Description("מועד הבקשה", "Requested"),
    "finish_time": Description("מועד הסיום", "Finished"),
    "approvers": Description("מי אישר", "Approved by"),
    "policy_version": Description("גרסת המדיניות", "Policy version"),
    "outcomes": Description("מה נמצא ומה נעשה בו", "What was found and what was done with it"),
    "category": Description("סוג המידע", "Category"),
    "found": Description("נמצאו", "Found"),
    "erased": Description("נמחקו", "Erased"),
    "tokenised": Description("הוחלפו באסימון", "Tokenised"),
    "restricted": Description("נשמרו בהגבלה", "Restricted"),
    "forwarded": Description("הועברו", "Forwarded"),
    "total": Description("סך הכול", "Total"),
    "kept": Description("מה נשמר בהגבלה, ועד מתי", "What is kept under restriction, and until when"),
    "basis": Description("היסוד", "Basis"),
    "count": Description("רשומות", "Records"),
    "end": Description("המועד", "When"),
    "until": Description("עד", "Until"),
    "review": Description("ייבחן שוב", "To be reviewed"),
    "passed_on": Description("מה הועבר להחלטת בעל השליטה במאגר", "What was passed on to the controller of the data"),
    "controller": Description("בעל השליטה במאגר", "Controller"),
    "methods": Description("כיצד נמחק", "How it was erased"),
    "method": Description("הפעולה", "What was done"),
    "key_ids": Description("מפתחות שהושמדו", "Keys destroyed"),
    "reach": Description("במקומות אחרים", "Elsewhere"),
    "caches_verified_time": Description("מטמונים נבדקו ונמצאו ריקים", "Caches checked and found empty"),
    "backups_expire_time": Description(
        "מועד פקיעת הגיבוי האחרון שמכיל את המידע המוצפן", "The last backup that holds the encrypted data expires"
    ),
    "suppression": Description("סימן ההסרה מדיוור", "Opt-out mark"),
    "not_reachable": Description("מה אינו בהישג", "Not reachable"),
    "notifications": Description("הודעות למי שקיבל את המידע", "Notices to those who received the data"),
    "recipient": Description("הנמען", "Recipient"),
    "audit": Description("יומן הביקורת", "Audit log"),
    "log": Description("היומן", "Log"),
    "index": Description("מספר הרשומה ביומן", "Number of the entry"),
    "size": Description("גודל היומן", "Size of the log"),
    "root": Description("שורש היומן", "Root of the log"),
    "further": Description("פרטים נוספים, כפי שהם בתעודה החתומה", "Further members, as they stand in the signed certificate"),
    "proof": Description("מה חתום וכיצד לבדוק", "What is signed, and how to check it"),
    "sha256": Description("טביעת האצבע של התעודה החתומה", "SHA-256 of the signed certificate"),
    "signatures": Description("חתומה בידי", "Signed by"),
}

PROOF = (
    Description(
        "העמודים האלה הם תצוגה בלבד. חתום הוא הקובץ המצורף שבתוך מסמך זה:",
        "These pages are a rendering. What is signed is the file attached inside this document:",
    ),
    Description(
        "לבדיקה יש להשיג את המפתח הציבורי של המנפיק בדרך אחרת ולא מתוך מסמך זה, ולהריץ:",
        "To check it, obtain the issuer's public key by a way other than this document, and run:",
    ),
    Description(
        "התעודה מוכיחה שהמנפיק הצהיר את הכתוב בה; שהיומן מסכים עמה נבדק מול הרשומה הנקובה. כל השעות הן בזמן אוניברסלי מתואם.",
        "The certificate proves that the issuer said so; that the log agrees is checked against the entry it names. All times are UTC.",
    ),
)
