"""Which tests run a line: one run of a room's tests under coverage, with the test, or the fixture, as context."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest


class Recorder:
    """A pytest plugin: seconds and fixtures of each test, and the lines it runs."""

    def __init__(self, source: Path) -> None:
        self.cov = coverage.Coverage(data_file=None, source=[str(source)], config_file=False, messages=False)
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        began = time.monotonic()
        self.fixtures[item.nodeid] = list(item.fixturenames)
        result = yield
        self.seconds[item.nodeid] = time.monotonic() - began
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        self.cov.switch_context(item.nodeid)
        result = yield
        self.cov.switch_context("")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        self.cov.switch_context(f"fixture {fixturedef.argname}")
        result = yield
        self.cov.switch_context("")
        return result

    def save(self, path: Path) -> None:
        """{"seconds": {test: s}, "lines": {file: {line: [tests]}}}; a fixture's lines are those of its users."""
        data = self.cov.get_data()
        users: dict[str, list[str]] = {}
        for test, names in self.fixtures.items():
            for name in names:
                users.setdefault(f"fixture {name}", []).append(test)
        lines = {
            file: {
                line: sorted({test for context in contexts for test in users.get(context, [context]) if test})
                for line, contexts in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        path.write_text(json.dumps({"seconds": self.seconds, "lines": lines}))


def record(tests: list[str], source: Path, path: Path) -> int:
    """Runs the tests once, unchanged, writes the map; pytest's exit code."""
    recorder = Recorder(source)
    recorder.cov.start()
    code = pytest.main([*OPTIONS, *tests], plugins=[recorder])
    recorder.cov.stop()
    recorder.save(path)
    return int(code)


OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--no-header", "--tb=short"]
