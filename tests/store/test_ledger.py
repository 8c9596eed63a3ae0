"""The directory of the erasure ledger: entries stay, in their order, whoever writes them, and whoever alters them is found out."""

import json
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.store.rows import ACME, NOW
from vault.audit.ledger import Kind, LedgerEntry, LedgerKey
from vault.errors import DataLossError, UnavailableError, VaultError
from vault.store.ledger import LedgerDirectory
from vault.store.tenants import TenantKeyRow

KEY = LedgerKey.derived(b"\x07" * 32)
WRITERS, EACH = 4, 50
DAY = timedelta(days=1)


def opened(path: Path, key: LedgerKey = KEY) -> LedgerDirectory:
    """The ledger in a directory, as another process finds it."""
    directory = LedgerDirectory(path, key)
    directory.read_on()
    return directory


def entry(erasure: str, *, days_ago: int = 0) -> LedgerEntry:
    return LedgerEntry(
        kind=Kind.ERASURE,
        tenant=ACME,
        subject_token=KEY.token_of(f"tenants/{ACME}/subjects/{erasure}"),
        erasure=erasure,
        cut_off=NOW - days_ago * DAY,
        keys=(1, 2),
        categories=("end-customer-contact",),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of five entries, the oldest a hundred days old."""
    path = tmp_path / "ledger"
    LedgerDirectory(path).store_key(TenantKeyRow("ledger", 1, b"wrapped", b"check"))
    directory = opened(path)
    for number in range(5):
        directory.append(entry(f"e{number}", days_ago=100 - 20 * number))
    return path


def file(path: Path, sequence: int) -> Path:
    return path / "entries" / f"{sequence:012d}"


def reason(path: Path) -> str:
    """Why a ledger is not read."""
    with pytest.raises(VaultError) as refused:
        opened(path)
    return refused.value.reason


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may have a byte more, as the kernel sees to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_added_is_there_for_everybody_in_its_order(path: Path) -> None:
    found = list(opened(path).entries())

    assert [(one.sequence, one.erasure) for one in found] == [(number + 1, f"e{number}") for number in range(5)]
    assert found[0].keys == (1, 2)
    assert found[0].categories == ("end-customer-contact",)
    assert found[4].cut_off == NOW - 20 * DAY


def test_an_entry_names_nobody(path: Path) -> None:
    """I2: whoever reads the directory learns how many were erased of which tenant, and no id of theirs."""
    content = file(path, 1).read_text()

    assert json.loads(content)["subject_token"] == KEY.token_of(f"tenants/{ACME}/subjects/e0")
    assert "subjects/" not in content
    assert LedgerKey.derived(b"\x08" * 32).token_of("x") != KEY.token_of("x")


def test_an_erasure_is_noted_once(path: Path) -> None:
    """A worker that takes an erasure up again, another one that did it meanwhile."""
    here, there = opened(path), opened(path)

    numbers = [here.append(entry("e9")), there.append(entry("e9")), here.append(entry("e9"))]

    assert set(numbers) == {6}
    assert opened(path).last == 6


def write(path: Path, writer: int) -> None:
    directory = opened(path)
    for number in range(EACH):
        directory.append(entry(f"w{writer}-{number}"))


def test_workers_who_write_at_once_lose_nothing(path: Path) -> None:
    """Twins on one directory: every entry is there once, and the chain holds."""
    spawning = multiprocessing.get_context("spawn")
    writers = [spawning.Process(target=write, args=(path, number)) for number in range(WRITERS)]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    found = [one.erasure for one in opened(path).entries(after=5)]
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    assert sorted(found) == sorted(f"w{writer}-{number}" for writer in range(WRITERS) for number in range(EACH))
    assert not [name.name for name in (path / "entries").iterdir() if name.name.startswith(".")]


def changed(member: str, value: object) -> Callable[[Path], None]:
    """Rewrite a member of the third entry."""

    def change(path: Path) -> None:
        content = json.loads(file(path, 3).read_text())
        file(path, 3).chmod(0o600)
        file(path, 3).write_bytes(json.dumps({**content, member: value}, sort_keys=True, separators=(",", ":")).encode() + b"\n")

    return change


def swapped(path: Path) -> None:
    second, third = file(path, 2).read_bytes(), file(path, 3).read_bytes()
    for sequence, content in ((2, third), (3, second)):
        file(path, sequence).chmod(0o600)
        file(path, sequence).write_bytes(content)


def emptied(path: Path) -> None:
    file(path, 3).chmod(0o600)
    file(path, 3).write_bytes(b"")


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(changed("cut_off", NOW.isoformat(timespec="microseconds")), id="another cut-off"),
        pytest.param(changed("subject_token", "0" * 64), id="another person"),
        pytest.param(changed("tenant", "globex"), id="another tenant"),
        pytest.param(changed("mac", "0" * 64), id="another mac"),
        pytest.param(changed("more", 1), id="one member more"),
        pytest.param(lambda path: file(path, 3).unlink(), id="one taken out"),
        pytest.param(lambda path: file(path, 1).unlink(), id="the first taken out"),
        pytest.param(swapped, id="two swapped"),
        pytest.param(emptied, id="one emptied"),
        pytest.param(lambda path: (path / "pruned" / f"{3:012d}").write_bytes(b"{}"), id="a note of pruning made up"),
    ],
)
def test_whoever_alters_the_ledger_is_found_out(path: Path, tamper: Callable[[Path], object]) -> None:
    tamper(path)

    assert reason(path) == "LEDGER_CORRUPT"


def test_entries_made_without_the_key_are_refused(path: Path) -> None:
    opened_by_another = LedgerDirectory(path, LedgerKey.derived(b"\x08" * 32))

    with pytest.raises(DataLossError) as refused:
        opened_by_another.read_on()

    assert refused.value.reason == "LEDGER_CORRUPT"


def test_an_end_that_is_cut_off_is_noticed_by_whoever_had_read_it(path: Path) -> None:
    """Who had not is told by the database's marker."""
    reader = opened(path)
    file(path, 5).unlink()

    with pytest.raises(DataLossError) as refused:
        reader.read_on()

    assert refused.value.reason == "LEDGER_BEHIND"
    assert opened(path).last == 4


def test_a_full_disk_adds_nothing_and_is_told(path: Path) -> None:
    """Harm: an erasure that nobody would repeat after a restore."""
    directory = opened(path)

    with full_disk(), pytest.raises(UnavailableError) as refused:
        directory.append(entry("e9"))
    directory.append(entry("e9"))

    assert refused.value.reason == "LEDGER_UNAVAILABLE"
    assert [one.erasure for one in opened(path).entries(after=5)] == ["e9"]
    assert sorted(name.name for name in (path / "entries").iterdir()) == [f"{number:012d}" for number in range(1, 7)]


def test_a_directory_that_is_away_is_told_and_found_again(path: Path) -> None:
    directory = opened(path)
    path.rename(path.with_name("elsewhere"))

    with pytest.raises(UnavailableError) as refused:
        directory.append(entry("e9"))
    path.with_name("elsewhere").rename(path)

    assert refused.value.reason == "LEDGER_UNAVAILABLE"
    assert directory.append(entry("e9")) == 6


# --- pruning


def test_old_entries_go_and_the_rest_still_proves_itself(path: Path) -> None:
    server = opened(path)

    pruned = opened(path).prune(before=NOW - 50 * DAY, seen=5)

    server.append(entry("e9"))
    found = opened(path)
    assert pruned == 3
    assert (found.first, found.last) == (4, 6)
    assert [one.erasure for one in found.entries()] == ["e3", "e4", "e9"]
    assert [one.erasure for one in server.entries()] == ["e3", "e4", "e9"]


def test_nothing_goes_that_the_database_has_not_seen(path: Path) -> None:
    assert opened(path).prune(before=NOW, seen=2) == 2
    assert opened(path).first == 3


def test_everything_may_go(path: Path) -> None:
    server = opened(path)

    assert opened(path).prune(before=NOW, seen=5) == 5
    assert server.append(entry("e9")) == 6
    assert [one.sequence for one in opened(path).entries()] == [6]


def test_a_pruning_that_died_midway_is_gone_on_with(path: Path) -> None:
    """The note is there, the entries are still."""
    kept = file(path, 1).read_bytes()
    opened(path).prune(before=NOW - 50 * DAY, seen=5)
    file(path, 1).write_bytes(kept)

    assert (opened(path).first, opened(path).last) == (4, 5)


def test_an_entry_that_is_taken_out_is_no_pruning(path: Path) -> None:
    opened(path).prune(before=NOW - 50 * DAY, seen=5)
    file(path, 4).unlink()

    assert reason(path) == "LEDGER_CORRUPT"
