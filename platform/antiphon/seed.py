"""One root seed; every random stream derives its own from it by name, so that no stream depends on another's history."""

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """A 63-bit seed that depends on root and on every name, and on nothing else (not on the process, the order or PYTHONHASHSEED)."""
    text = "/".join([str(root), *(str(name) for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
