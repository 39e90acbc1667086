"""MLflow: a run of the experiment getam, in RUN/tracking/mlflow, or where MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.engine.tracking.base import FOLDER, Record, numbers_of, run_name
from getam.whole_files import write_atomically

EXPERIMENT = "getam"
URI, ALLOW = "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"
LONGEST = 500  # characters of a parameter that every version of MLflow takes


class MlflowTracker:
    """Metrics by step, and the configuration as parameters.

    MLflow keeps every point it is given and forgets none, so that points it has already are not given again: a resumed
    run repeats them with the same numbers.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = run / FOLDER / "mlflow"
        self._client: Any = None
        self._id = ""
        self._seen: set[tuple[str, int]] = set()

    def begin(self, config: Mapping[str, Any], start: int, before: Sequence[Record]) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        uri = os.environ.get(URI)
        if uri is None:
            # Files need no server and no database, and MLflow wants it said that they are meant.
            os.environ.setdefault(ALLOW, "true")
        self._client = MlflowClient(tracking_uri=uri or self._folder.resolve().as_uri())
        noted = self._run / FOLDER / "mlflow-run"
        try:
            found = self._client.get_run(noted.read_text()) if noted.is_file() else None
        except MlflowException:
            found = None  # of another server
        if found is None:
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            where = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
            found = self._client.create_run(where, run_name=run_name(self._run))
            for name, value in config.items():
                self._client.log_param(found.info.run_id, name, str(value)[:LONGEST])
            write_atomically(noted, found.info.run_id.encode())
        self._id = found.info.run_id
        self._client.update_run(self._id, status="RUNNING")
        self._seen = {
            (name, point.step)
            for name in found.data.metrics
            for point in self._client.get_metric_history(self._id, name)
        }
        for record in before:
            self.log(record["step"], numbers_of(record))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        new = [
            Metric(name, value, now, step)
            for name, value in numbers.items()
            if (name, step) not in self._seen
        ]
        self._client.log_batch(self._id, metrics=new)
        self._seen |= {(name, step) for name in numbers}

    def close(self) -> None:
        if self._client is not None:
            self._client.set_terminated(self._id)
            self._client = None


def open_tracker(run: Path) -> MlflowTracker:
    """The tracker of a run folder."""
    return MlflowTracker(run)
