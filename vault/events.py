"""What may stand in the log: every event, and the keys that its lines may carry besides those of every line (L41).

Rules:
- An event is a constant and names what happened; everything that differs from line to line is in a key.
- A value is an opaque id, a resource name, a word of a closed list, a count or a time. Never what a caller wrote, and nobody's name.
- An event that is not listed here is logged as `unlisted event` without its text, and a key that is not listed for its event is dropped.

`docs/logs.md` says what each event means and what to do.
"""

from collections.abc import Mapping

# Of every line; `trace_id` if the line belongs to a call or to background work.
COMMON = frozenset({"event", "level", "timestamp", "trace_id"})
UNLISTED = "unlisted event"

EVENTS: Mapping[str, frozenset[str]] = {
    name: frozenset(keys)
    for name, keys in {
        # The process.
        "serving": ("port", "database", "version"),
        "stopped": (),
        "healthy again": (),
        "not healthy": ("reason", "check"),
        "configuration reloaded": ("count",),
        "configuration not reloaded": ("reason",),
        "certificate replaced": ("version",),
        "certificate not replaced": ("reason",),
        "library warning": ("error", "place"),
        "crashed": ("error", "place"),
        # Calls.
        "call": ("method", "code", "reason", "milliseconds"),
        "call failed": ("method", "error", "place", "log_id"),
        # The audit log.
        "checkpoints not published": ("reason",),
        "signing key outdated": (),
        "published checkpoint not believed": ("log",),
        "published restore note not believed": ("log",),
        "audit logs not compared with what was published": ("reason",),
        "audit log broken": ("log",),
        # Detection.
        "detection delayed": ("log", "reason"),
        "incident opened": ("resource", "reason", "count"),
        "incident not opened": ("reason",),
        "budgets not shared": ("reason",),
        # Keys.
        "key uses not counted": ("reason",),
        "keys near their limit of uses": ("count",),
        "key not opened": ("resource", "reason"),
        "rotation delayed": ("resource", "reason"),
        # Background work.
        "upkeep delayed": ("reason",),
        "lease not given back": ("reason",),
        "retention swept": ("count",),
        "retention delayed": ("resource", "reason"),
        "field not taken out": ("resource", "reason"),
        "hold not ended": ("reason",),
        # Court orders. No line names one: that there is such an order is not everybody's to know.
        "orders expired": ("count",),
        "order not ended": ("reason",),
        "gag not ended": ("reason",),
        "export building": (),
        "export sealed": ("count",),
        "export released": (),
        "export fetched": (),
        "export not destroyed": ("reason",),
        # Ends of contracts and notifications.
        "end of contract delayed": ("resource", "reason"),
        "account not converted": ("resource", "reason"),
        "notifications not delivered": ("resource", "reason"),
        "notification not delivered": ("resource", "reason"),
        # Erasures and the ledger of them.
        "not serving": ("reason", "count"),
        "noted in the erasure ledger": ("resource", "count"),
        "erasures resumed": ("count",),
        "erasures replayed": ("count",),
        "entry not replayed": ("resource", "reason"),
        "erasure not finished": ("resource", "reason"),
        "part not opened": ("record", "reason"),
        "identifiers not read": ("record", "reason"),
    }.items()
}
