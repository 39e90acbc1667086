"""HEIC, as phones write it: read where pi-heif or pillow-heif is installed; getam brings neither.

Of pi-heif's libraries libheif and libde265 are LGPL; pillow-heif's wheels hold x265, which is GPL.
"""

from __future__ import annotations

from importlib import import_module

READERS = ("pi_heif", "pillow_heif")
SUFFIXES = (".heic", ".heif", ".hif")


def register() -> bool:
    """Have Pillow read HEIC by the first of `READERS` that is installed; False where none is."""
    for name in READERS:
        try:
            import_module(name).register_heif_opener()
        except ImportError:
            continue
        return True
    return False
