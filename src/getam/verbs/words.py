"""What verbs do where classes are words: `--model open_clip:NAME --weights FILE --words …`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from getam.data.formats.registry import read_tags
from getam.data.tags import SYNONYMS, synonyms
from getam.errors import InputError
from getam.nets.openclip import PREFIX, open_clip_words
from getam.nets.words import BACKGROUND_WORDS, WordClassifier
from getam.opened.lists import without_none


def reads_words(model: Path | str | None, words: object) -> bool:
    """Whether a model takes words, which it then must be given, and no other may be.

    Raises:
        InputError: words without such a model, or such a model without words.
    """
    named = model is not None and str(model).startswith(PREFIX)
    if named and not words:
        raise InputError(f"{model} has no classes of its own: say with --words what to look for")
    if words and not named:
        raise InputError(
            f"--words needs an image–text model: give --model {PREFIX}NAME, such as {PREFIX}ViT-B-16"
        )
    return named


def words_model(
    model: Path | str,
    weights: Path | None,
    words: Sequence[str],
    background: Sequence[str] | None,
    device: torch.device,
) -> WordClassifier:
    """The classifier of those words; `background` as on the command line, None for `BACKGROUND_WORDS`.

    Raises:
        InputError, WeightsError: as `open_clip_words`; or "none" beside background words.
    """
    others = BACKGROUND_WORDS if background is None else without_none(background, "--background-words")
    return open_clip_words(str(model), weights, words, background=others, device=device)


def names_of(words: Sequence[str]) -> tuple[str, ...]:
    """What the classes of words are called: the first of the synonyms of each.

    >>> names_of(["a cat|a kitten", "a road"])
    ('a cat', 'a road')
    """
    return tuple(synonyms(word)[0] for word in words)


def words_of(table: Path, classes: tuple[str, ...] | None) -> list[str]:
    """The words of a table, synonyms joined by "|", as `open_clip_words` takes them; a column of tags does too."""
    read = read_tags(table, classes)
    return [SYNONYMS.join(read.synonyms.get(name, (name,))) for name in read.classes]
