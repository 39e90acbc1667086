"""The directive `getam-verbs`: a section for every verb of the command line, with what `getam VERB --help` prints."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from getam import cli
from getam.cli_verbs import VERBS

WIDTH = "92"


def help_of(verb: str) -> str:
    """What `getam VERB --help` prints."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([verb, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


class VerbsHelp(SphinxDirective):
    """All verbs, in the order of `getam --help`."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for name, verb in VERBS.items():
            section = nodes.section(ids=[f"getam-{name}"])
            section += nodes.title(text=f"getam {name}")
            section += nodes.paragraph(text=verb.summary)
            block = nodes.literal_block(text=help_of(name))
            block["language"] = "text"
            section += block
            self.state.document.note_implicit_target(section)
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("getam-verbs", VerbsHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
