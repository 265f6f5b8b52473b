"""How the documentation is built: ``make docs``, or ``python -m sphinx -W docs docs/_build``.

Nothing is fetched. With TORNADO_SSE_DOCS_ONLINE=1 names of Python and of Tornado are links to where they are
documented.

A name in single backquotes is a link if it is documented here. If it is not, it must exist all the same, in
the package, in Python or in Tornado, and is shown as code; a name that nothing has is an error.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

sys.path.insert(0, str(Path(__file__).parents[1]))

import tornado_sse

project = "tornado-sse"
author = "the authors of tornado-sse"
copyright = f"%Y, {author}"
version = release = tornado_sse.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
default_role = "py:obj"
nitpicky = True
# Attributes as Datastar has them are no HTML to Pygments, which colours the rest.
suppress_warnings = ["misc.highlighting_failure"]
# What Sphinx makes of a Callable without arguments in the signature of a class.
nitpick_ignore = [("py:class", "collections.abc.Callable[[]")]
add_module_names = False
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
python_display_short_literal_types = True
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Console transcripts and wire bytes have no language.
highlight_language = "text"
# Two hyphens are an option of a command.
smartquotes = False
pygments_style = "tango"
pygments_dark_style = "monokai"

if os.environ.get("TORNADO_SSE_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "tornado": ("https://www.tornadoweb.org/en/stable", None),
    }

html_theme = "furo"
html_title = "tornado-sse"
html_favicon = "figures/icon.svg"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sphinx = False
html_copy_source = False

# Where what is public is documented from, the first that has a name being its place.
_PUBLIC = ("tornado_sse", "tornado_sse.testing", "tornado_sse.serializers", "tornado_sse.backends")


@cache
def _modules() -> tuple[Any, ...]:
    """Return the package's modules, those that can be imported here."""
    names = [module.name for module in pkgutil.walk_packages(tornado_sse.__path__, "tornado_sse.")]
    return tuple(module for name in ("tornado_sse", *names) if (module := _import(name)) is not None)


def _import(name: str) -> Any:
    if name.endswith("__main__"):
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None  # it needs an extra that is not installed


def _find(target: str, module: str | None, class_: str | None) -> Iterator[Any]:
    """Yield what a name may stand for, the nearest first."""
    parts = target.removeprefix(".").split(".")
    own = _import(module) if module else None
    roots = [getattr(own, class_, None)] if own is not None and class_ else []
    if own is not None:
        # A module's explanation calls the attributes of its classes by their names alone.
        roots += [
            own,
            *(
                each
                for each in vars(own).values()
                if (getattr(each, "__module__", None) or "").startswith(module or "")
            ),
        ]
    for root in (*roots, *map(_import, _PUBLIC), builtins, *_modules()):
        found = root
        for part in parts:
            found = _member(found, part)
        if found is not None:
            yield found
    # A module, as ``asyncio`` or ``.errors``, and what is in one, as ``time.time``.
    for prefix in ("", "tornado_sse."):
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(prefix + ".".join(parts[:count]))
            except (ImportError, ValueError):
                continue
            for part in parts[count:]:
                found = _member(found, part)
            if found is not None:
                yield found


def _member(owner: Any, name: str) -> Any:
    found = getattr(owner, name, None)
    if found is None and inspect.isclass(owner) and owner.__module__.startswith("tornado_sse"):
        return name in _attributes(owner) or None
    return found


@cache
def _attributes(class_: type) -> frozenset[str]:
    """Return the attributes that only instances of a class have."""
    ours = [each for each in class_.__mro__ if each.__module__.startswith("tornado_sse")]
    sources = "".join(inspect.getsource(each) for each in ours)
    return frozenset(re.findall(r"(?:\bself\.|^    )(\w+)(?::? )", sources, re.MULTILINE))


def _resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """Find a name's documentation, or show that it has none here by showing it as code."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    target = node["reftarget"]
    for found in _find(target, node.get("py:module"), node.get("py:class")):
        link = _link(app, domain, node, found, content)
        return content if link is None else link
    if target.split(".")[-1] in {name for module in _TORNADO for name in vars(_import(module))}:
        return content
    return None


_TORNADO = (
    "tornado.web",
    "tornado.httpserver",
    "tornado.httputil",
    "tornado.iostream",
    "ssl",
    "typing",
    "asyncio",
)


def _link(app: Sphinx, domain: PythonDomain, node: Any, found: Any, content: nodes.Element) -> Any:
    name = getattr(found, "__qualname__", None)
    if not isinstance(name, str) or found is True:
        return None
    for module in _PUBLIC:
        documented = domain.objects.get(f"{module}.{name}")
        public = getattr(_import(module), name.split(".")[0], None)
        if documented is not None and getattr(public, "__module__", None) == getattr(found, "__module__", ""):
            return make_refnode(
                app.builder,
                node["refdoc"],
                documented.docname,
                documented.node_id,
                content,
                f"{module}.{name}",
            )
    return None


def _adapt(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Make the headings of a docstring rubrics: they are of the module's, not of the page's."""
    for index in range(len(lines) - 1, 0, -1):
        if re.fullmatch(r"-{4,}", lines[index]) and len(lines[index]) == len(lines[index - 1]):
            lines[index - 1 : index + 1] = [f".. rubric:: {lines[index - 1]}", ""]


# Classes that nobody calls: their arguments are their makers' business.
_MADE_FOR_YOU = (
    "SSEHandler",
    "Stream",
    "Observer",
    "Listener",
    "MetricsHandler",
    "ModuleHandler",
    "Observed",
)


def _drop_signature(app: Sphinx, what: str, name: str, *others: object) -> tuple[str, None] | None:
    return ("", None) if what == "class" and name.rpartition(".")[2] in _MADE_FOR_YOU else None


def _name_modules(app: Sphinx, doctree: nodes.document) -> None:
    """Take a name such as ``.errors`` for a module if it is one; Sphinx takes anything of that end."""
    for node in doctree.findall(addnodes.pending_xref):
        if node.get("refspecific") and (own := node.get("py:module")):
            for parent in (own, own.rpartition(".")[0], "tornado_sse"):
                if parent and inspect.ismodule(_import(f"{parent}.{node['reftarget']}")):
                    node["reftarget"], node["refspecific"] = f"{parent}.{node['reftarget']}", False
                    break


def setup(app: Sphinx) -> None:
    """Have names looked for here after everybody else has."""
    app.connect("autodoc-process-docstring", _adapt)
    app.connect("autodoc-process-signature", _drop_signature)
    app.connect("doctree-read", _name_modules)
    app.connect("missing-reference", _resolve, priority=900)
