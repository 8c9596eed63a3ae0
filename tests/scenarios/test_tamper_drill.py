"""The tamper drill, attack by attack, on both databases: lessons 28 and 29, I8."""

from collections.abc import Iterator

import pytest

from deploy.tamper_drill import ATTACKS, Attack, Evidence, drill, evidence
from tests.databases import PostgresServer


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    server: PostgresServer | None = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with evidence(tmp_path_factory.mktemp("drill"), server) as prepared:
        yield prepared


def test_what_nobody_touched_is_intact_and_complete(found: Evidence) -> None:
    result = drill(found, None)

    assert (result.code, result.said) == (0, "intact and complete")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_edit_by_who_administers_the_database_is_caught(found: Evidence, attack: Attack) -> None:
    result = drill(found, attack)

    assert result.caught
    assert result.code in {1, 2}
    assert "acme: " in result.said
