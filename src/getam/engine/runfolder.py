"""The folder of a run: configuration, environment, metrics, weights, and what resuming needs."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from getam.data.fingerprint import Fingerprint, changes, read_fingerprint
from getam.engine.environment import environment
from getam.engine.hardware import SINGLE
from getam.engine.model_file import MODEL, save_model
from getam.engine.processes import barrier
from getam.engine.ranks import rank
from getam.engine.state import STATE, STATE_BEFORE, read_state, write_state
from getam.engine.tracking.base import FOLDER as TRACKED
from getam.engine.tracking.base import OpenTracker
from getam.engine.tracking.following import Following
from getam.errors import InputError
from getam.nets.network import Network
from getam.whole_files import PARTIAL, append_line, write_atomically

CONFIG, DATA, METRICS, ENVIRONMENT = "config.yaml", "data.jsonl", "metrics.jsonl", "env.json"
LOCK = ".lock"
DATA_KEYS = "data."  # options of config.yaml that tell of the data, not of what was asked
UNSAID = {"precision": SINGLE}  # what a config.yaml means that does not say it

logger = logging.getLogger(__name__)


class RunFolder:
    """Paths of a run and the few writes that must never be half done; one process at a time, or several that work
    together (`engine.processes`), of which the first writes.

    `open` holds the folder until `close`, the end of the `with` block, or the end of the process, however it comes.

    Args:
        path: the folder.
        track: opens what is told each line of metrics.jsonl too (`engine.tracking`); None: nothing is.
    """

    def __init__(self, path: Path | str, track: OpenTracker | None = None) -> None:
        self.path = Path(path)
        self.track = track
        self._following = Following(self.path, None if rank() else track)
        self._lock = FileLock(self.path / LOCK, timeout=0)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, config: Mapping[str, Any], data: Fingerprint | None = None) -> bool:
        """Create the folder, or check that it holds an unfinished run of the same configuration and data.

        Args:
            config: what config.yaml says.
            data: the content the run reads; None: it is made from `config` alone.

        Returns:
            True when there is something to continue.

        Raises:
            InputError: the path is a file, a folder that is not a run, a run that another process is at, or a run of
                another configuration or of other data that has logged or saved something.
        """
        if rank() == 0:
            self._open(
                yaml.safe_load(yaml.safe_dump(dict(config), sort_keys=False)), data
            )  # as it will be read again
        barrier()
        return any((self.path / name).is_file() for name in (STATE, STATE_BEFORE))

    def _open(self, config: dict[str, Any], data: Fingerprint | None) -> None:
        self._refuse_others(config, data)
        self.path.mkdir(parents=True, exist_ok=True)
        self._hold()
        try:
            self._refuse_others(config, data)  # again: until now another process may have been at it
            self._write(config, data)
        except BaseException:
            self.close()
            raise

    def recorded(self) -> dict[str, Any] | None:
        """What config.yaml says; None where there is none, or none of a run."""
        try:
            found = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def has_begun(self) -> bool:
        """Whether the folder holds more than what opening it writes."""
        return not self._files() <= {CONFIG, ENVIRONMENT, DATA, TRACKED}

    def close(self) -> None:
        """Let other processes have the folder; the tracker writes what it has not written yet."""
        try:
            self._following.close()
        finally:
            self._lock.release()

    def _hold(self) -> None:
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"{self.path} is in use: another process is training there; wait for it, or give another --out"
            ) from None

    def _files(self) -> set[str]:
        """Names of what is in the folder, but for the lock and what a killed process left half written."""
        if not self.path.is_dir():
            return set()
        return {f.name for f in self.path.iterdir() if f.name != LOCK and f not in self._leftovers()}

    def _leftovers(self) -> list[Path]:
        return list(self.path.glob(f".*{PARTIAL}"))

    def _refuse_others(self, config: Mapping[str, Any], data: Fingerprint | None) -> None:
        """Raise where the folder holds anything but this run."""
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: give a folder for the run with --out")
        there = self._files()
        if CONFIG not in there:
            if there:
                raise InputError(f"{self.path} is not empty and holds no run: give a new folder with --out")
            return
        before, now = UNSAID | _flat(self._config()), UNSAID | _flat(config)
        if ENVIRONMENT in there and not self.has_begun():
            return  # It stopped before anything was worth keeping, perhaps on an option that was wrong.
        differ = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        for key in differ:
            if not key.startswith(DATA_KEYS):
                raise self._holds(
                    f"{key}={before.get(key)!r}, now {key}={now.get(key)!r} was asked", "options"
                )
        if (
            data is not None
            and DATA in there
            and (found := changes(read_fingerprint(self.path / DATA), data))
        ):
            raise self._holds(f"other data: {'; '.join(found)}", "data")
        if differ:
            key = differ[0]
            raise self._holds(f"{key}={before.get(key)!r}, now it is {now.get(key)!r}", "data")

    def _holds(self, what: str, same: str) -> InputError:
        return InputError(
            f"{self.path} holds a run with {what}: give another --out, or the same {same} to continue it"
        )

    def _write(self, config: Mapping[str, Any], data: Fingerprint | None) -> None:
        """Whatever is missing or was asked differently; needs the lock."""
        for leftover in self._leftovers():
            leftover.unlink(missing_ok=True)
        there = self._files()
        if CONFIG not in there or self._config() != config:
            write_atomically(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode())
        if ENVIRONMENT not in there:
            write_atomically(self.path / ENVIRONMENT, json.dumps(environment(), indent=1).encode())
        if data is None:
            return
        if DATA not in there and there & {STATE, STATE_BEFORE, METRICS, MODEL}:
            logger.warning(
                "%s was begun without a record of its data's content: it continues with the data as it is now",
                self.path,
            )
        if DATA not in there or (self.path / DATA).read_bytes() != data.to_bytes():
            write_atomically(self.path / DATA, data.to_bytes())

    def _config(self) -> dict[str, Any]:
        """What config.yaml says, checked to be a run's."""
        before = self.recorded()
        if before is None:
            raise InputError(
                f"{self.path / CONFIG} is not the configuration of a run: give a new folder with --out"
            )
        return before

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; its numbers are finite."""
        if rank():
            return
        append_line(self.path / METRICS, json.dumps(dict(record), allow_nan=False))
        self._following.log(record)

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: a run that was killed continues from there and logs it again.

        Lines that cannot be read, cut off or full of NUL bytes as a power cut leaves them, go too. The tracker takes up
        the run from there.
        """
        if rank():
            return
        path = self.path / METRICS
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        kept = [line for line in lines if line.endswith(b"\n") and _logged_step(line) <= step]
        if kept != lines:
            write_atomically(path, b"".join(kept))
        self._following.begin(self.recorded() or {}, step, [json.loads(line) for line in kept])

    def save(self, net: Network, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the model file, then all that continues the run, its weights too, as one file; by atomic renames."""
        if rank():
            return
        save_model(self.path / MODEL, net, config)
        write_state(self.path, {**state, "model": net.state_dict()})

    def state(self) -> dict[str, Any] | None:
        """What `save` was given last, and the weights as "model", on the CPU; None where nothing was saved yet.

        Raises:
            InputError: everything that was saved is damaged.
        """
        return read_state(self.path)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, those in a part of config.yaml as "part.name"."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return flat


def _logged_step(line: bytes) -> float:
    """The step of a line of metrics.jsonl; infinity where it is none."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf
    return step if isinstance(step, int) else math.inf
