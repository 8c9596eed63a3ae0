"""The cascade graph: every table is in it, and says nothing that its columns contradict (§6.2)."""

from vault.store.cascade import CASCADE, Reach
from vault.store.tables import metadata

# Columns that lead to a person, or hold what one said.
PERSONAL = {"subject_id", "token", "sealed", "wrapped", "subjects"}


def test_every_table_says_what_an_erasure_does_to_it() -> None:
    assert {table.name for table in CASCADE} == set(metadata.tables)


def test_a_table_that_names_people_is_not_about_nobody() -> None:
    naming = {table.name for table in metadata.sorted_tables if PERSONAL & {column.name for column in table.columns}}
    # A tenant's keys are wrapped, and name the tenant; so is the secret of its webhook.
    naming -= {"tenant_keys"}

    assert {table.name for table in CASCADE if table.name in naming and CASCADE[table] is Reach.NOBODY} == set()
