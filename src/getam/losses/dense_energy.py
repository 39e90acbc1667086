"""Dense energy: look-alike pixels should share a class (regularised loss, Tang et al., arXiv 1803.09569)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.refine.lattice import PermutohedralLattice

WEIGHT = 1e-7  # arXiv 2112.02841, joint phase; made for sums over all pairs of pixels, hence so small
SCALE = 0.5  # the energy is taken on photos and probabilities resized by this
SIGMA_RGB = 15.0  # colour levels
SIGMA_XY = 100.0  # pixels of the photo before it is resized


def dense_energy(
    probabilities: Tensor,
    images: Tensor,
    labels: Tensor,
    roi: Tensor,
    *,
    weight: float = WEIGHT,
    scale: float = SCALE,
    sigma_rgb: float = SIGMA_RGB,
    sigma_xy: float = SIGMA_XY,
) -> Tensor:
    """`−(weight/B) Σ_b Σ_k ⟨S_k, g ∘ (W S_k)⟩`: negative, the lower the more look-alikes agree.

    S are the probabilities, zero outside the region of interest; W is the Gaussian of (x,y)/σ_xy and
    rgb/σ_rgb over all pairs of pixels; the gate `g = relu(roi − max_k S_k)`, and 1 where the label is 255,
    lets the energy act where the network is unsure or nobody knows. As in the paper, the gate and W stay
    constant in the gradient, which is `−2 (weight/B) g ∘ (W S_k)`, and zero outside the region. W is
    applied by a permutohedral lattice, built over the region only: values are those of
    `PermutohedralLattice`, a constant factor near 0.83 off the exact sums on photos.

    Args:
        probabilities: (B,C+1,H,W), softmaxed over dim 1; any float dtype, worked on in float32.
        images: (B,3,H,W), values 0–255, not normalised.
        labels: (B,H,W) integer, 0 background, 1…C classes, 255 (`ignore_label`) unknown: there the energy acts in full.
        roi: (B,H,W) bool or float in [0,1], true where the crop shows real photo rather than padding.
        weight: factor on the result.
        scale: everything is resized by this first (bilinear; labels and region by nearest).
        sigma_rgb: in colour levels.
        sigma_xy: in pixels of the given size; `scale` shrinks it along with the photo.

    Returns:
        Scalar float32, with a graph; 0 where no photo has a region.

    Raises:
        InputError: when the shapes do not belong to one batch.

    >>> photo, unsure = torch.zeros(1, 3, 8, 8), torch.full((1, 2, 8, 8), 0.5)
    >>> labels, roi = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8)
    >>> bool(dense_energy(unsure, photo, labels, roi) < 0)
    True
    >>> bool(dense_energy(unsure, photo, labels, 0 * roi) == 0)
    True
    """
    _require_one_batch(probabilities, images, labels, roi)
    size = [max(1, int(side * scale)) for side in probabilities.shape[-2:]]
    resized = F.interpolate(probabilities.float(), size=size, mode="bilinear", align_corners=False)
    with torch.no_grad():
        images = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
        region = F.interpolate(roi[:, None].float(), size=size, mode="nearest")
        unknown = (labels[:, None] == ignore_label(probabilities.shape[1] - 1)).float()
        unknown = F.interpolate(unknown, size=size, mode="nearest")
        gate = (region - resized.detach().amax(1, keepdim=True)).relu_()
        gate = torch.where(unknown > 0, 1.0, gate)
    energy: Tensor = _GatedEnergy.apply(
        resized * region, images, gate, region > 0, sigma_xy * scale, sigma_rgb
    )
    return weight * energy


class _GatedEnergy(torch.autograd.Function):
    """S (B,K,H,W), images, gate (B,1,H,W), region (B,1,H,W) bool, σ -> energy, with the paper's gradient."""

    @staticmethod
    def forward(
        ctx: Any, S: Tensor, images: Tensor, gate: Tensor, region: Tensor, sigma_xy: float, sigma_rgb: float
    ) -> Tensor:
        filtered = torch.zeros_like(S)
        for photo in range(len(S)):
            inside = region[photo, 0]
            if bool(inside.any()):
                values = S[photo][:, inside].T
                filtered[photo][:, inside] = _gaussian(images[photo], inside, values, sigma_xy, sigma_rgb).T
        gated = filtered.mul_(gate * region)
        ctx.save_for_backward(gated)
        return -(S * gated).sum() / len(S)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gated,) = ctx.saved_tensors
        return (-2 / len(gated)) * upstream[0] * gated, None, None, None, None, None


def _gaussian(image: Tensor, inside: Tensor, values: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """W over the region's pixels: image (3,H,W), inside (H,W) bool with N true, values (N,K) -> (N,K)."""
    lattice = PermutohedralLattice.bilateral(image, inside, sigma_xy=sigma_xy, sigma_rgb=sigma_rgb)
    return lattice.filter(values)


def _require_one_batch(probabilities: Tensor, images: Tensor, labels: Tensor, roi: Tensor) -> None:
    batch, plane = len(probabilities), tuple(probabilities.shape[-2:])
    fitting = (
        probabilities.ndim == 4
        and tuple(images.shape) == (batch, 3, *plane)
        and tuple(labels.shape) == tuple(roi.shape) == (batch, *plane)
    )
    if not fitting or batch == 0:
        raise InputError(
            f"probabilities are {tuple(probabilities.shape)}, images {tuple(images.shape)}, labels "
            f"{tuple(labels.shape)} and roi {tuple(roi.shape)}: pass (B,C+1,H,W), (B,3,H,W), twice (B,H,W)."
        )
