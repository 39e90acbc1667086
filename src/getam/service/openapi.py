"""What the OpenAPI says that FastAPI cannot read from signatures: bodies that are photos, answers that are pictures."""

from __future__ import annotations

from typing import Any

from getam.service.body import FORM, PART
from getam.service.uploads import MEDIA_TYPES

_BINARY = {"type": "string", "format": "binary"}
_SENTENCE = {
    "application/json": {"schema": {"type": "object", "required": ["detail"], "properties": {"detail": {}}}}
}
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}

PHOTO: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The photo's bytes, or a form with them as its part `photo`.",
        "content": {
            **{kind: {"schema": _BINARY} for kind in MEDIA_TYPES},
            FORM: {"schema": {"type": "object", "required": [PART], "properties": {PART: _BINARY}}},
        },
    }
}
"""For the routes that take a photo."""

ANSWERS: dict[str, dict[int | str, dict[str, Any]]] = {
    "segment": {
        200: {
            "description": "The mask.",
            "content": {"image/png": {"schema": _BINARY}, "application/json": {"schema": {"type": "object"}}},
        }
    },
    "explain": {
        200: {
            "description": "The map.",
            "content": {"image/png": {"schema": _BINARY}, "application/x-npz": {"schema": _BINARY}},
        }
    },
}

ERRORS: dict[int | str, dict[str, Any]] = {
    408: {"description": "The photo did not arrive in time.", "content": _SENTENCE},
    413: {"description": "More bytes or pixels than are taken.", "content": _SENTENCE},
    415: {"description": "No photo, or of a format that is not taken.", "content": _SENTENCE},
    422: {"description": "A damaged photo, or a parameter that is wrong.", "content": _SENTENCE},
    503: {"description": "No place is free.", "content": _SENTENCE, "headers": _RETRY},
    504: {"description": "There was no answer in time.", "content": _SENTENCE},
}
