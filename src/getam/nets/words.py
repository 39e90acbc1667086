"""A contrastive image–text model as a classifier whose classes are words (CLIP, arXiv 2103.00020; CLIP-ES, 2212.09506).

The score of a word is `scale · cos(photo, word)`. With background words it is the log-odds of the word's share in the
softmax over a photo's words and the background words. CLIP-ES takes the gradient of the share p itself, which is
p(1 − p) times that of the log-odds: the same map but for a factor, and where p rounds to 1 there is still a map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.geometry import Geometry, geometry
from getam.data.tags import synonyms
from getam.errors import InputError
from getam.nets.log_odds import log_odds
from getam.nets.network import Network

TEMPLATES = (
    "{}.",
    "a photo of {}.",
    "a picture with {} in it.",
)  # written, not tuned: that takes real weights
BACKGROUND_WORDS = (
    *("ground", "land", "grass", "field", "tree", "forest", "plant", "leaf", "flower", "rock", "mountain", "sand"),
    *("sky", "cloud", "water", "lake", "river", "sea", "beach", "snow", "building", "house", "wall", "floor"),
    *("ceiling", "window", "door", "street", "road", "path", "bridge", "railway", "fence", "sign", "table", "curtain"),
)  # fmt: skip
"""What photos are full of besides what is asked for: scenery, as in CLIP-ES (its table of words is its own)."""

Tokenise = Callable[[list[str]], Tensor]  # texts -> tokens (T, L), as the text side of the model takes them


class WordClassifier(Network):
    """Photos in 0–255 → scores of words.

    Args:
        tower: the image side, normalised photos (B,3,h,w) → embeddings (B,D); left as it is, not copied.
        words: (C,D) embeddings of the classes, of length 1 (`embed_words`).
        classes: C names.
        background: (U,D) embeddings of the background words, of length 1; U may be 0.
        scale: what cosines are multiplied by: exp(logit_scale) of CLIP.
        side: of the square photos the tower was trained on. OpenCLIP's own transformers take photos of any shape, their
            position embedding resampled; others get every photo at this size.
        mean, std: what photos are normalised with, in 0–255.

    Raises:
        InputError: numbers of names, embeddings and their lengths that do not go together.
    """

    kind: ClassVar[str] = "words"
    words: Tensor
    background: Tensor

    def __init__(
        self,
        tower: nn.Module,
        words: Tensor,
        classes: Sequence[str],
        background: Tensor,
        *,
        scale: float,
        side: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(classes, mean, std)
        if not classes or words.shape[:1] != (len(classes),) or background.shape[1:] != words.shape[1:]:
            raise InputError(
                f"{len(classes)} classes, embeddings of words {tuple(words.shape)} and of background words "
                f"{tuple(background.shape)} do not go together: pass at least one class, (C,D) and (U,D)"
            )
        self.tower: Any = tower
        self.scale, self.side = float(scale), int(side)
        self.register_buffer("words", words.detach(), persistent=False)
        self.register_buffer("background", background.detach(), persistent=False)
        self.any_size = _resampled(tower)
        self._patch = _patch(tower, self.side)

    @property
    def patch(self) -> int:
        """As of every network."""
        return self._patch

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """All there are."""
        return self.tower.parameters()

    def geometry(self, height: int, width: int) -> Geometry:
        """Token geometry of the tower (see `getam.attention.capture.geometry`, which raises for a CNN)."""
        if not self.any_size:
            return geometry(self.tower, self.side, self.side)
        return geometry(_at_size(self.tower, height, width), height, width)

    def told(self, present: Sequence[int]) -> tuple[WordClassifier, list[int]]:
        """The classifier of a photo whose words are `present`: they and the background share the softmax, no others.

        It shares all else with this one. Without background words scores do not depend on each other.
        """
        if not len(self.background):
            return self, list(present)
        its = _view(self, words=self.words[list(present)])
        its.classes = tuple(self.classes[c] for c in present)
        return its, list(range(len(present)))

    def class_scores(self, images: Tensor) -> Tensor:
        """As `forward`."""
        return self(images)

    def forward(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) float in 0–255, H and W multiples of `patch` → scores of the words (B,C)."""
        tower = self.tower
        if self.any_size:
            tower = _at_size(tower, images.shape[-2], images.shape[-1])
        elif images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        photo = F.normalize(tower(self.normalised(images)), dim=-1)
        similarity = self.scale * photo @ self.words.T
        if not len(self.background):
            return similarity
        return log_odds(torch.cat((similarity, self.scale * photo @ self.background.T), 1))[
            :, : len(self.words)
        ]


def word_classifier(
    model: Any,
    tokenise: Tokenise,
    words: Sequence[str],
    *,
    background: Sequence[str] = BACKGROUND_WORDS,
    templates: Sequence[str] = TEMPLATES,
    side: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> WordClassifier:
    """A classifier of words around a contrastive image–text model, which is left as it is.

    Args:
        model: has `visual` (its image side), `encode_text` and `logit_scale` (a logarithm), as OpenCLIP's and OpenAI's.
        tokenise: its tokeniser.
        words: one class each; synonyms of one class joined by "|". The first names the class.
        background: words that share the softmax; one that is asked for is left out. () for plain similarities.
        templates: sentences with a {} for the word.
        side, mean, std: as `WordClassifier` takes them.

    Raises:
        InputError: no word, one that is empty or named twice, or a template without {}.
    """
    groups = [synonyms(word) for word in words]
    names = [group[0] for group in groups]
    if not names or len(set(names)) < len(names):
        raise InputError(f"words are {', '.join(names) or 'none'}: name at least one, and none twice")
    others = [
        word for word in background if not any(_names(word, other) for group in groups for other in group)
    ]
    embedded = embed_words(model, tokenise, groups, templates)
    return WordClassifier(
        model.visual, embedded, names,
        embed_words(model, tokenise, [(word,) for word in others], templates) if others else embedded[:0],
        scale=float(model.logit_scale.detach().exp()), side=side, mean=mean, std=std,
    )  # fmt: skip


@torch.no_grad()
def embed_words(
    model: Any, tokenise: Tokenise, groups: Sequence[Sequence[str]], templates: Sequence[str]
) -> Tensor:
    """(C,D) embeddings of length 1: of each group of synonyms the mean, of each synonym that over all templates.

    Every mean is of embeddings of length 1, and brought to length 1.

    Raises:
        InputError: a template without {}, or none.
    """
    if not templates or any("{}" not in template for template in templates):
        raise InputError(f"templates are {list(templates)}: each needs a {{}} where the word goes")
    device = next(model.parameters()).device
    found = []
    for group in groups:
        texts = [template.replace("{}", word) for word in group for template in templates]
        each = F.normalize(model.encode_text(tokenise(texts).to(device)).float(), dim=-1)
        by_synonym = F.normalize(each.unflatten(0, (len(group), len(templates))).mean(1), dim=-1)
        found.append(F.normalize(by_synonym.mean(0), dim=-1))
    return torch.stack(found)


def _names(background: str, word: str) -> bool:
    """Whether a background word occurs among the words of what is asked for."""
    return f" {background.casefold()} " in f" {word.casefold()} "


def _patch(tower: nn.Module, side: int) -> int:
    """What photo sides should be multiples of; any, where the tower does not say and gets one size anyway."""
    if isinstance(patch := getattr(tower, "patch_size", None), tuple) and _resampled(tower):
        return int(patch[0])
    return 1


def _resampled(tower: Any) -> bool:
    """Whether it is a transformer of OpenCLIP with one class token and learned positions, which can be resampled."""
    grid, positions = getattr(tower, "grid_size", None), getattr(tower, "positional_embedding", None)
    return (
        isinstance(positions, nn.Parameter)
        and getattr(tower, "class_embedding", None) is not None
        and grid is not None
        and positions.shape[0] == grid[0] * grid[1] + 1
    )


def _at_size(tower: Any, height: int, width: int) -> Any:
    """The same transformer for photos of another size: a view that shares all but its position embedding."""
    if (height, width) == tuple(tower.image_size):
        return tower
    patch, positions = tower.patch_size, tower.positional_embedding
    grid = (height // patch[0], width // patch[1])
    patches = positions[1:].T.unflatten(1, tuple(tower.grid_size))[None]
    resampled = F.interpolate(patches, size=grid, mode="bicubic", antialias=True)[0].flatten(1).T
    view = _view(tower, positional_embedding=torch.cat((positions[:1], resampled)))
    view.image_size, view.grid_size = (height, width), grid
    return view


def _view(module: Any, **own: Tensor) -> Any:
    """A module that shares everything with another but these of its tensors."""
    view = copy.copy(module)
    view.__dict__ = {
        **module.__dict__,
        **{
            kind: {name: tensor for name, tensor in getattr(module, kind).items() if name not in own}
            for kind in ("_parameters", "_buffers")
        },
    }
    for name, tensor in own.items():
        setattr(view, name, tensor)
    return view
