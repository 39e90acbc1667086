"""A model file whose masks have more than one class in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from getam.engine.model import load_segmenter
from getam.engine.model_file import MODEL, read_metadata, save_model


@pytest.fixture(scope="session")
def lively(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `trained`, each class with logits of mean 0 and deviation 3; treat the file as read-only."""
    net = load_segmenter(trained)
    head: Any = net.decoder.head[-1]
    with torch.no_grad():
        logits = net(torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0)) * 255).logits
        assert logits is not None
        mean, deviation = (of.flatten() for of in (logits.mean((0, 2, 3)), logits.std((0, 2, 3)) / 3))
        head.weight /= deviation[:, None, None, None]
        head.bias.copy_((head.bias - mean) / deviation)
    file = tmp_path_factory.mktemp("lively") / MODEL
    save_model(file, net, read_metadata(trained / MODEL)[2])
    return file
