"""A timm vision transformer that scores classes from its class token, so that training shapes its attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from getam.errors import InputError
from getam.nets.classifier import Classifier, timm_body

CHOOSE = "such as deit_small_patch16_224, vit_small_patch14_dinov2 or vit_base_r50_s16_384"


class TokenClassifier(Classifier):
    """`Classifier` whose transformer has a class token and reads the score there, however timm pools it by default."""

    kind: ClassVar[str] = "token-classifier"


def build_token_classifier(
    backbone: str, classes: Sequence[str], *, weights: str | None = None
) -> TokenClassifier:
    """A timm transformer with a fresh head for `classes` on its class token.

    Args:
        backbone: a timm name.
        classes: class names without background.
        weights: as of `build_classifier`.

    Raises:
        WeightsError, InputError: as `build_classifier`; InputError also where the model has no class token.
    """
    model: Any = timm_body(backbone, weights=weights)
    if getattr(model, "cls_token", None) is None:
        raise InputError(
            f"{backbone} has no class token to read scores from: choose a vision transformer that has one, {CHOOSE}"
        )
    model.reset_classifier(len(classes), *([] if _reads_the_token(model) else ["token"]))
    return TokenClassifier(model, classes)


def _reads_the_token(model: Any) -> bool:
    return getattr(model, "global_pool", "token") == "token"
