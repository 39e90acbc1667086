"""One network, several threads: each gets the maps it gets alone, and nobody else notices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import torch
from test_nothing_left import everything_about
from timm.layers import HybridEmbed
from timm.models.tnt import TNT
from torch import Tensor, nn

import tiny
from getam.maps.methods.bas import bas
from getam.maps.methods.getam import differentiable_maps
from getam.maps.methods.objectness import objectness
from getam.maps.registry import REGISTRY
from getam.maps.scores import class_scores
from getam.nets.bas import BASNetwork
from getam.nets.encoder import VitEncoder
from getam.verbs.explain_python import explain

THREADS, ROUNDS = 4, 3
CLASSES = [[1, 3], [2]]


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    """Threads take turns after every few operations, not after 5 ms: a tiny forward is over before that."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Results of the jobs, begun at the same moment in a thread each."""
    start = Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(run, job) for job in jobs]]


def repeated(job: Callable[[], Any], times: int = ROUNDS) -> Callable[[], list[Any]]:
    return lambda: [job() for _ in range(times)]


def restless_vit() -> Any:
    """With everything on it that a map method switches: kernels, checkpoints, batch norm in train mode."""
    model = tiny.hybrid_vit()
    model.blocks[1].attn.fused_attn = False
    model.blocks[3].attn.fused_attn = False
    model.set_grad_checkpointing()
    model.patch_embed.backbone.train()
    return model


def by_name(model: nn.Module, images: Tensor, method: str, **options: Any) -> Callable[[], Tensor]:
    return lambda: explain(model, images, CLASSES, method=method, **options).values


EVERY = [name for name in REGISTRY if name not in ("cam", "last-stage", "bas")]  # those are of other models


@pytest.mark.parametrize("method", EVERY)
def test_four_threads_get_what_one_gets(method: str) -> None:
    model, images = restless_vit(), tiny.photos(2)
    job = by_name(model, images, method)
    before, wanted = everything_about(model), job()
    for found in together(*[repeated(job)] * THREADS):
        for values in found:
            torch.testing.assert_close(values, wanted)
    assert everything_about(model) == before


def test_threads_with_different_methods_get_their_own_maps() -> None:
    model, images = restless_vit(), tiny.photos(2)
    jobs = [
        by_name(model, images, "getam"),
        by_name(model, images, "getam", coupling="grad", start=1),
        by_name(model, images, "acr"),
        by_name(model, images, "zoom-cam"),
        by_name(model, images, "legrad"),
        lambda: objectness(model, images).values,
    ]
    before, wanted = everything_about(model), [job() for job in jobs]
    for found, alone in zip(together(*map(repeated, jobs)), wanted):
        for values in found:
            torch.testing.assert_close(values, alone)
    assert everything_about(model) == before


def test_learned_maps_in_threads() -> None:
    low = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4))
    high = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1))
    model = tiny.awake(BASNetwork(low, high, (4, 4), "abcd", 4, (0.5,) * 3, (0.3,) * 3)).train()
    images = tiny.photos(2, model=model)
    before, wanted = everything_about(model), bas(model, images, CLASSES).values
    for found in together(*[repeated(lambda: bas(model, images, CLASSES).values)] * THREADS):
        torch.testing.assert_close(torch.stack(found), torch.stack([wanted] * ROUNDS))
    assert everything_about(model) == before


NETWORKS: dict[str, Callable[[], Any]] = {
    "kernels off, checkpoints, batch norm": restless_vit,
    "by hand": lambda: tiny.awake(
        TNT(img_size=32, patch_size=8, embed_dim=24, inner_dim=8, depth=2, num_heads_inner=2, num_heads_outer=3,
            num_classes=5)
    ),
    "segmenter, hybrid": partial(tiny.hybrid_segmenter, tuple("abcde")),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("train", [False, True])
def test_a_forward_beside_explain_is_the_same_with_all_its_gradients(name: str, train: bool) -> None:
    model = NETWORKS[name]().train(train)
    images = tiny.photos(2, model=model)

    def step() -> list[Tensor]:
        """As training takes it, without writing to the parameters."""
        scores = class_scores(model, images)
        loss, parameters = scores.square().sum(), list(model.parameters())
        return [loss.detach(), *torch.autograd.grad(loss, parameters, allow_unused=True)]

    def plain() -> list[Tensor]:
        with torch.no_grad():
            return [class_scores(model, images)]

    flags = [(m.training, getattr(m, "fused_attn", None)) for m in model.modules()]
    wanted = [step(), plain()]
    maps = repeated(by_name(model, images, "getam"), 5 * ROUNDS)
    found = together(maps, maps, repeated(step, 2 * ROUNDS), repeated(plain, 4 * ROUNDS))[2:]
    for results, alone in zip(found, wanted):
        for result in results:
            assert [given is None for given in result] == [expected is None for expected in alone]
            for given, expected in zip(result, alone):
                if expected is not None:
                    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    assert [(m.training, getattr(m, "fused_attn", None)) for m in model.modules()] == flags


def test_second_order_maps_in_threads() -> None:
    model, images = restless_vit(), tiny.photos(2)
    model.set_grad_checkpointing(
        False
    )  # a checkpoint runs its blocks again after the capture, without kernels
    parameters = list(model.blocks.parameters())

    def job() -> list[Tensor]:
        loss = differentiable_maps(model, images, CLASSES).square().sum()
        return list(torch.autograd.grad(loss, parameters, allow_unused=True))

    before = everything_about(model)
    enabled = torch.backends.cuda.flash_sdp_enabled()
    for found in together(*[repeated(job)] * THREADS):
        assert all(gradients[0].any() for gradients in found)
    assert torch.backends.cuda.flash_sdp_enabled() == enabled
    assert [row[2] for row in everything_about(model)] == [row[2] for row in before]


class Stem(nn.Module):
    """As the ResNets of timm's hybrids: stages that an encoder taps."""

    feature_info = tuple({"num_chs": channels} for channels in (4, 6, 8))

    def __init__(self) -> None:
        super().__init__()
        sides = [(3, 4, 2), (4, 6, 2), (6, 8, 2)]
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 3, stride, 1) for i, o, stride in sides)

    def forward(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = stage(images)
        return images


def test_forwards_of_an_encoder_that_taps_its_stem_keep_to_themselves() -> None:
    model = tiny.vit(patch_size=1, embed_layer=partial(HybridEmbed, backbone=Stem()), num_classes=0)
    encoder, images = VitEncoder(model).eval(), tiny.photos(1)

    def job() -> list[Tensor]:
        with torch.no_grad():
            return [feature.patches for feature in encoder(images)]

    wanted = job()
    for found in together(*[repeated(job, 10)] * THREADS):
        for features in found:
            assert len(features) == 4
            assert all(map(torch.equal, features, wanted))
