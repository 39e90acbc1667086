"""A tiny segmenter, its program, and both files made of it: exporting takes seconds, so it is done once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.export import ExportedProgram

import tiny
from getam.exported.program import program_of
from getam.exported.write import onnx_bytes, torch_bytes
from getam.nets.encoder import ConvStem, HybridEncoder
from getam.nets.segmenter import Segmenter
from getam.verbs.export_model import about_of


@pytest.fixture(scope="session")
def tiny_network() -> Segmenter:
    """Three strided convolutions and 2 blocks, 8-pixel patches; logits of a few units, masks of every class."""
    dims = (6, 8, 12)
    encoder = HybridEncoder(ConvStem(dims), dims, 8, width=12, depth=2, heads=2, grid=4)
    net: Segmenter = tiny.awake(Segmenter(encoder, tiny.CLASSES, (6, 6, 8, 8), 8, 1))
    images = tiny.photos(2, 64, 96, net)
    head = net.decoder.head[4]
    assert isinstance(head, torch.nn.Conv2d)
    assert head.bias is not None
    with torch.no_grad():  # as a trained network's: classes take turns, differences stand out from rounding
        logits = net(images).logits
        assert logits is not None
        middle, spread = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
        head.weight.mul_(2 / spread[:, None, None, None])
        head.bias.sub_(middle).mul_(2 / spread)
        net.classifier.weight.mul_(0.1)
    return net


@pytest.fixture(scope="session")
def tiny_program(tiny_network: Segmenter) -> ExportedProgram:
    return program_of(tiny_network)


@pytest.fixture(scope="session")
def tiny_onnx(
    tiny_network: Segmenter, tiny_program: ExportedProgram, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(onnx_bytes(tiny_program, about_of(tiny_network, "hash of the weights", "CC0-1.0")))
    return path


@pytest.fixture(scope="session")
def tiny_pt2(
    tiny_network: Segmenter, tiny_program: ExportedProgram, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("torch") / "net.pt2"
    path.write_bytes(torch_bytes(tiny_program, about_of(tiny_network, "hash of the weights", "CC0-1.0")))
    return path
