"""What a server is made of: a bill of materials with hashes, and the licence of every package. `python -m deploy.supply_chain FOLDER` writes both.

The packages are those of requirements-server.lock. A licence that is not in the list below stops it: somebody has to read it first.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-server.lock"
# Read, and fit to be shipped with a program under Apache-2.0. LGPL and MPL: as packages of their own, unaltered.
ALLOWED = frozenset(
    {
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "LGPL",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "OFL-1.1",
        "PSF-2.0",
        "Unlicense",
        "ZPL-2.1",
        "0BSD",
        "CC0-1.0",
        "Unicode-3.0",
    }
)
# Spellings of packages that do not name their licence as SPDX does.
_SPELLINGS = (
    (r"apache", "Apache-2.0"),
    (r"bsd[- ]?3|3-clause|new bsd|modified bsd", "BSD-3-Clause"),
    (r"bsd[- ]?2|2-clause", "BSD-2-Clause"),
    (r"\bbsd\b", "BSD"),
    (r"lgpl|lesser general public", "LGPL"),
    (r"mozilla|mpl", "MPL-2.0"),
    (r"open font|\bofl\b", "OFL-1.1"),
    (r"python software foundation|\bpsf\b", "PSF-2.0"),
    (r"\bisc\b", "ISC"),
    (r"unlicense", "Unlicense"),
    (r"\bmit\b", "MIT"),
)
# What names none, and has its text beside it: read by us.
_READ = {"cedarpy": "Apache-2.0", "pyrage": "MIT"}
_CLASSIFIER = "License :: OSI Approved :: "


@dataclass(frozen=True, slots=True)
class Package:
    """A package as it is locked; `licences` is empty if none is known."""

    name: str
    version: str
    licences: tuple[str, ...]


def locked() -> Iterator[tuple[str, str]]:
    """Name and version of every package of the lock that this platform wants."""
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        found = re.match(r"([a-z0-9._-]+)==([^\s;]+)\s*(?:;\s*(.*?))?\s*\\?$", line)
        if found and "win32" not in (found[3] or "").replace("!= 'win32'", ""):
            yield found[1], found[2]


def packages() -> list[Package]:
    """Every package with its licences, as it says them itself.

    Raises:
        PackageNotFoundError: one is not installed.
    """
    return [Package(name, version, licences_of(name)) for name, version in locked()]


def licences_of(name: str) -> tuple[str, ...]:
    """SPDX ids of a package that is installed: its expression, else its classifiers, else its own words."""
    said = metadata(name).json
    expression = str(said.get("license_expression", ""))
    if expression:
        return tuple(sorted({part for part in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression) if part}))
    classified = [line.removeprefix(_CLASSIFIER) for line in said.get("classifier", []) if line.startswith(_CLASSIFIER)]
    own_words = str(said.get("license", "")).strip().splitlines()[:1]
    found = {_spdx(text) for text in classified or own_words}
    return tuple(sorted(found - {""})) or ((_READ[name],) if name in _READ else ())


def _spdx(text: str) -> str:
    return next((spdx for pattern, spdx in _SPELLINGS if re.search(pattern, text, re.IGNORECASE)), text)


def unread(found: list[Package]) -> dict[str, tuple[str, ...]]:
    """Packages whose licence nobody has read, or that name none."""
    return {package.name: package.licences for package in found if not package.licences or not ALLOWED.issuperset(package.licences)}


def listed(found: list[Package]) -> str:
    """The list of licences, as Markdown."""
    rows = [f"| {package.name} | {package.version} | {', '.join(package.licences)} |" for package in found]
    return "\n".join(["# Licences of what a server is made of", "", "| package | version | licence |", "|---|---|---|", *rows, ""])


def main() -> int:
    """Write sbom.json and licences.md into a folder; 1 if a licence was not read."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    try:
        found = packages()
    except PackageNotFoundError as missing:
        print(f"not installed: {missing.name}", file=sys.stderr)
        return 1
    (folder / "licences.md").write_text(listed(found), encoding="utf-8")
    tool = Path(sys.executable).with_name("cyclonedx-py")
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible", "--output-format", "JSON"]
    subprocess.run([tool, "requirements", *options, "--output-file", folder / "sbom.json", LOCK], check=True)
    if wrong := unread(found):
        print(f"licences that nobody has read: {wrong}", file=sys.stderr)
        return 1
    print(f"{len(found)} packages: {folder / 'sbom.json'}, {folder / 'licences.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
