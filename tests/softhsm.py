"""A hardware security module in software: SoftHSM, a fresh token for each test.

Rules:
- The PKCS#11 module is loaded once per process and reads SOFTHSM2_CONF whenever it is initialised: one token store per test process.
- Tokens are made and tampered with by other processes, as an operator does; this process sees them only through the provider under test.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from vault.keys import pkcs11
from vault.keys.pkcs11 import Pkcs11RootKey, create_root_key, open_uri

MODULE = next((path for path in Path("/usr/lib").glob("**/softhsm/libsofthsm2.so")), Path("/usr/lib/softhsm/libsofthsm2.so"))
PIN = "hunter-2-pin"
_SECURITY_OFFICER_PIN = "officer-7-pin"


class SoftHSM:
    """One token, and what may happen to it.

    Args:
        store: folder of the process's token store.
        folder: where the PIN file goes.
    """

    def __init__(self, store: Path, folder: Path) -> None:
        self.label = f"vault {secrets.token_hex(6)}"
        self.pin_file = folder / "pin"
        self.write_pin(PIN)
        before = set(store.iterdir())
        pins = ["--so-pin", _SECURITY_OFFICER_PIN, "--pin", PIN]
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", self.label, *pins], check=True, capture_output=True)
        (self._path,) = set(store.iterdir()) - before
        self._elsewhere = folder / "removed-token"

    def uri(self, *, token: str | None = None, label: str = "root", also: str = "") -> str:
        """Address of the root key of this label."""
        path = f"token={quote(token or self.label)};object={quote(label)};type=secret-key{also}"
        return f"pkcs11:{path}?module-path={quote(str(MODULE))}&pin-source={quote(str(self.pin_file))}"

    def provider(self, *, label: str = "root") -> Pkcs11RootKey:
        return open_uri(self.uri(label=label))

    def add_version(self, *, label: str = "root") -> int:
        return create_root_key(self.uri(label=label))

    def write_pin(self, pin: str) -> None:
        """A new file in the old one's place, as secrets are mounted."""
        fresh = self.pin_file.with_name("pin.new")
        fresh.touch(mode=0o600)
        fresh.write_text(f"{pin}\n")
        fresh.replace(self.pin_file)

    def remove(self) -> None:
        """Pull the token out."""
        self._path.rename(self._elsewhere)

    def put_back(self) -> None:
        self._elsewhere.rename(self._path)

    def back_up(self) -> None:
        shutil.copytree(self._path, self._elsewhere)

    def restore(self) -> None:
        """As it was when it was backed up."""
        shutil.rmtree(self._path)
        self.put_back()

    def change_pin(self, new: str) -> None:
        self._elsewhere_run(f"session.set_pin({PIN!r}, {new!r})")

    def delete_keys(self) -> None:
        self._elsewhere_run("[key.destroy() for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})]")

    def generate(
        self, *, label: str = "root", name: bytes = b"\0\1", bits: int = 256, template: str = "{}", capabilities: str = "WRAP UNWRAP"
    ) -> None:
        """A key that an operator made by hand."""
        may = " | ".join(f"MechanismFlag.{capability}" for capability in capabilities.split())
        self._elsewhere_run(
            f"session.generate_key(KeyType.AES, {bits}, id={name!r}, label={label!r}, store=True, capabilities={may}, template={template})"
        )

    def log_in(self) -> None:
        """Log in once with the right PIN, somewhere else: the token forgets the wrong tries."""
        self._elsewhere_run("pass")

    def was_refused_a_pin(self) -> bool:
        """Whether the token counts wrong tries since the last right one."""
        return "USER_PIN_COUNT_LOW" in self._elsewhere_run("", flags_only=True)

    def _elsewhere_run(self, statement: str, *, flags_only: bool = False) -> str:
        lines = [
            "import pkcs11",
            "from pkcs11 import *",
            "from pkcs11.constants import *",
            f"token = pkcs11.lib({str(MODULE)!r}).get_token(token_label={self.label!r})",
            "print(TokenFlag.USER_PIN_COUNT_LOW.name if token.flags & TokenFlag.USER_PIN_COUNT_LOW else '')",
        ]
        if not flags_only:
            lines += [f"with token.open(rw=True, user_pin={PIN!r}) as session:", f"    {statement}"]
        return subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def softhsm_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The token store of this process."""
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        reason = "SoftHSM is not installed (Debian: softhsm2)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        yield folder / "tokens"


@pytest.fixture
def softhsm(softhsm_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHSM:
    """A fresh token without a root key."""
    # Tokens come and go faster here than in a data centre.
    monkeypatch.setattr(pkcs11, "_REINITIALISE_EVERY", timedelta(0))
    monkeypatch.setattr(pkcs11._module(str(MODULE)), "_reinitialise_from", 0.0)
    return SoftHSM(softhsm_store, tmp_path)


@pytest.fixture
def softhsm_provider(softhsm: SoftHSM) -> Pkcs11RootKey:
    """A provider whose root key has one version."""
    softhsm.add_version()
    return softhsm.provider()
