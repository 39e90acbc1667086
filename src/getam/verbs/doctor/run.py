"""`getam doctor`: versions, extras, devices, threads, photos, folders, the hub on request, a trial, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from getam.verbs.doctor.finding import Finding, looked
from getam.verbs.doctor.machine import decoders, devices, folders, threads
from getam.verbs.doctor.network import hub
from getam.verbs.doctor.packages import extras, versions
from getam.verbs.doctor.trial import trial


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: all lines of the table, in its order.
    """

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Those where something is wrong."""
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def exit_code(self) -> int:
        """1 where something keeps getam from working, else 0."""
        return int(any(finding.stops for finding in self.findings))


def doctor(*, network: bool = False) -> Diagnosis:
    """Look at this machine and this installation, and say what is in the way of getam and what to do about it.

    Versions and extras, devices, threads, kinds of photos, caches and free disk, and a photo that the embedded model
    segments. The exit code is 1 where something keeps getam from working.

    Args:
        network: ask the hub whether it answers, for 5 seconds at most; without it nothing is contacted.

    Returns:
        What was found; it is printed too.
    """
    sections = {
        "versions": versions, "extras": extras, "devices": devices, "threads": threads, "photos": decoders,
        "caches": folders, "network": lambda: hub(network=network), "trial": trial,
    }  # fmt: skip
    found = [finding for about, look in sections.items() for finding in looked(about, look)]
    diagnosis = Diagnosis(tuple(found))
    _show(diagnosis)
    return diagnosis


def _show(diagnosis: Diagnosis) -> None:
    """On stdout: a table, its problems marked with !, and a last line."""
    table = Table(title="getam doctor")
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    before = None
    for each in diagnosis.findings:
        if before not in (None, each.about):
            table.add_section()
        about = "" if each.about == before else each.about
        mark = "! " if each.problem else ""
        table.add_row(Text(about), Text(each.name), Text(mark + each.value), Text(each.remedy))
        before = each.about
    console = Console(soft_wrap=True)
    console.print(table)
    stopping = sum(finding.stops for finding in diagnosis.findings)
    if stopping:
        console.print(f"{stopping} of {len(diagnosis.problems)} problems (!) keep getam from working")
    elif diagnosis.problems:
        console.print(f"getam works; {len(diagnosis.problems)} problems (!) are worth a look")
    else:
        console.print("getam works")
