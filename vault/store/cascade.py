"""How far an erasure reaches: every table, once (§6.2).

The graph starts at the subject. Whatever names one has an edge to it, and says what becomes of a row when the person goes:
- GONE: deleted with the person, in the same transaction
- TOKEN: stays, of a person whose identities and key are gone, as an opaque id that leads nowhere
- EVIDENCE: stays for its own time, without the person, under an exception with an end
- OPAQUE: names the opaque id as something that happened; no value of the person, and nothing that leads to one
- NOBODY: about no person whose data the vault keeps; staff are named by their work, as the log names them

A table that is not listed fails the tests, and so does a row that an erasure leaves although it is GONE.
"""

from enum import StrEnum

from vault.store import tables


class Reach(StrEnum):
    """What becomes of the rows that name a person when the person is erased."""

    GONE = "gone"
    TOKEN = "token"  # noqa: S105 - a word of the policy, not a secret
    EVIDENCE = "evidence"
    OPAQUE = "opaque"
    NOBODY = "nobody"


CASCADE = {
    # What is known of people, and what leads to it.
    tables.subjects: Reach.TOKEN,
    tables.subject_keys: Reach.GONE,
    tables.identities: Reach.GONE,
    tables.records: Reach.TOKEN,
    tables.record_parts: Reach.TOKEN,
    tables.index_entries: Reach.GONE,
    # With the key; the rows with the erasure.
    tables.replaced_values: Reach.GONE,
    # What people chose, and what they agreed to.
    tables.marketing_preferences: Reach.GONE,
    tables.objections: Reach.GONE,
    tables.restrictions: Reach.GONE,
    tables.consents: Reach.EVIDENCE,
    tables.guardian_consents: Reach.EVIDENCE,
    # Keyed tokens that block advertising, unless the person wants them gone too (A5).
    tables.suppressions: Reach.TOKEN,
    # A request stays without the person.
    tables.subject_requests: Reach.GONE,
    # What was done about people.
    tables.erasures: Reach.OPAQUE,
    tables.erasure_exceptions: Reach.OPAQUE,
    tables.erasure_certificates: Reach.OPAQUE,
    tables.key_rotations: Reach.OPAQUE,
    # Gone when the end of the contract is done with them.
    tables.termination_subjects: Reach.OPAQUE,
    tables.notifications: Reach.OPAQUE,
    tables.hold_scopes: Reach.OPAQUE,
    tables.incidents: Reach.OPAQUE,
    tables.audit_entries: Reach.OPAQUE,
    tables.audit_subjects: Reach.OPAQUE,
    tables.honey_subjects: Reach.OPAQUE,
    # Sealed to whoever an order names; the vault keeps no key, and a package outlives the person (§5.5).
    tables.export_chunks: Reach.OPAQUE,
    tables.exports: Reach.OPAQUE,
    # Ids of records, and what was read of them, until the package is sealed; the key goes first. What is held for an order is not erased meanwhile.
    tables.export_records: Reach.OPAQUE,
    tables.export_pieces: Reach.OPAQUE,
    tables.orders: Reach.OPAQUE,
    tables.order_documents: Reach.OPAQUE,
    # Ids of what a call made, and HMACs.
    tables.idempotent_requests: Reach.OPAQUE,
    **dict.fromkeys(
        (
            *(tables.tenants, tables.terminations, tables.tenant_keys, tables.leases, tables.signing_keys, tables.restore_markers),
            tables.schema_compatibility,
            *(tables.imports, tables.import_issues, tables.customer_requests, tables.jobs),
            *(tables.ndas, tables.role_grants, tables.access_reviews, tables.agreements),
            *(tables.content_levels, tables.transport_policies, tables.webhooks),
            *(tables.order_approvals, tables.order_previews, tables.holds),
            *(tables.audit_heads, tables.audit_checkpoints, tables.audit_tiles, tables.audit_prunings, tables.audit_readers),
            *(tables.audit_restores, tables.restored_heads),
            *(tables.incident_triggers, tables.release_counts),
        ),
        Reach.NOBODY,
    ),
}
