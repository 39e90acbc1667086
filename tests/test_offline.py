"""Nothing is contacted at import, or by a verb that was not asked to: in a process that notices every connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pages import ROOT

WATCH = ROOT / "tests" / "offline"
PHOTOS = ["photos", "--tags", "tags.csv"]
TRAIN = [
    "train", "--data", *PHOTOS, "--out", "run", "--weights", "embedded", "--steps", "2", "--batch-size", "2",
    "--size", "64", "--saliency", "none",
]  # fmt: skip


ALL = """
import json, os, sys
import getam
from getam import cli

for name in getam.__all__:
    getattr(getam, name)
for command in json.loads(sys.argv[1]):
    assert cli.main(command) == 0, command
    print(command, "until here used the network:", os.path.exists(os.environ["NETWORK_USE"]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photo.jpg, photos/ and tags.csv."""
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg", "photos/c.jpg"):
        Image.fromarray(random.integers(0, 256, (64, 96, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\nb.jpg,dog\nc.jpg,cat;dog\n")
    return tmp_path


def watched(folder: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run Python in a folder; also returns what it tried to reach, a line each."""
    use = folder / "network-use"
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        | {
            "PYTHONPATH": os.pathsep.join([str(WATCH), str(ROOT / "src")]),
            "NETWORK_USE": str(use),
            "HF_HOME": str(folder / "hub"),  # nothing is there from earlier
            "GETAM_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    return done, use.read_text() if use.exists() else ""


def test_importing_all_of_it_and_using_it(folder: Path) -> None:
    commands = [
        ["explain", "photo.jpg"], ["predict", "photo.jpg"], ["data", "check", *PHOTOS], TRAIN,
        ["label", "--data", *PHOTOS], ["saliency", "photos"],
    ]  # fmt: skip
    done, used = watched(folder, "-c", ALL, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    assert used == "", done.stdout  # which says what was tried when
    for made in ("maps/photo.npz", "masks/photo.png", "run/model.safetensors", "labels/a.png"):
        assert (folder / made).is_file()


def test_weights_that_have_to_come_from_somewhere_are_noticed(folder: Path) -> None:
    done, used = watched(
        folder, "-m", "getam", "explain", "photo.jpg", "--classes", "1", "--model", "vit_tiny_patch16_224"
    )
    assert done.returncode == 2
    assert used.startswith("socket.getaddrinfo")


def test_a_connection_that_is_caught_is_noticed_in_a_child_too(folder: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass"
    done, used = watched(folder, "-c", code, inner)
    assert done.returncode == 0
    assert "socket.getaddrinfo" in used
