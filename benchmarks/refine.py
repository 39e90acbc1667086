"""Times refiners and the dense energy on the CPU, and holds the lattice against all pairs; asserts nothing.

Run as `python benchmarks/refine.py [threads]`, on an otherwise idle machine: figures are the best of three.
"""

import sys
import time
from collections.abc import Callable

import skimage.data
import skimage.transform
import torch
from torch import Tensor

from getam.losses.dense_energy import dense_energy
from getam.refine.crf import AFA, DEEPLAB, IRN, dense_crf
from getam.refine.lattice import PermutohedralLattice
from getam.refine.pamr import pamr

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, {threads} threads")
    large, generator = photo("astronaut", 375, 500)[None], torch.Generator().manual_seed(0)

    for count in (3, 20):
        maps = torch.rand(1, count, 24, 32, generator=generator)
        report(f"pamr, 375×500, {count} maps", lambda maps=maps: pamr(large, maps))

    for name, parameters in (("IRN", IRN), ("DEEPLAB", DEEPLAB), ("AFA", AFA)):
        for count in (3, 21):
            belief = torch.rand(1, count, 375, 500, generator=generator).softmax(1)
            report(
                f"dense_crf, 375×500, {count} channels, {name}",
                lambda belief=belief, parameters=parameters: dense_crf(large, belief, parameters=parameters),
            )

    crops = torch.stack([photo(name, 256, 256) for name in PHOTOS])
    labels, roi = torch.full((4, 256, 256), 255, dtype=torch.uint8), torch.ones(4, 256, 256)
    logits = torch.randn(4, 21, 256, 256, generator=generator, requires_grad=True)
    probabilities = logits.softmax(1).detach().requires_grad_()
    report(
        "dense_energy forward and gradient, 4×21×256×256 (128×128 inside)",
        lambda: torch.autograd.grad(dense_energy(probabilities, crops, labels, roi), probabilities),
    )

    for name in PHOTOS:
        image = photo(name, 128, 128)
        values = torch.rand(128 * 128, 4, generator=generator)
        lattice = PermutohedralLattice.bilateral(image, sigma_xy=50, sigma_rgb=15)
        approximate, exact = lattice.filter(values), all_pairs(image, values, 50, 15)
        correlation = torch.corrcoef(torch.stack([approximate.flatten(), exact.flatten()]))[0, 1]
        factor = (approximate * exact).sum() / (exact * exact).sum()
        print(
            f"lattice against all pairs, {name} 128×128: correlation {correlation:.4f}, "
            f"factor {factor:.3f}, {lattice.vertices} vertices"
        )


def report(what: str, run: Callable[[], object]) -> None:
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    print(f"{what}: {min(durations):.3f} s", flush=True)


def photo(name: str, height: int, width: int) -> Tensor:
    resized = skimage.transform.resize(
        getattr(skimage.data, name)(), (height, width), anti_aliasing=True, preserve_range=True
    )
    return torch.from_numpy(resized).float().permute(2, 0, 1)


def all_pairs(image: Tensor, values: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """Exact bilateral sums, a block of rows of the N×N matrix at a time."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    features = torch.cat([torch.stack([x, y]) / sigma_xy, image / sigma_rgb]).flatten(1).T
    return torch.cat(
        [torch.exp(-(torch.cdist(block, features) ** 2) / 2) @ values for block in features.split(1024)]
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
