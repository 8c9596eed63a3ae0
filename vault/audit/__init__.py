"""The audit log: entry bytes, Merkle arithmetic, signed checkpoints and the offline verifier. Pure: no clock, no database."""
