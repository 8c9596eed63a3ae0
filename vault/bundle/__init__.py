"""The court-order package and its offline verifier. Pure: bytes in, bytes out."""
