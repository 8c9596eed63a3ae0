"""What a stranger does with a package: the commands that the document prints, with programs that are not ours."""

import os
import re
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.programs import installed
from tests.vectors.bundle_2.sample import IDENTITY

DOCUMENT = Path(__file__).parents[1] / "docs" / "court-order-package.md"


def documented_commands() -> str:
    """The one block of shell commands of the document."""
    installed("age", "age-keygen", "openssl", "sha512sum", "sha256sum", "tar")
    (block,) = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def follow(sealed: bytes, signer: Ed25519PrivateKey, directory: Path) -> int:
    """Do what the document says with a sealed package, in an empty directory; 0 if every line succeeded."""
    (directory / "identity.txt").write_text(IDENTITY + "\n")
    (directory / "operator.pem").write_bytes(signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (directory / "sealed.age").write_bytes(sealed)
    (directory / "work").mkdir()
    names = {"PACKAGE": "sealed.age", "IDENTITY": "identity.txt", "OPERATOR": "operator.pem"}
    environment = {"PATH": os.environ["PATH"], **{key: str(directory / name) for key, name in names.items()}}
    commands = documented_commands().encode()
    return subprocess.run(["sh"], input=commands, cwd=directory / "work", env=environment, capture_output=True, check=False).returncode
