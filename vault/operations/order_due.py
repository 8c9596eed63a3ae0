"""What is due of an order, and by when. Pure."""

from dataclasses import dataclass
from datetime import datetime

from vault.operations.order_state import RUNNING
from vault.store.orders import OrderRow


@dataclass(frozen=True, slots=True)
class Deadline:
    """What is due: RESPOND, EXPIRE, SECOND_APPROVAL, GAG_END or RECALL."""

    kind: str
    time: datetime


def deadlines(row: OrderRow) -> list[Deadline]:
    """What is due of an order, soonest first; of one that was answered or has ended what it leaves to do."""
    is_running = row.state in RUNNING
    found = {
        "RESPOND": row.respond_time if is_running else None,
        "EXPIRE": row.expire_time if is_running else None,
        "SECOND_APPROVAL": row.second_approval_due_time,
        "GAG_END": row.gag_end_time,
        "RECALL": row.recall_due_time,
    }
    return sorted((Deadline(kind, time) for kind, time in found.items() if time is not None), key=lambda deadline: deadline.time)
