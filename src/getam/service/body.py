"""The photo in a request's body: the body itself, or the part `photo` of a form; read into memory, never to disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from getam.service.uploads import Limits, RefusedError

PART = "photo"
FORM = "multipart/form-data"
ENVELOPE = 65_536  # bytes a form may have around the photo
FIELDS = 8  # parts of a form that are no files, all of them passed over
NO_PART = f"the form has no file in a part called {PART}: send it as curl -F {PART}=@photo.jpg does"


class _InMemory(MultiPartParser):
    """Starlette's parser, which spools larger files to disk: the body's limit holds before that."""

    spool_max_size = 2**31


async def photo_bytes(request: Request, limits: Limits) -> bytes:
    """The photo a request carries, whatever it says its type is: its bytes decide.

    Raises:
        RefusedError: 413 for a body that is, or says it is, larger than the limit; 422 for a broken form, or one
            without the photo.
    """
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    body = await _read(request, limits, limits.bytes + (ENVELOPE if is_form else 0))
    return await _part(request, body) if is_form else body


async def _read(request: Request, limits: Limits, most: int) -> bytes:
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise _too_large(limits)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(limits)
    return bytes(body)


async def _part(request: Request, body: bytes) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=FIELDS).parse()
    except (MultiPartException, FormParserError, KeyError, ValueError) as error:
        raise RefusedError(422, f"the form cannot be read ({error}): {NO_PART}") from None
    try:
        photo = form.get(PART)
        if not isinstance(photo, UploadFile):
            raise RefusedError(422, NO_PART)
        return await photo.read()
    finally:
        await form.close()


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, f"the request has more than {limits.bytes} bytes: make the photo smaller")
