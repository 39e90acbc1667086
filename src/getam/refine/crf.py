"""Dense conditional random field by mean-field inference (Krähenbühl and Koltun 2011, arXiv 1210.5644)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.refine.crf_parameters import (
    IRN,
    ITERATIONS,
    SMALLEST_PROBABILITY,
    SPATIAL_REACH,
    CRFParameters,
)
from getam.refine.inputs import require_finite
from getam.refine.lattice import PermutohedralLattice

CONFIDENCE = 0.7  # belief in a hard label, arXiv 1210.5644's published code and IRN


@torch.no_grad()
def dense_crf(
    images: Tensor,
    probabilities: Tensor,
    *,
    parameters: CRFParameters = IRN,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Let every pixel agree with its neighbours and its look-alikes: mean field of a fully connected CRF.

    `Q ← softmax_c( log p + Σ_m w_m (D_m^{-1/2} W_m D_m^{-1/2}) Q )` from Q = p, where W_1 is the Gaussian of
    (x,y)/σ and W_2 that of (x,y)/σ_xy and rgb/σ_rgb, own pixel included, and D = diag(W 1) (the symmetric
    normalisation of the authors' code). W_1 is a separable convolution, exact up to 4 σ; W_2 a permutohedral
    lattice, built once per photo. Nothing is recorded for autograd.

    Args:
        images: (B,3,H,W), any dtype, values 0–255.
        probabilities: (B,C,H,W) over background and classes, clamped from below at 1e-5; they need not sum
            to 1.
        parameters: kernel widths and weights; `IRN`, `DEEPLAB` and `AFA` are those of the field.
        iterations: mean-field updates; 0 returns the probabilities normalised over C.

    Returns:
        (B,C,H,W) float32, summing to 1 over C.

    Raises:
        InputError: when photos and probabilities differ in number or size, or hold values that are not finite.

    >>> photo = torch.zeros(1, 3, 8, 8)
    >>> photo[..., 4:] = 255  # black on the left, white on the right
    >>> belief = torch.full((1, 2, 8, 8), 0.5)
    >>> belief[:, 1, :, :6] = 0.6  # class 1 leaks over the edge
    >>> belief[:, 1, :, 6:] = 0.2
    >>> dense_crf(photo, belief).argmax(1)[0, 0].tolist()
    [1, 1, 1, 1, 0, 0, 0, 0]
    """
    batch, _, *size = probabilities.shape if probabilities.ndim == 4 else (0, 0)
    if tuple(images.shape) != (batch, 3, *size):
        raise InputError(
            f"images are {tuple(images.shape)} and probabilities {tuple(probabilities.shape)}: pass (B,3,H,W) and "
            "(B,C,H,W) of the same batch and size."
        )
    require_finite(images=images, probabilities=probabilities)
    refined = torch.empty_like(probabilities, dtype=torch.float32, memory_format=torch.contiguous_format)
    for photo, (image, belief) in enumerate(zip(images, probabilities)):
        refined[photo] = _mean_field(image.float(), belief.float(), parameters, iterations)
    return refined


def label_probabilities(labels: Tensor, classes: int, *, confidence: float = CONFIDENCE) -> Tensor:
    """Hard labels as input for `dense_crf`: `confidence` on the label, the rest shared equally by the others.

    Args:
        labels: (B,H,W) integer in 0…classes−1; 255 (`ignore_label`) means unknown and becomes uniform.
        classes: number of channels, background counted; 2 or more.
        confidence: probability of the label given.

    Returns:
        (B,classes,H,W) float32, summing to 1.

    Raises:
        InputError: when a label is neither a channel nor 255.

    >>> label_probabilities(torch.tensor([[[1, 255]]]), 4)[0, :, 0].T.mul(10).round().tolist()
    [[1.0, 7.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]
    """
    labels = labels.long()
    unknown = labels == ignore_label(classes - 1)
    strange = labels[~unknown & ((labels < 0) | (labels >= classes))]
    if classes < 2 or len(strange) > 0:
        found = f"label {int(strange[0])}" if len(strange) > 0 else "fewer than 2 classes"
        raise InputError(
            f"{found} with classes={classes}: labels go from 0 to classes − 1, or {ignore_label(classes - 1)} for"
            " unknown."
        )
    probabilities = torch.full(
        (len(labels), classes, *labels.shape[1:]), (1 - confidence) / (classes - 1), device=labels.device
    )
    probabilities.scatter_(1, labels.masked_fill(unknown, 0)[:, None], confidence)
    return torch.where(unknown[:, None], 1 / classes, probabilities)


def _mean_field(image: Tensor, belief: Tensor, parameters: CRFParameters, iterations: int) -> Tensor:
    """One photo (3,H,W) with (C,H,W) -> (C,H,W). Pixels run along rows, classes along columns: (N,C)."""
    classes, height, width = belief.shape
    log_belief = belief.flatten(1).T.contiguous().clamp_(min=SMALLEST_PROBABILITY).log_()
    Q = _shares(log_belief)
    if iterations > 0 and parameters.bilateral_weight > 0:
        lattice = PermutohedralLattice.bilateral(
            image, sigma_xy=parameters.bilateral_sigma_xy, sigma_rgb=parameters.bilateral_sigma_rgb
        )
    gaussian = _gaussian(parameters.spatial_sigma, image)
    total = _blur(image.new_ones(height * width, 1), gaussian, height, width).rsqrt_()
    for _ in range(iterations):
        logits = log_belief.clone()
        if parameters.spatial_weight > 0:
            smooth = _blur(total * Q, gaussian, height, width).mul_(total)
            logits.add_(smooth, alpha=parameters.spatial_weight)
        if parameters.bilateral_weight > 0:
            logits.add_(lattice.filter_symmetric(Q), alpha=parameters.bilateral_weight)
        Q = _shares(logits)
    return Q.T.reshape(classes, height, width)


def _shares(logits: Tensor) -> Tensor:
    """Softmax along the rows of (N,C): torch's own takes ten times as long where rows are short."""
    powers = (logits - logits.amax(1, keepdim=True)).exp_()
    return powers.div_(powers.sum(1, keepdim=True))


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    """Gaussian taps (2·reach+1,), 1 in the middle."""
    reach = math.ceil(SPATIAL_REACH * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    return torch.exp(-((offsets / sigma) ** 2) / 2)


def _blur(values: Tensor, taps: Tensor, height: int, width: int) -> Tensor:
    """Separable convolution of (N,C) pixel rows; beyond the photo there is nothing."""
    classes, reach = values.shape[1], len(taps) // 2
    planes = values.reshape(height, width, classes).permute(2, 0, 1)[None]  # channels-last, not copied
    down = taps.reshape(1, 1, -1, 1).repeat(classes, 1, 1, 1)
    across = taps.reshape(1, 1, 1, -1).repeat(classes, 1, 1, 1)
    planes = F.conv2d(planes, down, padding=(reach, 0), groups=classes)
    planes = F.conv2d(planes, across, padding=(0, reach), groups=classes)
    return planes[0].permute(1, 2, 0).reshape(height * width, classes)
