"""`getam explain`: class-specific maps of photos, as files; Python's `getam.explain` is in explain_python.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from getam.data.fingerprint import file_hash
from getam.data.photos import as_tensor, read_photo
from getam.engine.device import AUTO, choose_device
from getam.errors import InputError
from getam.maps.registry import check_options, find_method
from getam.opened.subject import Subject, hash_of, open_model
from getam.opened.usual_chain import usual_method
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.outputs.shards import over_processes, read_shard
from getam.report.photo_maps import PhotoMaps
from getam.verbs.loading import photo_jobs
from getam.verbs.words import names_of, reads_words, words_model

WHOLE_PHOTOS = 1  # in memory before and after their turn: the pictures need them at full size


@over_processes
def explain_photos(
    photos: Path,
    /,
    *,
    model: str | None = None,
    weights: Path | None = None,
    words: tuple[str, ...] | None = None,
    background_words: tuple[str, ...] | None = None,
    classes: tuple[str, ...] | None = None,
    out: Path = Path("maps"),
    method: str | None = None,
    coupling: str | None = None,
    start: int | None = None,
    rows: str | None = None,
    layers: tuple[str, ...] | None = None,
    weighting: str | None = None,
    aggregate: str | None = None,
    size: int | None = None,
    refine: bool = True,
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw which pixels of a photo carry each class.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, a folder of them (`out`, where it lies inside, is not searched), or tars of them:
            photos-000000.tar, or several as "photos-{000000..000009}.tar".
        model: run folder, model file, the name of a timm model, hf:FOLDER or hf:OWNER/NAME of a classifier of
            transformers, or open_clip:NAME of an image–text model; the embedded model when left out. `getam models`
            lists them.
        weights: local safetensors file for a timm model, without which the weights come from timm's hub; for an
            image–text model the file it needs.
        words: what to look for with an image–text model, such as "a red bicycle, a road"; synonyms as "cat|kitten".
        background_words: what photos are full of besides: the words share a softmax with these; a list of scenery when
            left out; none: scores are similarities.
        classes: names, or indices where no class is called so; on the command line a comma inside a name is written
            \\,. When left out, the classes the model finds.
        out: folder for the pictures (NAME.CLASS.png), the raw maps (NAME.npz) and protocol.jsonl.
        method: a method that `getam methods` lists; when left out getam, or the one a run's recipe is best read with.
        coupling: of getam, acr, ad-cam and last-stage: grad, grad2, attn_grad or attn_grad2.
        start: of getam, acr, ad-cam and legrad: first block that counts; each has a default of its own.
        rows: of getam, acr and ad-cam: cls, patches, cls+patches or pool; derived from the model when left out.
        layers: of the CAMs: modules to read; the last one, or one per resolution, when left out.
        weighting: of multi-layer: class, pooled, elementwise or positive.
        aggregate: of multi-layer: none, max, uncertainty or mean.
        size: long side in pixels the photo is resized to; the model's own when left out.
        refine: spread the pictures along image edges with PAMR, at a long side of at most 500; the .npz keeps the raw
            patch maps.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        on_bad_image: fail: stop at a photo that cannot be read; skip: leave it out, and say so at the end.
        shard: only this process's part of the photos, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and ends the call.
        overwrite: replace files that exist.

    Returns:
        `out`.

    Raises:
        InputError: no such model, class, method, photo or device, an unreadable photo, or files in the way.
        SkippedError: photos were skipped; all others are done.
        WeightsError: no weights: neither a file nor a reachable hub.
    """
    check_on_bad_image(on_bad_image)
    part = read_shard(shard)
    jobs = photo_jobs(photos, out, ".npz")
    if size is not None and size < 1:
        raise InputError(f"--size {size} must be a positive number of pixels")
    where = choose_device(device)
    net: nn.Module
    if reads_words(model, words):
        net = words_model(str(model), weights, words or (), background_words, where)
        classes = classes or names_of(words or ())
    else:
        net = open_model(model, weights, any_size=size is not None, device=where)
    subject = Subject(net, size)
    given = {"coupling": coupling, "start": start, "rows": rows, "layers": layers, "weighting": weighting,
             "aggregate": aggregate}  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    method = usual_method(model) if method is None else method
    chosen = find_method(method)
    check_options(chosen, options)
    names = subject.names()
    wanted = None if classes is None else list(dict.fromkeys(names.index(name) for name in classes))
    # Without --classes the pictures' names are known only after the forward; the .npz beside them guards them.
    pictures = [f".{names.file_name(index)}.png" for index in wanted or []]
    jobs = [
        replace(job, results=(*job.results, *(job.name + picture for picture in pictures))) for job in jobs
    ]
    call = {
        "verb": "explain", "weights_sha256": file_hash(weights) if words and weights else hash_of(model, weights),
        "options": {"photos": photos, "model": model, "weights": weights, "classes": classes, "method": method,
                    "size": subject.preprocessing.long_side, "refine": refine, **options,
                    **({"words": words, "background_words": background_words} if words else {})},
    }  # fmt: skip

    def make(job: Job, photo: Tensor) -> Encode:
        image = subject.prepare(photo)
        found = wanted if wanted is not None else subject.present(image)[0]
        maps = PhotoMaps.of(chosen.make(net, image, [found], **options), names, photo, job.name)
        maps.heat(refine=refine)  # here, on the network's device; it is drawn and packed beside
        return lambda: maps.files(refine=refine)

    with OutputFolder(out, jobs, call, overwrite=overwrite, shard=part) as folder:
        skipped = photo_by_photo(
            folder, lambda job: as_tensor(read_photo(job.sources[0])), make, what="explaining",
            on_bad_image=on_bad_image, ahead=WHOLE_PHOTOS,
        )  # fmt: skip
        if part is not None:
            return folder.leave(skipped)
        folder.finish(skipped)
    return folder.path
