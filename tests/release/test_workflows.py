"""GitHub's workflows and the citation by their schemas; actions are pinned, nobody may do more than needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pages import ROOT

pytest.importorskip("check_jsonschema", reason="comes with the extra dev")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAY_WRITE = {"docs.yml": {"pages", "id-token"}, "release.yml": {"contents", "id-token"}}
each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_by_their_schema(schema: str, files: list[Path]) -> None:
    assert files
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@each_workflow
def test_actions_are_pinned_by_commit_and_say_which_version(workflow: Path) -> None:
    used = re.findall(r"^\s*-?\s*uses: (.*)$", workflow.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@each_workflow
def test_permissions_are_few(workflow: Path) -> None:
    text: dict[str, Any] = yaml.safe_load(workflow.read_text())
    assert text["permissions"] == {"contents": "read"}
    of_jobs = {
        name
        for job in text["jobs"].values()
        for name, what in job.get("permissions", {}).items()
        if what == "write"
    }
    assert of_jobs == MAY_WRITE.get(workflow.name, set())
    assert "secrets." not in workflow.read_text()  # trusted publishing needs none


@each_workflow
def test_scripts_and_targets_are_there(workflow: Path) -> None:
    text = workflow.read_text()
    for script in re.findall(r"(?:\.ci|release)/[\w.]+", text):
        assert (ROOT / script).exists()
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"run: make (\w+)", text):
        assert f"\n{target}:" in targets
