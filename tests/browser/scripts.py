"""Other people's scripts, for a page or for Node to load: from their packages, and never in this repository.

A package is fetched once, by the client of its registry, into a folder of the user's cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

CACHE = Path(
    os.environ.get("TORNADO_SSE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tornado-sse", "scripts")
)

# How long a client may take, in seconds. A slow registry is no reason to fail; one that hangs is.
PATIENCE = 90


class Script(NamedTuple):
    """A file in a package.

    ``client`` is ``"npm"`` or ``"pip"``.
    """

    client: str
    package: str
    version: str
    path: str

    def read(self) -> str:
        """Return its text; skip the test where it can't be had, or fail it in CI."""
        name = f"{self.package}-{self.version}-{self.path}".replace("/", "-")
        cached = CACHE / name
        if not cached.exists():
            try:
                content = self._fetch()
            except (OSError, subprocess.SubprocessError, KeyError) as error:
                reason = f"{self.package} {self.version} can't be had by {self.client}: {error}"
                if os.environ.get("CI"):
                    pytest.fail(reason)
                pytest.skip(reason)
            CACHE.mkdir(parents=True, exist_ok=True)
            # Whole or not at all, whoever else is fetching it.
            with tempfile.NamedTemporaryFile(dir=CACHE, delete=False) as file:
                file.write(content)
            os.replace(file.name, cached)
        return cached.read_text("utf-8")

    def _fetch(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            if self.client == "npm":
                self._run(folder, "npm", "pack", "--silent", f"{self.package}@{self.version}")
                (archive,) = Path(folder).glob("*.tgz")
                with tarfile.open(archive) as packed:
                    member = packed.extractfile(f"package/{self.path}")
                    assert member is not None
                    return member.read()
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.13"]
            what = f"{self.package}=={self.version}"
            self._run(folder, sys.executable, "-m", "pip", "download", *options, what)
            (archive,) = Path(folder).glob("*.whl")
            return zipfile.ZipFile(archive).read(self.path)

    def _run(self, folder: str, *command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=PATIENCE)


HTMX_2 = Script("npm", "htmx.org", "2.0.11", "dist/htmx.min.js")
HTMX_2_SSE = Script("npm", "htmx-ext-sse", "2.2.4", "dist/sse.min.js")
HTMX_4 = Script("npm", "htmx.org", "4.0.1", "dist/htmx.min.js")
HTMX_4_SSE = Script("npm", "htmx.org", "4.0.1", "dist/ext/hx-sse.min.js")

# The last ones for Node 20: later ones want 22.
EVENTSOURCE = Script("npm", "eventsource", "4.1.1", "dist/index.js")
EVENTSOURCE_PARSER = Script("npm", "eventsource-parser", "3.1.1", "dist/index.js")

# Datastar's own package stopped at a beta that speaks an older protocol, and releases since are in no
# registry. This wheel carries 1.0.1 with two patches of its own, to how shadow roots and clicks outside are
# handled; what reads events is as it was.
DATASTAR = Script("pip", "starhtml", "0.7.0", "starhtml/static/js/datastar-core.js")
