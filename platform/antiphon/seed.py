"""One root seed; every random stream derives its own by name, so that none depends on another's history."""

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """A 63-bit seed that depends on root and on every name, and on nothing else (process, order, PYTHONHASHSEED)."""
    text = "/".join([str(root), *(str(name) for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
