"""Pipelines as text: METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER[OPTION=VALUE,…]], as people and recipes name them."""

from __future__ import annotations

import re
from typing import Any

from getam.errors import InputError
from getam.labels.registry import check_label_options, find_labeller
from getam.maps.registry import check_options, find_method
from getam.named import read_named, split_outside
from getam.pipeline import Pipeline
from getam.refine.registry import find_chain


def parse_pipeline(text: str, **given: Any) -> Pipeline:
    """METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER[OPTION=VALUE,…]] → the pipeline.

    A method alone has no refiner, and completes labels.

    Args:
        text: as "gradcam+walk-afa+par:irn" or "acr[start=9]".
        given: further attributes of the pipeline: scales, flip, options (those in the text come before them).

    Raises:
        InputError: another form, an unknown name, or an option that the method has not.

    >>> parse_pipeline("getam")
    Pipeline(method='getam', refine=(), labels='completion', scales=(224, 320), flip=True, options={}, label_options={})
    >>> str(parse_pipeline("acr[start=9]+par"))
    'acr[start=9]+par:completion'
    """
    form = re.fullmatch(
        r"([^+:\[\]]+)(?:\[((?:[^\[\]]|\[[^\[\]]*\])*)\])?((?:\+[^+:\[\]]+)*)(?::([^+:]+))?", text
    )
    if form is None:
        raise InputError(
            f"{text!r} is not METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER[…]], such as acr[start=9] or "
            "gradcam+walk-afa+par:irn; see getam methods"
        )
    method, options, refiners, labels = form.groups()
    chosen, chain = find_method(method), tuple(refiners.split("+")[1:])
    find_chain(chain)
    if options is not None:
        own = {name: _hashable(value) for name, value in read_named(split_outside(options)).items()}
        check_options(chosen, own)
        given = {**given, "options": {**given.get("options", {}), **own}}
    if labels:
        name, label_options = parse_labels(labels)
        given = {"labels": name, "label_options": label_options, **given}
    return Pipeline(method=method, refine=chain, **given)


def parse_labels(text: str) -> tuple[str, dict[str, Any]]:
    """LABELLER[OPTION=VALUE,…] → the labeller's name and its options.

    Raises:
        InputError: another form, an unknown name, or an option that the labeller has not.

    >>> parse_labels("free[foreground=0.4,background=0.4]")
    ('free', {'foreground': 0.4, 'background': 0.4})
    """
    form = re.fullmatch(r"([^\[\]]+)(?:\[(.*)\])?", text)
    if form is None:
        raise InputError(
            f"{text!r} is not LABELLER[OPTION=VALUE,…], such as free[foreground=0.4,background=0.4]"
        )
    name, options = form.groups()
    find_labeller(name)
    own = read_named(split_outside(options)) if options else {}
    check_label_options(name, own)
    return name, own


def _hashable(value: Any) -> Any:
    """Lists are tuples, as methods take them."""
    return tuple(value) if isinstance(value, list) else value
