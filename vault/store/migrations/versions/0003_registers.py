"""Registers that the policy looks at: incidents, role grants, agreements, consents, requests of people, preferences, levels, transport, jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tenants") as tenants:
        tenants.add_column(sa.Column("agreement_expire_time", sa.DateTime(timezone=True), nullable=True))
        tenants.add_column(sa.Column("affiliate_agreement_expire_time", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("imports") as imports:
        imports.add_column(sa.Column("ingress", sa.Text(), nullable=True))
    op.execute("UPDATE imports SET ingress = 'TLS'")
    with op.batch_alter_table("imports") as imports:
        imports.alter_column("ingress", existing_type=sa.Text(), nullable=False)
    with op.batch_alter_table("records") as records:
        records.add_column(sa.Column("due_time", sa.DateTime(timezone=True), nullable=True))
    # The first sweep looks at every record once and says when it is to be looked at next.
    op.execute("UPDATE records SET due_time = create_time")
    op.create_index(op.f("ix_records_tenant_id_category_level_due_time"), "records", ["tenant_id", "category", "level", "due_time"])
    op.create_table(
        "access_reviews",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("review_id", sa.Text(), nullable=False),
        sa.Column("list_digest", sa.Text(), nullable=False),
        sa.Column("grant_count", sa.Integer(), nullable=False),
        sa.Column("reviewed_by", sa.Text(), nullable=False),
        sa.Column("review_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "review_id", name=op.f("pk_access_reviews")),
    )
    op.create_table(
        "agreements",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("purposes", sa.JSON(), nullable=False),
        sa.Column("document_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("sign_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "agreement_id", name=op.f("pk_agreements")),
    )
    op.create_index(op.f("ix_agreements_tenant_id_party_expire_time"), "agreements", ["tenant_id", "party", "expire_time"])
    op.create_table(
        "consents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("consent_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("evidence_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by", sa.Text(), nullable=False),
        sa.Column("withdraw_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "consent_id", name=op.f("pk_consents")),
    )
    op.create_index(op.f("ix_consents_tenant_id_scope_subject_id"), "consents", ["tenant_id", "scope", "subject_id"])
    op.create_index(op.f("ix_consents_tenant_id_subject_id"), "consents", ["tenant_id", "subject_id"])
    op.create_table(
        "content_levels",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "level", "channel", name=op.f("pk_content_levels")),
    )
    op.create_table(
        "guardian_consents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("evidence_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("verify_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdraw_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name=op.f("pk_guardian_consents")),
    )
    op.create_table(
        "incidents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("subjects", sa.JSON(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approve_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("close_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_due_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed_by", sa.Text(), nullable=False),
        sa.Column("review_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finding", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "incident_id", name=op.f("pk_incidents")),
    )
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("close_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name=op.f("pk_jobs")),
    )
    op.create_table(
        "marketing_preferences",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("preference_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "preference_id", name=op.f("pk_marketing_preferences")),
    )
    op.create_index(
        op.f("ix_marketing_preferences_tenant_id_subject_id_channel_create_time"),
        "marketing_preferences",
        ["tenant_id", "subject_id", "channel", "create_time"],
    )
    op.create_table(
        "objections",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "purpose", name=op.f("pk_objections")),
    )
    op.create_table(
        "restrictions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("restriction_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("restricted_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_by", sa.Text(), nullable=False),
        sa.Column("lift_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "restriction_id", name=op.f("pk_restrictions")),
    )
    op.create_index(op.f("ix_restrictions_tenant_id_subject_id"), "restrictions", ["tenant_id", "subject_id"])
    op.create_table(
        "role_grants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("grant_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=False),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attested_by", sa.Text(), nullable=False),
        sa.Column("attest_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "principal", "role", name=op.f("pk_role_grants")),
    )
    op.create_table(
        "subject_requests",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("receive_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("evidence_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("verify_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("extend_reason", sa.LargeBinary(), nullable=False),
        sa.Column("extend_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("close_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "request_id", name=op.f("pk_subject_requests")),
    )
    op.create_index(op.f("ix_subject_requests_tenant_id_due_time_request_id"), "subject_requests", ["tenant_id", "due_time", "request_id"])
    op.create_index(op.f("ix_subject_requests_tenant_id_subject_id"), "subject_requests", ["tenant_id", "subject_id"])
    op.create_table(
        "suppressions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "token", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "transport_policies",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("edge_service", sa.Text(), nullable=False),
        sa.Column("signer", sa.Text(), nullable=False),
        sa.Column("risk_text_version", sa.Text(), nullable=False),
        sa.Column("sign_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "edge_service", name=op.f("pk_transport_policies")),
    )


def downgrade() -> None:
    op.drop_table("access_reviews")
    op.drop_index(op.f("ix_agreements_tenant_id_party_expire_time"), table_name="agreements")
    op.drop_table("agreements")
    op.drop_index(op.f("ix_consents_tenant_id_scope_subject_id"), table_name="consents")
    op.drop_index(op.f("ix_consents_tenant_id_subject_id"), table_name="consents")
    op.drop_table("consents")
    op.drop_table("content_levels")
    op.drop_table("guardian_consents")
    op.drop_table("incidents")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_marketing_preferences_tenant_id_subject_id_channel_create_time"), table_name="marketing_preferences")
    op.drop_table("marketing_preferences")
    op.drop_table("objections")
    op.drop_index(op.f("ix_restrictions_tenant_id_subject_id"), table_name="restrictions")
    op.drop_table("restrictions")
    op.drop_table("role_grants")
    op.drop_index(op.f("ix_subject_requests_tenant_id_due_time_request_id"), table_name="subject_requests")
    op.drop_index(op.f("ix_subject_requests_tenant_id_subject_id"), table_name="subject_requests")
    op.drop_table("subject_requests")
    op.drop_table("suppressions")
    op.drop_table("transport_policies")
    op.drop_index(op.f("ix_records_tenant_id_category_level_due_time"), table_name="records")
    with op.batch_alter_table("records") as records:
        records.drop_column("due_time")
    with op.batch_alter_table("imports") as imports:
        imports.drop_column("ingress")
    with op.batch_alter_table("tenants") as tenants:
        tenants.drop_column("affiliate_agreement_expire_time")
        tenants.drop_column("agreement_expire_time")
