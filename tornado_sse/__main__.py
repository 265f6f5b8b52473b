"""``python -m tornado_sse`` and ``tornado-sse``: the command line, if what it needs is installed."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; return its exit code."""
    try:
        from tornado_sse.cli import main as run
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in ("click", "rich"):
            raise
        print(
            f"tornado-sse: the command line needs {name}: pip install 'tornado-sse[cli]'",
            file=sys.stderr,
        )
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
