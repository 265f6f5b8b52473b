from __future__ import annotations

import pkgutil

from tornado_sse import probe


def test_the_docstring_names_the_modules() -> None:
    for module in pkgutil.iter_modules(probe.__path__):
        assert f"- ``{module.name}``" in (probe.__doc__ or "")
