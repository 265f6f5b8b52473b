from __future__ import annotations

import pkgutil

import tornado_sse.server


def test_the_docstring_names_the_modules() -> None:
    for module in pkgutil.iter_modules(tornado_sse.server.__path__):
        assert f"- ``{module.name}``" in (tornado_sse.server.__doc__ or "")
