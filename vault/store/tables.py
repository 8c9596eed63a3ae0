"""Every table, once. `tenant_id` leads every primary key, unique constraint, foreign key and index.

Rules:
- No personal value in any column: what a person could be recognised by is sealed (`sealed`, `wrapped`) or keyed (`token`).
- Keys never stand beside their ciphertext in one table (design §4).
- No sequences, no cross-tenant references, so that the schema can be distributed by tenant as it is.
- What belongs to no tenant has `tenant_id = 'system'`.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases; SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "naive datetime"
            raise ValueError(msg)
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back: SQLite keeps none, and on PostgreSQL the last moment of 9999 is infinity, which asyncpg gives none either."""
        if value is None or (dialect.name != "sqlite" and value.tzinfo is not None):
            return value
        return value.replace(tzinfo=UTC)


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    # ACTIVE | TERMINATING | TERMINATED
    Column("state", Text, nullable=False),
    # Bumped whenever a key of the tenant dies or changes; a cached key of an older epoch is not used (I4).
    Column("key_epoch", Integer, nullable=False),
    # Name of the root key that wraps the tenant's keys: empty for the vault's own, else one of `root_keys` in the configuration.
    Column("root_key", Text, nullable=False),
    Column("reference_pattern", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("version", Integer, nullable=False),
    # Until when the agreements with the tenant and with the affiliate about it run; every decision reads it with the tenant (L7).
    Column("agreement_expire_time", UtcTime, nullable=True),
    Column("affiliate_agreement_expire_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id"),
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", Text, nullable=False),
    # data | restricted | index | text | legal | digest: see operations/keyring.py.
    Column("purpose", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    # HMAC of the address under the key itself: a root key that answers with another key is found out. Empty on rows of the first schema.
    Column("check_value", LargeBinary, nullable=False),
    # Name of the root key that wrapped it.
    Column("root_key", Text, nullable=False),
    # Encryptions under this key so far (NIST SP 800-38D §8.3), as of the last upkeep.
    Column("use_count", BigInteger, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "purpose", "version"),
)

key_rotations = Table(
    "key_rotations",
    metadata,
    # The tenant, or `system` for the root key and the signing key.
    Column("tenant_id", Text, nullable=False),
    Column("rotation_id", Text, nullable=False),
    # ROOT | DATA | RESTRICTED | INDEX | TEXT | LEGAL | DIGEST | SUBJECT | SIGNING
    Column("kind", Text, nullable=False),
    # Empty unless the key is one person's.
    Column("subject_id", Text, nullable=False),
    # RUNNING | COMPLETE | INCOMPLETE
    Column("state", Text, nullable=False),
    # Name of the root key whose tenants are wrapped anew; empty for the vault's own and for every other kind.
    Column("root_key", Text, nullable=False),
    # Version that new things are sealed under from the start of the rotation on.
    Column("version", Integer, nullable=False),
    # Where the next batch begins, and how far it is.
    Column("position", Text, nullable=False),
    Column("done_count", BigInteger, nullable=False),
    Column("total_count", BigInteger, nullable=False),
    # What could not be opened in the pass under way, and was left as it is.
    Column("failed_count", BigInteger, nullable=False),
    Column("requester", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("finish_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "rotation_id"),
    Index(None, "tenant_id", "state", "kind"),
)

# Background work is done by whichever worker holds its lease.
leases = Table(
    "leases",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)

# How much of the erasure ledger this database has seen, in the system tenant; a database of subject keys has one of its own. What a backup holds
# of it is what a restored database knows.
restore_markers = Table(
    "restore_markers",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # Another one after every replay: which life of the database it is.
    Column("incarnation", Text, nullable=False),
    # Whether a replay is due and has not come to its end.
    Column("is_pending", Integer, nullable=False),
    Column("change_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

# Revision of the oldest code that may serve this schema, in the system tenant; a database of subject keys has one of its own. Written by migrations.
schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("oldest_code", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

# Keys that signed checkpoints, certificates and packages, oldest first; each but the first was introduced by the one before it.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    # Succession note, signed by the old and the new key; empty for the first.
    Column("note", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "sequence"),
)

subjects = Table(
    "subjects",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # ACTIVE | RESTRICTED | ERASING | ERASED
    Column("state", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id"),
)

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # data | restricted: which of the tenant's keys wraps it. What an erasure has to keep is under the restricted one alone (§6.4).
    Column("keyring", Text, nullable=False),
    Column("tenant_key_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id", "version"),
)

# Which subject an identifying token belongs to: makes find-or-create atomic under concurrent writers.
identities = Table(
    "identities",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("index_version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "kind", "token"),
    Index(None, "tenant_id", "subject_id"),
)

records = Table(
    "records",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    # The owner, under whom the record is named.
    Column("subject_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("list_id", Text, nullable=False),
    # Import that last wrote the record: lineage, and what makes a duplicate row of one file a duplicate.
    Column("import_id", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("occur_time", UtcTime, nullable=True),
    Column("valid_from", UtcTime, nullable=True),
    Column("valid_to", UtcTime, nullable=True),
    Column("expire_time", UtcTime, nullable=True),
    Column("metadata", JSON, nullable=False),
    Column("version", Integer, nullable=False),
    # When retention has something to do about it next: a field that goes before the record does, or the record's own end. Null for never yet.
    Column("due_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "record_id"),
    Index(None, "tenant_id", "subject_id", "category"),
    Index(None, "tenant_id", "list_id", "category", "subject_id"),
    # Category and level stand in front, so that what is left of a level that was switched off is found as well.
    Index(None, "tenant_id", "category", "level", "due_time"),
)

record_parts = Table(
    "record_parts",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # 0 for a party that is a token: nothing is sealed, and the opaque id leads nowhere (A23).
    Column("key_version", Integer, nullable=False),
    # Empty, with key version 0, where the subject's id is all that is left of the party (A23).
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "record_id", "role"),
    ForeignKeyConstraint(["tenant_id", "record_id"], ["records.tenant_id", "records.record_id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "subject_id", "record_id"),
)

index_entries = Table(
    "index_entries",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("index_version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "kind", "token", "record_id", "field"),
    ForeignKeyConstraint(["tenant_id", "record_id"], ["records.tenant_id", "records.record_id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "record_id"),
    Index(None, "tenant_id", "subject_id"),
)

# What a correction replaced, for thirty days (L14).
replaced_values = Table(
    "replaced_values",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    # Version of the record in which the values stood.
    Column("version", Integer, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "record_id", "role", "version"),
    ForeignKeyConstraint(["tenant_id", "record_id"], ["records.tenant_id", "records.record_id"], ondelete="CASCADE"),
    Index(None, "tenant_id", "subject_id"),
    Index(None, "tenant_id", "expire_time"),
)

idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    # HMAC of the body: it holds personal data, so no plain digest of it may exist (I2).
    Column("body_token", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "request_id"),
)

imports = Table(
    "imports",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("import_id", Text, nullable=False),
    # HMAC of file digest, category, list and repeat: recognises the file without keeping a digest of personal data.
    Column("source_token", LargeBinary, nullable=False),
    # HMAC of the file digest alone: leads from a row to the file it came in (§6.2). Empty for imports of the first versions.
    Column("file_token", LargeBinary, nullable=False),
    Column("category", Text, nullable=False),
    Column("list_id", Text, nullable=False),
    # TLS | PLAINTEXT: how the file came to the edge service (P3.7-optout).
    Column("ingress", Text, nullable=False),
    # Rows handled so far; a resumed import skips as many.
    Column("row_count", BigInteger, nullable=False),
    Column("accepted_count", BigInteger, nullable=False),
    Column("duplicate_count", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "import_id"),
    UniqueConstraint("tenant_id", "source_token"),
)

import_issues = Table(
    "import_issues",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("import_id", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("field", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "import_id", "line"),
)

customer_requests = Table(
    "customer_requests",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("list_id", Text, nullable=False),
    Column("operations", JSON, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("close_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "request_id"),
)

ndas = Table(
    "ndas",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("document_sha256", LargeBinary, nullable=False),
    Column("sign_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("registered_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "person"),
)

# What somebody may look at because something happened (P3.6-fraud, P3.6-sectech), and by when it is reported (L5, L39).
incidents = Table(
    "incidents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text, nullable=False),
    # SECURITY | TECHNICAL | FRAUD
    Column("kind", Text, nullable=False),
    # What happened, sealed under the tenant's text key.
    Column("summary", LargeBinary, nullable=False),
    # Opaque ids of the people it is limited to; everybody if empty.
    Column("subjects", JSON, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("approve_time", UtcTime, nullable=True),
    Column("create_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("close_time", UtcTime, nullable=True),
    # When it was first used, from which the time for its review counts.
    Column("use_time", UtcTime, nullable=True),
    Column("review_due_time", UtcTime, nullable=True),
    Column("reviewed_by", Text, nullable=False),
    Column("review_time", UtcTime, nullable=True),
    Column("finding", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "incident_id"),
)

# Roles that people hold, or were taken, whatever their token says (L2). People belong to no tenant.
role_grants = Table(
    "role_grants",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("granted_by", Text, nullable=False),
    Column("grant_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=True),
    Column("revoked_by", Text, nullable=False),
    Column("revoke_time", UtcTime, nullable=True),
    Column("attested_by", Text, nullable=False),
    Column("attest_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "principal", "role"),
)

access_reviews = Table(
    "access_reviews",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("review_id", Text, nullable=False),
    Column("list_digest", Text, nullable=False),
    Column("grant_count", Integer, nullable=False),
    Column("reviewed_by", Text, nullable=False),
    Column("review_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "review_id"),
)

# What may be processed for whom, until when (L7).
agreements = Table(
    "agreements",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("agreement_id", Text, nullable=False),
    # tenant | affiliate
    Column("party", Text, nullable=False),
    Column("purposes", JSON, nullable=False),
    Column("document_sha256", LargeBinary, nullable=False),
    Column("sign_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "agreement_id"),
    Index(None, "tenant_id", "party", "expire_time"),
)

# Consents and their withdrawal; what is withdrawn stays as evidence (L26).
consents = Table(
    "consents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("consent_id", Text, nullable=False),
    # Empty where the tenant itself consents, for everything of its own.
    Column("subject_id", Text, nullable=False),
    # third-party:{recipient} | purpose:{purpose}
    Column("scope", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("evidence_sha256", LargeBinary, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=True),
    Column("withdrawn_by", Text, nullable=False),
    Column("withdraw_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "consent_id"),
    Index(None, "tenant_id", "scope", "subject_id"),
    Index(None, "tenant_id", "subject_id"),
)

guardian_consents = Table(
    "guardian_consents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("evidence_sha256", LargeBinary, nullable=False),
    # DOCUMENT | CALL_BACK | IN_PERSON
    Column("method", Text, nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("verify_time", UtcTime, nullable=False),
    Column("withdraw_time", UtcTime, nullable=True),
    # When the year is over in which the minor comes of age.
    Column("majority_time", UtcTime, nullable=False),
    # Name and contact of the guardian, sealed under the minor's key of this version.
    Column("key_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id"),
)

# Every choice about advertising, the newest of a channel counts; evidence is never changed (L18).
marketing_preferences = Table(
    "marketing_preferences",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("preference_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # SMS | EMAIL | VOICE | FAX | POST
    Column("channel", Text, nullable=False),
    # IN | OUT
    Column("state", Text, nullable=False),
    # ACCOUNT_TERMS | EXPLICIT_OPT_IN | EXISTING_CUSTOMER_SIMILAR_SERVICE; empty for OUT
    Column("basis", Text, nullable=False),
    # WEB | PHONE | EMAIL | FAX | LETTER
    Column("source", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "preference_id"),
    Index(None, "tenant_id", "subject_id", "channel", "create_time"),
)

# Who wants no advertising, by keyed tokens that outlive the person's data if they did not choose otherwise (A5).
suppressions = Table(
    "suppressions",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "kind", "token"),
)

objections = Table(
    "objections",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id", "purpose"),
)

# Requests of people about their own data, each with the one statutory clock (L28).
subject_requests = Table(
    "subject_requests",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # Empty while the person is not known.
    Column("subject_id", Text, nullable=False),
    # ACCESS | RECTIFICATION | ERASURE | RESTRICTION | OBJECTION | PORTABILITY
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    # SUBJECT | GUARDIAN | REPRESENTATIVE
    Column("requester", Text, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("receive_time", UtcTime, nullable=False),
    Column("due_time", UtcTime, nullable=False),
    Column("evidence_sha256", LargeBinary, nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("verify_time", UtcTime, nullable=True),
    # Why it takes longer, sealed under the tenant's text key.
    Column("extend_reason", LargeBinary, nullable=False),
    Column("extend_time", UtcTime, nullable=True),
    Column("close_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "request_id"),
    Index(None, "tenant_id", "due_time", "request_id"),
    Index(None, "tenant_id", "subject_id"),
)

restrictions = Table(
    "restrictions",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("restriction_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # subject-request | objection | guardian-withdrawn
    Column("basis", Text, nullable=False),
    Column("restricted_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("lifted_by", Text, nullable=False),
    Column("lift_time", UtcTime, nullable=True),
    Column("notice_id", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "restriction_id"),
    Index(None, "tenant_id", "subject_id"),
)

# Where a tenant differs from the catalogue (P3.2-lvl-rep, P3.2-lvl-files-off).
content_levels = Table(
    "content_levels",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    # Empty for every channel.
    Column("channel", Text, nullable=False),
    Column("enabled", Integer, nullable=False),
    # 0 for the catalogue's.
    Column("retention_days", Integer, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "level", "channel"),
)

# Where a tenant lets data come unencrypted to an edge service (P3.7-optout, A11).
transport_policies = Table(
    "transport_policies",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("edge_service", Text, nullable=False),
    Column("signer", Text, nullable=False),
    Column("risk_text_version", Text, nullable=False),
    Column("sign_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("set_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "edge_service"),
)

# What the messaging engine may read of which list, for how long (P3.5-send).
jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("list_id", Text, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("close_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "job_id"),
)

# Who has to be told what, as tasks (L32, L35); opaque ids only.
notifications = Table(
    "notifications",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("notification_id", Text, nullable=False),
    # ERASURE | RECTIFICATION | RESTRICTION | RESTRICTION_LIFTED | FORWARDED | CONTROLLER_NOTICE
    Column("kind", Text, nullable=False),
    # tenant | affiliate | payment-provider
    Column("recipient", Text, nullable=False),
    # Name of the erasure, restriction, record version or order that it is about.
    Column("resource", Text, nullable=False),
    # Empty where it is about nobody in particular.
    Column("subject_id", Text, nullable=False),
    Column("categories", JSON, nullable=False),
    # PENDING | SENT | ACKNOWLEDGED
    Column("state", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("due_time", UtcTime, nullable=False),
    # From when on the recipient may know of it; none while an order forbids that without an end.
    Column("visible_time", UtcTime, nullable=True),
    Column("attempts", Integer, nullable=False),
    # When the webhook is tried next; none once it is not tried any more.
    Column("next_attempt_time", UtcTime, nullable=True),
    Column("last_error", Text, nullable=False),
    Column("acknowledged_by", Text, nullable=False),
    Column("acknowledge_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "notification_id"),
    UniqueConstraint("tenant_id", "resource", "kind", "recipient"),
    Index(None, "tenant_id", "state", "next_attempt_time"),
    Index(None, "tenant_id", "due_time", "notification_id"),
)

# Where a tenant wants to be told, besides asking for it.
webhooks = Table(
    "webhooks",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    # What deliveries are signed with, sealed under the tenant's text key for this address.
    Column("secret", LargeBinary, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("erasure_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # REQUESTED | RUNNING | PARTIAL | COMPLETE | FORWARDED
    Column("state", Text, nullable=False),
    Column("requester", Text, nullable=False),
    # SUBJECT | GUARDIAN | REPRESENTATIVE | TENANT
    Column("requester_kind", Text, nullable=False),
    # The person's request that it rests on; empty for a tenant's instruction.
    Column("reference", Text, nullable=False),
    Column("approvers", JSON, nullable=False),
    Column("required_approvals", Integer, nullable=False),
    # Whether what tells that the person wants no advertising is kept, as tokens (A5).
    Column("keep_suppression", Integer, nullable=False),
    Column("preview_digest", Text, nullable=False),
    # What was found, and what becomes of it, per category: as asked for, and as done.
    Column("preview", JSON, nullable=False),
    Column("outcomes", JSON, nullable=False),
    # Up to which record it was looked at what stays, and under which of the person's keys that is sealed anew; 0 if nothing stays.
    Column("position", Text, nullable=False),
    Column("kept_version", Integer, nullable=False),
    Column("restricted_version", Integer, nullable=False),
    # Versions of the person's key that were destroyed.
    Column("destroyed_keys", JSON, nullable=False),
    Column("request_time", UtcTime, nullable=False),
    Column("finish_time", UtcTime, nullable=True),
    PrimaryKeyConstraint("tenant_id", "erasure_id"),
    Index(None, "tenant_id", "subject_id"),
    Index(None, "tenant_id", "state"),
)

# What an erasure had to keep, why, and until when (§6.3).
erasure_exceptions = Table(
    "erasure_exceptions",
    metadata,
    Column("tenant_id", Text, nullable=False),
    # A record, or a row of the register that the category is kept in.
    Column("record_id", Text, nullable=False),
    # The party; empty for a row of a register.
    Column("role", Text, nullable=False),
    Column("erasure_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("basis", Text, nullable=False),
    # Null where the end is not known yet.
    Column("end_time", UtcTime, nullable=True),
    # When it is looked at again: at the end, on the review date, or at once because a hold was released.
    Column("due_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "record_id", "role"),
    Index(None, "tenant_id", "due_time"),
    Index(None, "tenant_id", "erasure_id"),
    Index(None, "tenant_id", "subject_id"),
)

# Number 0 is the certificate; further ones supplement it as exceptions end (E6).
erasure_certificates = Table(
    "erasure_certificates",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("erasure_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    # COMPLETE | PARTIAL | FORWARDED
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "erasure_id", "number"),
)

# Ends of contracts (P3.8), one per tenant.
terminations = Table(
    "terminations",
    metadata,
    Column("tenant_id", Text, nullable=False),
    # REQUESTED | APPROVED | CREDENTIALS | KEEPING | GRACE | LISTS | TOKENS | KEYS | COMPLETE: see operations/wind_up.py.
    Column("state", Text, nullable=False),
    # Record after which the next batch of KEEPING or TOKENS begins.
    Column("position", Text, nullable=False),
    # CUSTOMER | OPERATOR
    Column("asked_by", Text, nullable=False),
    Column("remove_contacts", Integer, nullable=False),
    Column("effective_time", UtcTime, nullable=False),
    Column("grace_end_time", UtcTime, nullable=False),
    Column("requester", Text, nullable=False),
    Column("approver", Text, nullable=False),
    Column("request_time", UtcTime, nullable=False),
    Column("credentials_time", UtcTime, nullable=True),
    # When the grace was found to be over; an entry of the erasure ledger says so before anything is erased.
    Column("erase_time", UtcTime, nullable=True),
    Column("return_time", UtcTime, nullable=True),
    Column("finish_time", UtcTime, nullable=True),
    # What became of records, by category and outcome, and of keys, by outcome.
    Column("counts", JSON, nullable=False),
    Column("key_counts", JSON, nullable=False),
    Column("report", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

# People who lost something when a contract ended, until every key that opened it is gone.
termination_subjects = Table(
    "termination_subjects",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    # The key that what is left of them is sealed under anew; 0 before it was made.
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id"),
)

orders = Table(
    "orders",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    # RECEIVED | AUTHENTICATED | SCOPED | APPROVED | IN_EXECUTION | FULFILLED | CLOSED
    # | REJECTED | EXPIRED | SUSPENDED | REVOKED | REVOKED_AFTER_DELIVERY
    Column("state", Text, nullable=False),
    Column("instrument_type", Text, nullable=False),
    # Instrument, both scopes, recipient and salt as canonical JSON, sealed under the tenant's legal key.
    Column("sealed", LargeBinary, nullable=False),
    # Of the document alone: the same scan for another case is the same scan (N13).
    Column("document_token", LargeBinary, nullable=False),
    Column("scope_digest", Text, nullable=False),
    Column("registrant", Text, nullable=False),
    Column("categories", JSON, nullable=False),
    Column("target_count", Integer, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    # State to go back to; empty unless suspended.
    Column("suspended_state", Text, nullable=False),
    # Empty | UNTIL | FURTHER_ORDER, and the date of the first.
    Column("gag", Text, nullable=False),
    Column("gag_end_time", UtcTime, nullable=True),
    Column("gag_from_staff", Boolean, nullable=False),
    Column("privileged", Boolean, nullable=False),
    Column("respond_time", UtcTime, nullable=True),
    Column("authenticator", Text, nullable=False),
    # stamp | signature | call-back
    Column("authentication", Text, nullable=False),
    Column("authenticate_time", UtcTime, nullable=True),
    # What somebody wrote when it was authenticated, rejected, suspended, revoked: JSON, sealed under the legal key.
    Column("remarks", LargeBinary, nullable=False),
    # Why it was rejected, as a word of ours.
    Column("rejection", Text, nullable=False),
    Column("second_approval_due_time", UtcTime, nullable=True),
    Column("recall_due_time", UtcTime, nullable=True),
    Column("close_time", UtcTime, nullable=True),
    # How often more was asked than the order covers (N2).
    Column("exceeded_count", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "order_id"),
    UniqueConstraint("tenant_id", "document_token"),
)

order_documents = Table(
    "order_documents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    # The scan, sealed under the tenant's legal key.
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "order_id"),
    ForeignKeyConstraint(["tenant_id", "order_id"], ["orders.tenant_id", "orders.order_id"]),
)

# Who looked at which digest, and what stood in the way then; whoever approves has looked (§5.4 step 6).
order_previews = Table(
    "order_previews",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("employee_id", Text, nullable=False),
    Column("scope_digest", Text, nullable=False),
    # Reasons, e.g. REQUIRES_INTERVAL; none if nothing does.
    Column("problems", JSON, nullable=False),
    Column("preview_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "order_id", "employee_id"),
    ForeignKeyConstraint(["tenant_id", "order_id"], ["orders.tenant_id", "orders.order_id"]),
)

order_approvals = Table(
    "order_approvals",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    # Employee, not account: two accounts of one person are one person (N5).
    Column("employee_id", Text, nullable=False),
    Column("approver", Text, nullable=False),
    # legal-officer | legal-approver | privacy-officer
    Column("role", Text, nullable=False),
    Column("scope_digest", Text, nullable=False),
    Column("approve_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "order_id", "employee_id"),
    ForeignKeyConstraint(["tenant_id", "order_id"], ["orders.tenant_id", "orders.order_id"]),
)

# What is kept although it is due or asked to be erased (§5.4, §6.3); a hold that ended stays on the register.
holds = Table(
    "holds",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("hold_id", Text, nullable=False),
    # ORDER | PRESERVATION | CLAIM
    Column("kind", Text, nullable=False),
    # Name of the order, or a ticket.
    Column("reference", Text, nullable=False),
    # When what is held happened: numbers are recycled (A29).
    Column("start_time", UtcTime, nullable=True),
    Column("end_time", UtcTime, nullable=True),
    Column("expire_time", UtcTime, nullable=True),
    Column("review_time", UtcTime, nullable=True),
    Column("placed_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("release_time", UtcTime, nullable=True),
    Column("released_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "hold_id"),
    Index(None, "tenant_id", "release_time"),
)

hold_scopes = Table(
    "hold_scopes",
    metadata,
    Column("tenant_id", Text, nullable=False),
    # Empty for every one, as the others are.
    Column("subject_id", Text, nullable=False),
    Column("hold_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    # The person stands in front: every look at a hold comes from the people of a record.
    PrimaryKeyConstraint("tenant_id", "subject_id", "hold_id", "category", "record_id"),
    ForeignKeyConstraint(["tenant_id", "hold_id"], ["holds.tenant_id", "holds.hold_id"]),
    Index(None, "tenant_id", "hold_id"),
)

exports = Table(
    "exports",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("export_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    # BUILDING | SEALED | RELEASE_APPROVED | RELEASED | DELIVERED | RECEIPT_CONFIRMED | PURGED | CANCELLED
    Column("state", Text, nullable=False),
    Column("record_counts", JSON, nullable=False),
    Column("withheld_counts", JSON, nullable=False),
    # Of the sealed package; 0 and empty while it is being built.
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    # The moment of the snapshot.
    Column("create_time", UtcTime, nullable=False),
    # Who asked for it, and who let it be handed over.
    Column("builder", Text, nullable=False),
    Column("release_approver", Text, nullable=False),
    Column("release_time", UtcTime, nullable=True),
    # The log that records it, the system's if a gag covers it; and its head at that moment.
    Column("audit_log", Text, nullable=False),
    Column("audit_size", BigInteger, nullable=False),
    Column("audit_root", Text, nullable=False),
    # Seals what is read until the package is sealed, itself sealed under the tenant's legal key; then it is gone.
    Column("staging_key", LargeBinary, nullable=True),
    # How far the reading is: opaque ids and counts.
    Column("progress", JSON, nullable=False),
    # Who fetches the package; empty until somebody does.
    Column("courier", Text, nullable=False),
    Column("seal_time", UtcTime, nullable=True),
    # When it was sent to the end; when the recipient read its digest back.
    Column("deliver_time", UtcTime, nullable=True),
    Column("confirm_time", UtcTime, nullable=True),
    # Who took it and the digest of what they signed, sealed under the tenant's legal key.
    Column("delivery", LargeBinary, nullable=True),
    PrimaryKeyConstraint("tenant_id", "export_id"),
    # One export per order for now: a repeated call gets the same package (N15).
    UniqueConstraint("tenant_id", "order_id"),
)

export_chunks = Table(
    "export_chunks",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("export_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    # Sealed to the recipient; the vault keeps no key to it.
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "export_id", "sequence"),
    ForeignKeyConstraint(["tenant_id", "export_id"], ["exports.tenant_id", "exports.export_id"]),
)

# The snapshot of an export that is being built: which records, in the order of the package, each as it was.
export_records = Table(
    "export_records",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("export_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    # When it happened or began to be valid.
    Column("sort_time", UtcTime, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "export_id", "category", "sort_time", "record_id"),
    ForeignKeyConstraint(["tenant_id", "export_id"], ["exports.tenant_id", "exports.export_id"]),
)

# What was read of it so far, piece by piece of each file.
export_pieces = Table(
    "export_pieces",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("export_id", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    # Sealed under the staging key of the export.
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "export_id", "path", "sequence"),
    ForeignKeyConstraint(["tenant_id", "export_id"], ["exports.tenant_id", "exports.export_id"]),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "entry_index"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "size"),
)

# Hashes of 64 entries and of the subtrees that they complete (vault/audit/tiles.py); they outlive the entries.
audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("tile_index", BigInteger, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("nodes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "tile_index"),
)

# What was removed because the retention floor had passed, signed: an opponent who deletes entries cannot say that it was retention.
audit_prunings = Table(
    "audit_prunings",
    metadata,
    Column("tenant_id", Text, nullable=False),
    # The first entry that is left.
    Column("size", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "size"),
)

# What a restore from backup left of a log, signed: an opponent who puts an older database back cannot say that it was the operator.
audit_restores = Table(
    "audit_restores",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    # Of the newest head that had been published.
    Column("published_size", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "number"),
)

# How long each log was when a restore was noticed; empty but while a replay is due.
restored_heads = Table(
    "restored_heads",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
)

# Which entries name which person: derived from the entries by upkeep, off the path of a release.
audit_subjects = Table(
    "audit_subjects",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id", "log", "entry_index"),
)

# How far what is derived from a log has come.
audit_readers = Table(
    "audit_readers",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("reader", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "reader"),
)

# What principals asked to be released, in steps of a minute, by whichever replica: budgets look at the sums. The purpose is empty unless there is a
# budget for it.
release_counts = Table(
    "release_counts",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("minute_time", UtcTime, nullable=False),
    # Of one worker process, so that no two write one row.
    Column("worker", Text, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "principal", "purpose", "minute_time", "worker"),
    Index(None, "tenant_id", "minute_time"),
)

# Planted people whose reveal is an alarm.
honey_subjects = Table(
    "honey_subjects",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("planted_by", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject_id"),
)

# Why the vault itself opened an incident (L5).
incident_triggers = Table(
    "incident_triggers",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text, nullable=False),
    # denial-burst | bulk-read | budget-exceeded | honey-record | damaged-data | chain-break | restored-log | stalled-head |
    # unreviewed-incident
    Column("trigger", Text, nullable=False),
    # Principal, log or incident.
    Column("cause", Text, nullable=False),
    Column("start_time", UtcTime, nullable=False),
    Column("record_count", BigInteger, nullable=False),
    Column("subject_count", BigInteger, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    PrimaryKeyConstraint("tenant_id", "incident_id"),
    Index(None, "tenant_id", "trigger", "cause"),
)
