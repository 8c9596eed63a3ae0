"""What a process that holds keys does first: leave no image of its memory behind.

Core dumps are off, and on Linux other processes of the same account can neither attach to this one nor read its memory (`PR_SET_DUMPABLE`). Swap is
the machine's to forbid.
"""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # include/uapi/linux/prctl.h


def forbid_dumps() -> None:
    """Turn core dumps off, for good: the hard limit goes too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
