"""The note that says that entries were removed because the retention floor had passed. Pure: no clock, no database.

Body: format, origin of the log, how many entries were removed, base64 of the root over them, the time of the newest of them, and when it was done, a
line each; signed by the operator as a C2SP note. An opponent who deletes entries cannot write one.
"""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vault.audit.checkpoint import NoteSigner, sign_note
from vault.errors import InvalidArgumentError

FORMAT = "pii-vault-pruning/1"
# L4, L9: evidence is kept for 24 months, whatever anybody configures.
FLOOR = timedelta(days=730)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What was removed of a log: its first `size` entries, whose root is `root`."""

    origin: str
    size: int
    root: bytes
    newest_time: datetime
    time: datetime

    def body(self) -> str:
        """The text that is signed."""
        times = [moment.astimezone(UTC).isoformat(timespec="microseconds") for moment in (self.newest_time, self.time)]
        return "\n".join([FORMAT, self.origin, str(self.size), base64.b64encode(self.root).decode(), *times]) + "\n"


def check_floor(kept_for: timedelta) -> timedelta:
    """A time for which entries are kept, if it may be that short.

    Raises:
        InvalidArgumentError: BELOW_FLOOR.
    """
    if kept_for < FLOOR:
        raise InvalidArgumentError("BELOW_FLOOR", "the audit log is kept for 24 months at least", limit=str(FLOOR.days))
    return kept_for


def sign_pruning(pruning: Pruning, signer: NoteSigner) -> str:
    """The removal as a signed note."""
    return sign_note(pruning.body(), signer)
