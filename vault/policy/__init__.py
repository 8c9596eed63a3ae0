"""May this caller do this, for this purpose, now? Decisions are values with a reason. No I/O."""
