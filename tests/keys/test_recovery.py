"""Recovery shares: enough of them and the sealed copy give the root key back, byte for byte; anything else is told apart, and tells nothing."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import shamir_mnemonic
from shamir_mnemonic.wordlist import WORDLIST

from vault.errors import FailedPreconditionError, InvalidArgumentError, KeyUnavailableError, VaultError
from vault.keys import local, recovery
from vault.keys.local import LocalRootKey

CONTEXT = b"acme/data/1"


@pytest.fixture
def root_key(tmp_path: Path) -> Path:
    path = tmp_path / "root.key"
    local.create(path)
    return path


@pytest.fixture
def copied(root_key: Path) -> tuple[bytes, list[str]]:
    """A recovery file and 5 shares, of which 3 are needed."""
    return recovery.split(root_key, 3, 5)


def write(path: Path, content: bytes) -> None:
    """A key file in the place of one that is lost."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def reason(recovery_file: bytes, mnemonics: list[str]) -> VaultError:
    with pytest.raises(VaultError) as raised:
        recovery.restore(recovery_file, mnemonics)
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    return raised.value


# --- restoring


async def test_a_restored_root_key_unwraps_what_the_lost_one_wrapped(root_key: Path, copied: tuple[bytes, list[str]]) -> None:
    wrapped = await LocalRootKey(root_key).wrap(bytes(32), context=CONTEXT)

    write(root_key, recovery.restore(copied[0], copied[1][:3]))

    assert await LocalRootKey(root_key).unwrap(wrapped, context=CONTEXT) == bytes(32)


def test_any_shares_of_the_threshold_restore_it_byte_for_byte(root_key: Path, copied: tuple[bytes, list[str]]) -> None:
    recovery_file, mnemonics = copied

    for chosen in itertools.combinations(mnemonics, 3):
        assert recovery.restore(recovery_file, chosen) == root_key.read_bytes()
    assert recovery.restore(recovery_file, list(reversed(mnemonics))) == root_key.read_bytes(), "more than needed, in any order"


@pytest.mark.parametrize(("threshold", "shares"), [(2, 2), (2, 3), (16, 16), (2, 16)])
def test_every_allowed_threshold(root_key: Path, threshold: int, shares: int) -> None:
    recovery_file, mnemonics = recovery.split(root_key, threshold, shares)

    assert len(set(mnemonics)) == shares
    assert recovery.restore(recovery_file, mnemonics[:threshold]) == root_key.read_bytes()


def test_case_and_white_space_do_not_matter(root_key: Path, copied: tuple[bytes, list[str]]) -> None:
    typed = [f"  {mnemonic.upper()}".replace(" ", "\n ") for mnemonic in copied[1][:3]]

    assert recovery.restore(copied[0].strip(), typed) == root_key.read_bytes()


async def test_a_root_key_with_a_passphrase_is_restored_without_it(tmp_path: Path) -> None:
    """Forgotten passphrases are among what shares are for."""
    protected, restored = tmp_path / "root.key", tmp_path / "restored.key"
    local.create(protected, b"a passphrase")
    wrapped = await LocalRootKey(protected, b"a passphrase").wrap(bytes(32), context=CONTEXT)

    recovery_file, mnemonics = recovery.split(protected, 2, 3, passphrase=b"a passphrase")
    write(restored, recovery.restore(recovery_file, mnemonics[1:]))

    assert await LocalRootKey(restored).unwrap(wrapped, context=CONTEXT) == bytes(32)


@pytest.mark.parametrize("passphrase", [None, b"another"])
def test_a_root_key_with_a_passphrase_needs_it_to_be_copied(tmp_path: Path, passphrase: bytes | None) -> None:
    local.create(tmp_path / "root.key", b"a passphrase")

    with pytest.raises(FailedPreconditionError) as raised:
        recovery.split(tmp_path / "root.key", 2, 3, passphrase=passphrase)

    assert raised.value.reason == "ROOT_KEY_INVALID"


def test_every_version_is_restored(root_key: Path) -> None:
    local.add_version(root_key)

    recovery_file, mnemonics = recovery.split(root_key, 2, 2)

    assert recovery.restore(recovery_file, mnemonics) == root_key.read_bytes()
    assert json.loads(root_key.read_bytes())["keys"].keys() == {"1", "2"}


def test_another_program_reads_the_shares(copied: tuple[bytes, list[str]]) -> None:
    """They are plain SLIP-39: one group, no passphrase, a secret of 256 bits."""
    assert len(shamir_mnemonic.combine_mnemonics(copied[1][:3])) == 32
    assert {len(mnemonic.split()) for mnemonic in copied[1]} == {33}


# --- shares that are not right


def test_too_few_shares_are_refused(copied: tuple[bytes, list[str]]) -> None:
    recovery_file, mnemonics = copied

    for few in ([], mnemonics[:1], mnemonics[:2], [mnemonics[0]] * 5, [mnemonics[0], mnemonics[1], mnemonics[0]]):
        error = reason(recovery_file, few)

        assert (type(error), error.reason) == (InvalidArgumentError, "RECOVERY_SHARES_INVALID")
        assert error.message == f"3 different shares are needed, there are {len(set(few))}"


def test_a_share_of_another_set_is_named(root_key: Path, copied: tuple[bytes, list[str]]) -> None:
    recovery_file, mnemonics = copied
    # The 15 bits that tell sets apart are random: another threshold makes it certain.
    _, others = recovery.split(root_key, 2, 5)

    error = reason(recovery_file, [mnemonics[0], others[1], mnemonics[2]])

    assert (error.reason, error.message) == ("RECOVERY_SHARES_INVALID", "share 2 belongs to another recovery file")


def test_shares_of_another_set_that_passes_for_this_one_are_refused(
    copied: tuple[bytes, list[str]], root_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identifier has 15 bits only; what is inside decides."""
    recovery_file, mnemonics = copied
    identifier = json.loads(recovery_file)["set"]
    monkeypatch.setattr("shamir_mnemonic.shamir._random_identifier", lambda: identifier)
    _, others = recovery.split(root_key, 3, 5)

    mixed = reason(recovery_file, [mnemonics[0], others[1], mnemonics[2]])
    whole = reason(recovery_file, others[:3])

    assert (mixed.reason, whole.reason) == ("RECOVERY_SHARES_INVALID", "RECOVERY_FILE_INVALID")
    assert "do not belong together" in mixed.message


def test_a_mistyped_word_is_found_in_its_share(copied: tuple[bytes, list[str]]) -> None:
    recovery_file, mnemonics = copied

    for place in range(33):
        words = mnemonics[1].split()
        words[place] = WORDLIST[(WORDLIST.index(words[place]) + 1) % len(WORDLIST)]
        error = reason(recovery_file, [mnemonics[0], " ".join(words), mnemonics[2]])

        assert error.reason == "RECOVERY_SHARES_INVALID"
        assert error.message.startswith("share 2 is mistyped")


@pytest.mark.parametrize(
    ("mistype", "words"),
    [
        (lambda words: [*words[:4], "pasword", *words[5:]], "share 3: no share has such a word at place 5"),
        (lambda words: words[:-1], "share 3 has 32 words and should have 33"),
        (lambda words: [*words, words[-1]], "share 3 has 34 words and should have 33"),
        (lambda _: [], "share 3 has 0 words and should have 33"),
        (lambda _: ["duckling"] * 20, "share 3 has 20 words and should have 33"),
        (lambda words: [words[0], words[1], words[3], words[2], *words[4:]], "share 3 is mistyped"),
    ],
    ids=["unknown word", "word missing", "word too many", "nothing", "another length", "words swapped"],
)
def test_what_was_mistyped_is_said_without_repeating_it(
    copied: tuple[bytes, list[str]], mistype: Callable[[list[str]], list[str]], words: str
) -> None:
    recovery_file, mnemonics = copied

    error = reason(recovery_file, [*mnemonics[:2], " ".join(mistype(mnemonics[2].split()))])

    assert error.reason == "RECOVERY_SHARES_INVALID"
    assert error.message.startswith(words)
    assert "pasword" not in error.message


# --- a recovery file that is not right


def test_every_damaged_byte_is_found(copied: tuple[bytes, list[str]]) -> None:
    """A flipped bit in the set's number looks like shares of another set; everything else is the file's fault."""
    recovery_file, mnemonics = copied

    for place in range(0, len(recovery_file) - 1, 3):
        damaged = bytearray(recovery_file)
        damaged[place] ^= 1
        assert reason(bytes(damaged), mnemonics[:3]).reason in ("RECOVERY_FILE_INVALID", "RECOVERY_SHARES_INVALID")


@pytest.mark.parametrize("member", ["nonce", "sealed", "shares"])
def test_a_changed_member_is_found(copied: tuple[bytes, list[str]], root_key: Path, member: str) -> None:
    other = json.loads(recovery.split(root_key, 3, 6)[0])
    content = {**json.loads(copied[0]), member: other[member]}

    error = reason(json.dumps(content).encode(), copied[1][:3])

    assert (type(error), error.reason) == (FailedPreconditionError, "RECOVERY_FILE_INVALID")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"format": "pii-vault-recovery/1", "sealed": 5}',
        b" " * (17 << 20),
    ],
    ids=["nothing", "cut off", "no text", "a list", "a number", "null", "empty", "too deep", "a number inside", "too large"],
)
def test_what_is_no_recovery_file_is_refused(content: bytes) -> None:
    assert reason(content, []).reason == "RECOVERY_FILE_INVALID"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pii-vault-recovery/2"},
        {"threshold": 1},
        {"threshold": True},
        {"threshold": 6},
        {"shares": 17},
        {"set": "1"},
        {"more": 1},
    ],
    ids=str,
)
def test_another_form_is_refused(copied: tuple[bytes, list[str]], change: dict[str, object]) -> None:
    content = {**json.loads(copied[0]), **change}

    assert reason(json.dumps(content).encode(), copied[1]).reason == "RECOVERY_FILE_INVALID"


# --- splitting


@pytest.mark.parametrize(("threshold", "shares"), [(1, 1), (1, 3), (0, 3), (4, 3), (2, 17), (-2, 3)])
def test_other_thresholds_are_refused(root_key: Path, threshold: int, shares: int) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        recovery.split(root_key, threshold, shares)

    assert raised.value.reason == "RECOVERY_SHARES_INVALID"


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----", b"{}", b'{"format": "pii-vault-recovery/1"}', b"[]"])
def test_what_is_no_root_key_file_is_not_copied(tmp_path: Path, content: bytes) -> None:
    """Whoever seals the wrong file finds out today."""
    write(tmp_path / "root.key", content)

    with pytest.raises(FailedPreconditionError) as raised:
        recovery.split(tmp_path / "root.key", 2, 3)

    assert raised.value.reason == "ROOT_KEY_INVALID"


def test_a_root_key_file_that_is_missing_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError):
        recovery.split(tmp_path / "root.key", 2, 3)


def test_two_copies_have_nothing_in_common(root_key: Path) -> None:
    (first, first_shares), (second, second_shares) = recovery.split(root_key, 2, 3), recovery.split(root_key, 2, 3)

    assert json.loads(first)["sealed"] != json.loads(second)["sealed"]
    assert not set(first_shares) & set(second_shares)


def test_the_copy_does_not_show_the_root_key(root_key: Path, copied: tuple[bytes, list[str]]) -> None:
    key = json.loads(root_key.read_bytes())["keys"]["1"]

    assert key.encode() not in copied[0]
    assert json.loads(copied[0]).keys() == {"format", "nonce", "sealed", "set", "shares", "threshold"}
