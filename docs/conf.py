"""Sphinx configuration: `make docs` builds the site into docs/_build/html."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE.parent / "src"))
os.environ["PYTHONPATH"] = os.pathsep.join(  # the notebooks' kernels run in processes of their own
    filter(None, [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
)

project = "getam"
author = "The getam authors"
copyright = "The getam authors, Apache-2.0"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "verbs_help"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # results.md#the-first-hour is a link on a forge, too
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds a cell, for a machine that is busy
nb_execution_in_temp = True
nb_merge_streams = True

default_role = "code"  # docstrings write code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_rtype = False
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of torch, numpy and timm: their own sites are not asked

html_theme = "furo"
html_title = "getam"
html_static_path = ["_static"]
html_css_files = ["getam.css"]
html_copy_source = False

PAGES_OUTSIDE = {"../benchmarks/README.md": "benchmarks.md", "../../benchmarks/README.md": "../benchmarks.md"}
"""Links that lead out of docs/ to what is a page here; other files are offered as downloads."""


def _keep_inside(app: Any, docname: str, source: list[str]) -> None:
    for there, here in PAGES_OUTSIDE.items():
        source[0] = source[0].replace(f"]({there})", f"]({here})")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _keep_inside)
    app.add_lexer("csv", TextLexer)
