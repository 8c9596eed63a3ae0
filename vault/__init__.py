"""pii-vault: personal data under per-person keys, released only with a durably logged reason."""

__version__ = "0.1.0"
