"""A vault that is killed amid erasures, retention and replays, a few times for each database; `make torture-erasure` does it hundreds of times."""

from pathlib import Path

import pytest

from tests.torture_erasure import Kills, torture


@pytest.mark.timeout(240)
def test_a_vault_that_is_killed_anywhere_loses_nothing_and_leaves_nothing(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """I10, E10: every kill is looked at, and every restart finishes what was under way."""
    names = ("here", "beside")

    tallies = torture(home_template, tmp_path / "home", (migrated_url, ""), names=names, kills=Kills(erasure=2, retention=1, replay=2))

    assert [tally.kills for tally in tallies] == [1, 2, 2]
    assert [told for tally in tallies for told in tally.told] == []
    assert sum(tally.unfinished for tally in tallies) == 0
