"""Kernels of dense CRFs, as the field has them; numbers only."""

from __future__ import annotations

from dataclasses import dataclass

from getam.errors import InputError

ITERATIONS = 10
SMALLEST_PROBABILITY = 1e-5  # −log of it is the largest unary energy, 11.5
SPATIAL_REACH = 4  # the spatial Gaussian is cut at this many σ, where it has fallen to 3e-4


@dataclass(frozen=True)
class CRFParameters:
    """Two Gaussian kernels with Potts compatibility: σ in pixels or colour levels (of 255), and weights."""

    spatial_sigma: float
    spatial_weight: float
    bilateral_sigma_xy: float
    bilateral_sigma_rgb: float
    bilateral_weight: float

    def __post_init__(self) -> None:
        for name in ("spatial_sigma", "bilateral_sigma_xy", "bilateral_sigma_rgb"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: a standard deviation must be above 0.")
        for name in ("spatial_weight", "bilateral_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}: a weight must be 0 (kernel unused) or more."
                )


IRN = CRFParameters(3, 3, 50, 5, 10)
"""For pseudo labels, as in IRN (arXiv 1904.05044) and much that followed."""
DEEPLAB = CRFParameters(1, 3, 67, 3, 4)
"""For the predictions of a segmenter, as in DeepLab (arXiv 1606.00915)."""
AFA = CRFParameters(3, 3, 80, 13, 10)
"""For the predictions of a segmenter, as in AFA (arXiv 2203.02664)."""
