"""What the catalogue says, as values: categories, parties, grants, purposes, roles.

Rules:
- Read once, never changed: a new catalogue is a new `Catalogue` with another version.
- A name that is not listed does not exist; a name of what must never be stored is refused for that reason (C00).

No I/O; files are read by `loader.py`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from vault.catalogue import check
from vault.catalogue.check import Value
from vault.catalogue.fields import Description, Field, FieldType, NeverStored, Sensitivity, Storage
from vault.catalogue.words import (
    ConsentBasis,
    ContractEnd,
    CourtClass,
    Erasure,
    ErasureException,
    HeldAs,
    Minors,
    Operation,
    Reason,
    Recipient,
    Responsibility,
    RetentionEvent,
    View,
)
from vault.errors import FailedPreconditionError, InvalidArgumentError

__all__ = [
    "Catalogue",
    "Category",
    "ConsentBasis",
    "ContractEnd",
    "CourtClass",
    "Description",
    "Entity",
    "Erasure",
    "ErasureException",
    "Field",
    "FieldType",
    "Grant",
    "HeldAs",
    "Holder",
    "Level",
    "Minors",
    "NeverStored",
    "Officer",
    "Operation",
    "Organisation",
    "Party",
    "Purpose",
    "Reason",
    "Recipient",
    "Responsibility",
    "Retention",
    "RetentionEvent",
    "Risk",
    "Role",
    "RowKind",
    "Sensitivity",
    "Storage",
    "Value",
    "View",
]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long something is kept.

    Attributes:
        days: days from the event to the end of ordinary use.
        restricted_days: days from the event until the record is erased, restricted since `days`; 0 if it is erased at once.
        ceiling_days: most that `days` may be; 0 if the policy gives no ceiling.
        floor_days: least that `days` may be; 0 if the law gives no floor.
        latest_days: days from storing after which it goes although the event never came; 0 where the event is sure to come.
        afterwards: what becomes of it between `days` and `restricted_days`: restricted whole, or the person in it tokenised besides.
        text: the same, for people.
        reason: where the number comes from.
    """

    days: int
    restricted_days: int
    ceiling_days: int
    floor_days: int
    latest_days: int
    afterwards: Erasure
    event: RetentionEvent
    text: Description
    reason: Description


@dataclass(frozen=True, slots=True)
class Level:
    """One content level of a category.

    Attributes:
        retained: whether content is stored at this level (P3.2-lvl-rep, P3.2-lvl-files-on).
    """

    name: str
    retained: bool
    retention: Retention


@dataclass(frozen=True, slots=True)
class Party:
    """One person whom a record concerns; each party's fields are sealed under that party's key.

    Attributes:
        identified_by: fields by which the party is found or created, in this order; empty if only the caller can name the subject.
        optional: whether a record may be without it.
    """

    name: str
    identified_by: tuple[str, ...]
    optional: bool
    description: Description


@dataclass(frozen=True, slots=True)
class RowKind:
    """Records of a category that some of its rules do not hold for, told apart by one clear field.

    Attributes:
        field: the enum that tells them.
        values: which of its values mean this kind.
        affiliate: whether these may be released to the affiliate.
        retention: how long these are kept; None if as the rest.
        on_erasure: what an erasure leads to; None if as the rest.
        on_contract_end: what the end of the customer's contract leads to; None if as the rest.
        ends_on_objection: whether an objection of its owner ends the time for which it is kept (P2.5-nonsub).
        account_terms: the clear field that names the terms under which its owner opened an account by it; empty if nobody did (P2.9a-mkt-in).
    """

    name: str
    field: str
    values: frozenset[str]
    affiliate: bool
    retention: Retention | None
    on_erasure: Erasure | None
    on_contract_end: ContractEnd | None
    ends_on_objection: bool
    account_terms: str
    description: Description


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission: any of the roles may do any of the operations for any of the purposes.

    Attributes:
        number: place in the file, from 1.
        levels: content levels it covers; empty exactly if the category has none.
        view: the most that is shown.
        recipients: who may receive it.
    """

    number: int
    operations: frozenset[Operation]
    roles: frozenset[str]
    purposes: frozenset[str]
    levels: frozenset[str]
    view: View
    recipients: frozenset[Recipient]


@dataclass(frozen=True, slots=True)
class Role:
    """What a caller may hold.

    Attributes:
        on_request: whether it touches lists only at the customer's request (P3.2.1-rep).
        other_entity: whether it belongs to the affiliate, another legal entity (A2).
        for_jobs: whether it reads lists for scheduled jobs only (P3.5-send).
    """

    name: str
    code: str
    on_request: bool
    other_entity: bool
    for_jobs: bool
    description: Description


@dataclass(frozen=True, slots=True)
class Purpose:
    """What data may be used for.

    Attributes:
        contract_levels: content levels at which the contract is basis enough (A3).
        requirement: where the policy speaks of it.
    """

    name: str
    code: str
    basis: ConsentBasis
    contract_levels: frozenset[str]
    requirement: str
    description: Description

    def basis_at(self, level: str) -> ConsentBasis:
        """The basis that a use at this content level needs."""
        return ConsentBasis.CONTRACT if level in self.contract_levels else self.basis


@dataclass(frozen=True, slots=True)
class Entity:
    """A legal entity: id and name."""

    id: str
    name: Description

    @property
    def in_both(self) -> str:
        """The name in both languages, for what is signed once for readers of either."""
        return f"{self.name.en} / {self.name.he}"


@dataclass(frozen=True, slots=True)
class Officer:
    """Who answers for something: an office, and where it is reached."""

    office: Description
    contact: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody else by whom data is processed, and what they do."""

    name: Description
    processing: Description


@dataclass(frozen=True, slots=True)
class Risk:
    """What could happen to the data, and what is done against it."""

    risk: Description
    measure: Description


@dataclass(frozen=True, slots=True)
class Organisation:
    """What the database definition says beside the categories (L1).

    Attributes:
        definition_reviewed: when it was last looked through.
        transfers: what goes abroad.
    """

    definition_reviewed: date
    operator_address: Description
    affiliate_address: Description
    database_manager: Officer
    security_officer: Officer
    privacy_officer: Officer
    transfers: Description
    holders: tuple[Holder, ...]
    risks: tuple[Risk, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of record.

    Attributes:
        title, description: what it is, in a word or two and in a sentence.
        notice: what it is used for, for notices to those concerned (P2.2-notice).
        source: where it comes from (P2.2-notice).
        operating_entity: id of the legal entity that answers for it (A27).
        towards: for whom the operator processes it, or whom it answers to as controller (P1.8-role).
        held_as: as records, or in a register with methods of its own.
        service_only: whether no person is ever shown it, whatever their role.
        asks_who_readds: whether somebody who was erased is added again only with who asked for it (P2.10b-readd).
        minors: what being under age changes; None where nothing does.
        parties: the first owns the record.
        fields: by name, in the order of the file.
        occur_field: timestamp field that says when it happened.
        valid_from_field: timestamp field at which validity begins, inclusive.
        valid_to_field: timestamp field at which it ends, exclusive.
        ended_field: clear timestamp field that says when what it is about was over; None where no retention counts from that.
        requires_as_of: whether a look-up must say which moment it means, because numbers are recycled (A29).
        levels: content levels by name; empty if none apply.
        retention: how long; None if the levels say so.
        rows: kinds of records with rules of their own.
        is_list: whether it is part of a customer's distribution list (P3.2.1-rep).
        court_class: kind of order that can cover it; fields may say otherwise.
        court_if_named: whether an order has to name its fields one by one.
        affiliate: whether all of it may be released to the affiliate (P3.6-aff); a part may be, where a kind of rows says so.
        erasure_exception: why records are kept although their erasure was asked for; None if none are.
        erasure_note, contract_end_note: what the one word about it does not say; None if it says all.
        kept_for: why it is kept after the customer's contract; empty for what is not, or does not hang on one.
    """

    name: str
    code: str
    title: Description
    description: Description
    notice: Description
    source: Description
    data_subject: Description
    products: frozenset[str]
    operating_entity: str
    responsibility: Responsibility
    towards: Description
    held_as: HeldAs
    service_only: bool
    asks_who_readds: bool
    minors: Minors | None
    parties: tuple[Party, ...]
    fields: Mapping[str, Field]
    occur_field: str | None
    valid_from_field: str | None
    valid_to_field: str | None
    ended_field: str | None
    requires_as_of: bool
    levels: Mapping[str, Level]
    retention: Retention | None
    rows: tuple[RowKind, ...]
    grants: tuple[Grant, ...]
    court_class: CourtClass
    court_if_named: bool
    affiliate: bool
    is_list: bool
    on_erasure: Erasure
    erasure_exception: ErasureException | None
    erasure_note: Description | None
    on_contract_end: ContractEnd
    contract_end_note: Description | None
    kept_for: frozenset[Reason]
    requirements: tuple[str, ...]
    never_stored: NeverStored

    def missing_parties(self, present: Collection[str]) -> tuple[str, ...]:
        """Parties that every record of the category had when it was stored, and that are not among those present: their part was destroyed."""
        must_be = {spec.party for spec in self.fields.values() if spec.required}
        return tuple(party.name for party in self.parties if party.name in must_be and party.name not in present)

    @property
    def retentions(self) -> tuple[Retention, ...]:
        """How long records of it are kept, of whatever kind and at whatever level."""
        of_rows = [row.retention for row in self.rows if row.retention is not None]
        return (*([self.retention] if self.retention else []), *of_rows, *(level.retention for level in self.levels.values()))

    def end_field(self, event: RetentionEvent) -> str | None:
        """The field that says when a retention begins to count which counts from an end; None for one that counts from something else."""
        match event:
            case RetentionEvent.VALIDITY_ENDED:
                return self.valid_to_field
            case RetentionEvent.ENDED:
                return self.ended_field
            case _:
                return None

    @property
    def is_transient(self) -> bool:
        """Whether a record is destroyed once it is delivered (P3.4-rec)."""
        return self.retention is not None and self.retention.event is RetentionEvent.DELIVERED

    @property
    def shared_with_affiliate(self) -> str:
        """How much of it may go to the affiliate: `whole`, `part` or `no` (P3.6-aff)."""
        return "whole" if self.affiliate else "part" if any(row.affiliate for row in self.rows) else "no"

    @property
    def outlives(self) -> bool:
        """Whether the end of the customer's contract changes what it may be used for."""
        return self.on_contract_end is not ContractEnd.UNAFFECTED or bool(self.kept_for)

    def contract_end(self, metadata: Mapping[str, object]) -> ContractEnd:
        """What the end of the customer's contract leads to for a record with these clear fields."""
        kind = self.row_kind(metadata)
        return self.on_contract_end if kind is None or kind.on_contract_end is None else kind.on_contract_end

    def row_kind(self, metadata: Mapping[str, object]) -> RowKind | None:
        """The kind of record that its clear fields make it; None for the ordinary one."""
        return next((row for row in self.rows if metadata.get(row.field) in row.values), None)

    def is_for_affiliate(self, metadata: Mapping[str, object]) -> bool:
        """Whether a record with these clear fields may go to the affiliate."""
        kind = self.row_kind(metadata)
        return self.affiliate or (kind is not None and kind.affiliate)

    def check_storable(self) -> None:
        """Refuse what is not stored as a record.

        Raises:
            FailedPreconditionError: CATEGORY_HELD_AS_REGISTER.
        """
        if self.held_as is HeldAs.REGISTER:
            message = f"'{self.name}' is kept in a register that its own methods write"
            raise FailedPreconditionError("CATEGORY_HELD_AS_REGISTER", message, field="category")

    def retention_at(self, level: str, metadata: Mapping[str, object] | None = None) -> Retention:
        """How long a record of this content level is kept.

        Args:
            level: empty where the category has none.
            metadata: the record's clear fields, by which some kinds of records are told apart.
        Raises:
            InvalidArgumentError: LEVEL_INVALID.
        """
        kind = self.row_kind(metadata or {})
        if not level and kind is not None and kind.retention is not None:
            return kind.retention
        found = self.levels[level].retention if level in self.levels else self.retention if not level else None
        if found is None:
            raise InvalidArgumentError("LEVEL_INVALID", f"category '{self.name}' has no such content level", field="level")
        return found

    def check_fields(self, values: Mapping[str, Value], *, partial: bool = False) -> dict[str, Value]:
        """Check the values of one record and bring them into normal form.

        Args:
            values: values by field name.
            partial: whether they are only some of the record's, as in an update.
        Raises:
            InvalidArgumentError: SAD_FORBIDDEN, CATEGORY_NOT_COLLECTED, UNKNOWN_FIELD, FIELD_REQUIRED, FIELD_INVALID, NO_USABLE_IDENTIFIER,
                or a reason that the catalogue gives for a field.
        """
        normal = check.check_values(self.fields, self.never_stored, values, partial=partial)
        for party in self.parties if not partial else ():
            if not party.optional or any(self.fields[name].party == party.name for name in normal):
                check.check_one_of(party.identified_by, normal)
        if self.valid_from_field and self.valid_to_field:
            check.check_interval(self.valid_from_field, self.valid_to_field, normal)
        return normal


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that may be stored, and for what.

    Attributes:
        version: given by people, e.g. `2026.1`.
        digest: SHA-256 over the files, 64 hex characters.
        guards_sha256: digest of the guards this catalogue was reviewed with; a policy with others refuses to start.
        access_sha256: the same of the table of who may call which method. By the two, the digest stands for every file of the bundle.
    """

    version: str
    digest: str
    guards_sha256: str
    access_sha256: str
    operator: Entity
    affiliate: Entity
    organisation: Organisation
    products: Mapping[str, Description]
    roles: Mapping[str, Role]
    purposes: Mapping[str, Purpose]
    categories: Mapping[str, Category]
    never_stored: NeverStored

    @property
    def policy_version(self) -> str:
        """What every decision and audit entry names: version and content."""
        return f"{self.version}+{self.digest[:12]}"

    def category(self, name: str) -> Category:
        """The category of this name.

        Raises:
            InvalidArgumentError: CATEGORY_NOT_COLLECTED, UNKNOWN_CATEGORY.
        """
        if found := self.categories.get(name):
            return found
        if self.never_stored.is_reserved(name):
            raise InvalidArgumentError("CATEGORY_NOT_COLLECTED", "data of this kind is never stored", field="category")
        raise InvalidArgumentError("UNKNOWN_CATEGORY", "the catalogue has no such category", field="category")

    def purpose(self, name: str) -> Purpose:
        """The purpose of this name.

        Raises:
            InvalidArgumentError: UNKNOWN_PURPOSE.
        """
        if found := self.purposes.get(name):
            return found
        raise InvalidArgumentError("UNKNOWN_PURPOSE", "the catalogue has no such purpose", field="justification.purpose")

    def known_purpose(self, name: str) -> str:
        """The name if there is such a purpose, else nothing: for what must not repeat a caller's words."""
        return name if name in self.purposes else ""

    def role(self, name: str) -> Role:
        """The role of this name.

        Raises:
            InvalidArgumentError: UNKNOWN_ROLE.
        """
        if found := self.roles.get(name):
            return found
        raise InvalidArgumentError("UNKNOWN_ROLE", "the catalogue has no such role", field="role")
