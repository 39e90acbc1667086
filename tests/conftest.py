"""Fixtures every room shares: one thread, one seed, a folder of tiny photos, a network trained on them for a moment."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import getam
import tiny

pytest_plugins = ["tiny_exports"]


NEEDED = {  # files that cannot be imported without a package of an extra
    "exported/test_written_files.py": "onnx",
    "service/test_app.py": "fastapi",
    "service/test_hostile.py": "fastapi",
    "service/test_openapi.py": "fastapi",
    "verbs/test_export_model.py": "onnx",
}
MISSING = {file: package for file, package in NEEDED.items() if find_spec(package) is None}
collect_ignore = list(MISSING)


def pytest_report_header() -> list[str]:
    """What is left out, and why."""
    return [f"left out: tests/{file}, for {package} is not installed" for file, package in MISSING.items()]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny tensors only lose time on more; for what whole modules share too."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _calm() -> None:
    """Same random numbers and one thread in every test, whatever the one before has set."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _no_monitor() -> None:
    """Progress bars of other libraries start a thread that stays: one more to wait its turn in tests of threads."""
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.monitor_interval = 0


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Saliency maps that tests make stay theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GETAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/scene0.png …, tags.csv, truth/scene0.png … and truth/classes.txt; treat it as read-only."""
    return tiny.write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a few steps of `train` on the scenes; treat it as read-only."""
    out = tmp_path_factory.mktemp("runs") / "run"
    getam.train(
        data=scenes / "photos",
        tags=scenes / "tags.csv",
        out=out,
        backbone="small-hybrid",
        size=32,
        batch_size=2,
        steps=4,
        saliency="none",
    )
    return out
