"""The programs in C, compiled for this run into a folder that goes with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["COMPILER", "compiled"]

#: The command that compiles, or None if there is none.
COMPILER: Final = shutil.which("cc")


@contextmanager
def compiled() -> Iterator[Path]:
    """Give the folder in which ``client`` and ``floor`` are, for as long as a ``with`` block."""
    assert COMPILER is not None
    with tempfile.TemporaryDirectory() as folder:
        for name in ("client", "floor"):
            source = Path(__file__).with_name(f"{name}.c")
            subprocess.run([COMPILER, "-O2", "-Wall", "-o", f"{folder}/{name}", source], check=True)
        yield Path(folder)
