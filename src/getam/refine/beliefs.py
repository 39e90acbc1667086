"""Dense CRF on the maps of a photo's classes: what no map claims is believed to be background."""

import torch
from torch import Tensor

from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import IRN, ITERATIONS, CRFParameters
from getam.refine.neighbours import photo_sized
from getam.refine.scaled import scale_to_peak


@torch.no_grad()
def crf_of_maps(
    images: Tensor, maps: Tensor, *, parameters: CRFParameters = IRN, iterations: int = ITERATIONS
) -> Tensor:
    """Maps → `[1 − max map, maps]`, the background of SIPE (arXiv 2203.02909) → dense CRF → beliefs in the classes.

    Args:
        images: (B,3,H,W), any dtype, values 0–255.
        maps: (B,K,h,w) ≥ 0, any size: brought to (H,W) first (bilinear, aligned corners); of any magnitude: each is
            divided by its own maximum.
        parameters: `refine.crf_parameters.IRN`, `DEEPLAB` or `AFA`.
        iterations: mean-field updates.

    Returns:
        (B,K,H,W) float32 in [0,1]: probabilities of the classes; what they lack to 1 is that of background. A map that
        is zero everywhere stays zero.

    Raises:
        InputError: when shapes do not fit together, or values are not finite.

    >>> photo = torch.zeros(1, 3, 8, 8); photo[..., 4:] = 255  # black on the left, white on the right
    >>> leak = torch.zeros(1, 1, 8, 8); leak[..., :4] = 1; leak[..., 4] = 0.6
    >>> (crf_of_maps(photo, leak)[0, 0, 4] > 0.5).int().tolist()
    [1, 1, 1, 1, 0, 0, 0, 0]
    """
    sized = photo_sized(images, maps)
    if sized.numel() == 0:
        return sized
    unit = scale_to_peak(sized)
    beliefs = torch.cat([1 - unit.amax(1, keepdim=True), unit], 1)
    refined = dense_crf(
        images, beliefs / beliefs.sum(1, keepdim=True), parameters=parameters, iterations=iterations
    )
    return torch.where(unit.amax((2, 3), keepdim=True) > 0, refined[:, 1:], 0.0)
