"""The closed sets of words that the catalogue is written in.

A word that is not listed here is refused by the loader; what a deployment may add (categories, purposes, roles) is in its files.
"""

from enum import StrEnum


class Language(StrEnum):
    """Language, and with it direction, of a text for people."""

    HE = "he"
    EN = "en"


class Operation(StrEnum):
    """What can be done with records of a category."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REVEAL = "reveal"
    FIND = "find"
    RESOLVE = "resolve"
    LIST = "list"
    EXPORT = "export"
    ERASE = "erase"
    CHECK = "check"
    """Asking a yes-or-no question that releases nothing, as a sender does before it writes to someone."""


class View(StrEnum):
    """How much of a value is shown. A grant of the full view includes the masked one."""

    MASKED = "masked"
    FULL = "full"


class Recipient(StrEnum):
    """Who receives what is released (P1.7-no3p)."""

    INTERNAL = "internal"
    TENANT = "tenant"
    AFFILIATE = "affiliate"
    DATA_SUBJECT = "data-subject"
    AUTHORITY = "authority"
    THIRD_PARTY = "third-party"


class ConsentBasis(StrEnum):
    """On what ground a purpose rests (P1.6c-consent, A3)."""

    CONTRACT = "contract"
    """Standing consent of the customer."""
    LAW = "law"
    """A standing legal duty."""
    TICKET = "ticket"
    TICKET_OR_INCIDENT = "ticket-or-incident"
    CUSTOMER_REQUEST = "customer-request"
    INCIDENT = "incident"
    ORDER = "order"
    SUBJECT_REQUEST = "subject-request"
    PREFERENCE = "preference"
    """The person's own recorded choice. Nothing a caller can refer to meets it."""

    @property
    def is_standing(self) -> bool:
        """Whether it holds without a reference."""
        return self in {ConsentBasis.CONTRACT, ConsentBasis.LAW}


class Responsibility(StrEnum):
    """Whether the operator decides about the data or processes it for a customer (P1.8-role)."""

    CONTROLLER = "controller"
    PROCESSOR = "processor"


class CourtClass(StrEnum):
    """Which kind of order can cover the category (§5.2)."""

    SUBSCRIBER = "S"
    TRAFFIC = "T"
    CONTENT = "C"
    NONE = "none"
    """No order can have it: it is not there to be had, or it is no fact about a person."""


class Erasure(StrEnum):
    """What a verified request of the subject leads to (A4)."""

    ERASED = "erased"
    FORWARDED = "forwarded"
    TOKENISED = "tokenised"
    RESTRICTED = "restricted"


class ErasureException(StrEnum):
    """Why something is kept although its erasure was asked for: a closed list (§6.3, L30)."""

    LEGAL_HOLD = "legal-hold"
    STATUTORY_TAX = "statutory-tax"
    REGULATORY_TELECOM = "regulatory-telecom"
    LEGAL_CLAIM = "legal-claim"
    CONSENT_EVIDENCE = "consent-evidence"
    AUDIT_FLOOR = "audit-floor"


class ContractEnd(StrEnum):
    """What the end of the customer's contract leads to (P3.8)."""

    DESTROYED = "destroyed"
    """At once, without the grace that lists have (P3.8-rm-cred)."""
    ERASED = "erased"
    """When the grace is over in which the customer may take it (P3.8-rm-lists)."""
    EXPIRES = "expires"
    KEPT = "kept"
    TOKENISED = "tokenised"
    """Kept, with a token that leads nowhere in the place of the person (A23)."""
    CONVERTED = "converted"
    """Becomes a former customer's contact and a billing record; the rest goes."""
    UNAFFECTED = "unaffected"
    """Does not hang on a customer's contract."""


class Reason(StrEnum):
    """Why something is kept after the customer's contract, and so what it may be used for (P3.8-reasons)."""

    ENQUIRY = "ENQUIRY"
    """(a) The customer's enquiry about a transaction or its use, or a complaint."""
    AUTHORITY_OR_CLAIM = "AUTHORITY_OR_CLAIM"
    """(b) A demand by lawful authority, or a legal claim."""
    KEEPING_IN_TOUCH = "KEEPING_IN_TOUCH"
    """(c) Keeping in touch."""


class HeldAs(StrEnum):
    """Where entries of a category are kept."""

    RECORD = "record"
    """As records, by CreateRecord."""
    REGISTER = "register"
    """In a register that its own methods write, as orders and agreements are; listed here because people have rights in it all the same."""


class Minors(StrEnum):
    """What being under age changes (P2.6-minor, A12)."""

    GUARDIAN = "guardian"
    """The operator is controller: nobody declared to be under 18 is stored without a guardian's consent."""
    ATTESTED = "attested"
    """The customer attests for its own lists; the vault guesses nobody's age."""


class RetentionEvent(StrEnum):
    """From when retention counts."""

    CREATED = "created"
    OCCURRED = "occurred"
    UNLISTED = "unlisted"
    """The contact left the last list that named it."""
    VALIDITY_ENDED = "validity-ended"
    """Its interval was closed: the field says when."""
    CONTRACT_ENDED = "contract-ended"
    DELIVERED = "delivered"
    """Kept until it is handed over, and destroyed then (P3.4-rec)."""
    TAX_YEAR_ENDED = "tax-year-ended"
    """The calendar year in which it happened is over."""
    ENDED = "ended"
    """What it is about is over: a template out of use, an account or case closed, an employment ended. A field of the record says when."""
    REMOVAL_ASKED = "removal-asked"
    """Kept until somebody asks for its removal, which erases it at once: no clock runs (A22)."""
