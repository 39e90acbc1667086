"""`getam publish`: a network as a Hugging Face model repository and a Space, written to disk."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

from getam.data.new_folder import new_folder
from getam.engine.model import load_model
from getam.engine.model_file import MODEL, read_metadata
from getam.errors import InputError
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter
from getam.published.cards import Published, model_card, space_card
from getam.published.model_file import portable, portable_model
from getam.verbs.from_python import from_python

OURS = "apache-2.0"  # of the embedded model's weights (docs/model-card.md)
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
SPACE_MODEL = "model"
APP = f'''"""The Space: getam's own page, with the model beside this file."""

import sys

from getam.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", "--model", "{SPACE_MODEL}", "--host", "0.0.0.0", "--port", "7860"]))
'''


@from_python
def publish(
    model: Path | None = None,
    /,
    *,
    out: Path = Path("published"),
    name: str | None = None,
    licence: str | None = None,
) -> Path:
    """Write a network as a Hugging Face model repository and a Space, to be uploaded as they are.

    Nothing is sent anywhere: `hf upload OWNER/NAME OUT/model` and `hf upload OWNER/NAME OUT/space --repo-type space` do
    that. Paths of this machine are left out of what the files say.

    Args:
        model: run folder or model file; the embedded model when left out.
        out: new folder for model/ (README.md, model.safetensors, config.json) and space/ (README.md, app.py,
            requirements.txt, the model).
        name: what the cards call it; when left out the folder of the run, or the file.
        licence: of the weights, as the hub calls it: apache-2.0, mit, cc-by-4.0, other; apache-2.0 for the embedded
            model, needed for others.

    Returns:
        `out`.

    Raises:
        InputError: no such model, no licence, or `out` is there already.
        WeightsError: the file is no model of getam.
    """
    if model is not None and licence is None:
        raise InputError(
            "say with --licence under which terms others may use the weights: apache-2.0, mit, …, other"
        )
    if licence is not None and not LICENCE.fullmatch(licence):
        raise InputError(f"--licence {licence!r} is no name of the hub's: it has a-z, 0-9, dots and hyphens")
    net = load_model(model)  # what does not load is not published
    file = embedded_model() if model is None else model / MODEL if model.is_dir() else model
    kind, classes, config = read_metadata(file)
    about = Published(
        name or f"getam {(file.stem if model is None or file == model else model.resolve().name)}",
        licence or OURS, kind, classes, portable(config), metadata.version("getam"), isinstance(net, Segmenter),
    )  # fmt: skip
    content = portable_model(file)
    described = {
        "library_name": "getam",
        "network": kind,
        "classes": list(classes),
        "config": dict(about.config),
    }
    with new_folder(out) as folder:
        files = {
            "model/README.md": model_card(about).encode(),
            f"model/{MODEL}": content,
            "model/config.json": json.dumps(described, indent=1, ensure_ascii=False).encode() + b"\n",
            "space/README.md": space_card(about).encode(),
            "space/app.py": APP.encode(),
            "space/requirements.txt": f"getam[app]=={about.version}\n".encode(),
            f"space/{SPACE_MODEL}/{MODEL}": content,
        }
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    return out
