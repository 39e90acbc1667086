"""`getam app`: a page in the browser to look at maps and masks, to mend masks and to keep them."""

from __future__ import annotations

import threading
from pathlib import Path

from getam.data.photo_folder import left_out, unread_photos
from getam.engine.device import AUTO, choose_device
from getam.errors import InputError
from getam.outputs.progress import say
from getam.verbs.from_python import from_python
from getam.web.folder import open_folder
from getam.web.kept import KeptSet
from getam.web.limits import MEGAPIXELS, UPLOAD_MB, Limits
from getam.web.models import Models
from getam.web.server import LOOPBACK, PORT, own_cache, require_gradio, start
from getam.web.visit import App


@from_python
def app(
    *,
    folder: Path | None = None,
    tags: Path | None = None,
    model: tuple[str, ...] = (),
    keep: Path | None = None,
    host: str = LOOPBACK,
    port: int = PORT,
    upload_mb: float = UPLOAD_MB,
    megapixels: float = MEGAPIXELS,
    device: str = AUTO,
) -> None:
    """Look at maps and masks in the browser, mend them with a brush, and keep those that are right.

    Needs `pip install 'getam[app]'`. It serves until Ctrl+C.

    Args:
        folder: photos to look at besides those that are dropped on the page; no file outside is ever read for it.
        tags: of the photos in `folder`, as `getam train` takes them; tags.csv in it when left out.
        model: run folders, model files and names of timm models to choose from (NAME=FILE.safetensors for one with
            weights from a file); the embedded model is always there.
        keep: data set that accepted masks are written into: photos, masks with classes.txt, tags.csv; new, or one that
            the app made before.
        host: 127.0.0.1 is this machine alone; 0.0.0.0 lets in whoever reaches it, without a password.
        port: to listen on; 0 for any that is free.
        upload_mb: largest file that is taken, in MB.
        megapixels: largest photo that is taken.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.

    Raises:
        InputError: Gradio is not installed; no such folder, tags, model, port or device; or `keep` holds other things.
    """
    require_gradio()
    if tags is not None and folder is None:
        raise InputError("--tags are of the photos in --folder: give that too")
    photos = None if folder is None else open_folder(folder, tags)
    for line in [] if folder is None else left_out(unread_photos(folder)):
        say(line)
    kept = None
    if keep is not None:
        kept = KeptSet(keep) if photos is None else KeptSet(keep, photos.table, photos.names_of_rows())
        kept.check()
    models = Models(model, choose_device(device))
    models.open(models.names[0])  # what is wrong with it is said here, not on the page
    with own_cache() as place:
        from getam.web.page import CSS, build, theme

        limits = Limits(upload_mb, megapixels)
        page = build(App(models, limits, photos, kept), place)
        url = start(page, host=host, port=port, max_bytes=limits.bytes, look={"theme": theme(), "css": CSS})
        say(f"getam app: {url} (Ctrl+C ends it)")
        try:
            threading.Event().wait()
        finally:
            page.close()
