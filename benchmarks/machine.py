"""What the figures were measured on. No host name, no path, no user."""

import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

_PACKAGES = ("grpcio", "protobuf", "sqlalchemy", "asyncpg", "aiosqlite", "uvloop", "cryptography", "cedarpy")
_SYNCS = 200


def describe() -> dict[str, str]:
    """The machine, the versions, the commit."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "kernel": platform.release().split("-")[0],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl behind cryptography": _openssl(),
        **{package: version(package) for package in _PACKAGES},
        "temporary directory": _file_system(Path(tempfile.gettempdir())),
        "fdatasync of 8 KiB there": f"{_sync_seconds() * 1000:.2f} ms (median)",
    }


def _commit() -> str:
    """Short hash of the commit, with a mark if something was changed since."""
    root = Path(__file__).parent.parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 - only wanted for its name

    return backend.openssl_version_text()


def _file_system(path: Path) -> str:
    """Type of the file system, so that a disk in memory is seen to be one."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, found, *_ = line.split()
        if path.is_relative_to(mount) and len(mount) > len(best):
            best, kind = mount, found
    return kind


def _sync_seconds() -> float:
    """What a commit has to wait for."""
    seen = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_SYNCS):
            file.write(b"\0" * 8192)
            file.flush()
            begin = time.monotonic()
            os.fdatasync(file.fileno())
            seen.append(time.monotonic() - begin)
    return median(seen)
