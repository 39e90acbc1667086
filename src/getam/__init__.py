"""Image tags go in, pixel masks come out: the public API on one screen.

    explain   which pixels carry each class, for any timm vision transformer: maps that draw themselves
    train     photos and tags → a segmenter
    label     tagged photos → pseudo labels
    predict   photos → masks
    segment   photos that are at hand in Python → masks that draw themselves
    evaluate  masks against truth
    gallery   masks → a page to look through them, compare them and see what a training has learned
    app       maps and masks in the browser: looked at, mended with a brush, kept
    convert   masks → another tool's import format, and back
    export    a trained segmenter → one file that runs without getam: ONNX, or torch's .pt2
    saliency  photos → saliency maps, to look at and to pass on
    data_check  photos, tags and masks → every problem, with file and remedy
    data_split  tagged photos → stratified splits
    data_voc, data_coco  the official archives → folders that all of these read
    bench     map methods and chains compared under one protocol
    methods   every map method, refiner, rule for labels and source of saliency, and what each needs
    models    the models that have maps: what to type, licence of the weights, size
    doctor    this machine and this installation: what is in the way, and what to do
    demo      all of it on scenes of handwritten digits

The command line has the same verbs with the same options (`getam report` is `gallery`); `getam --help` shows them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from getam.errors import CaptureError, GetamError, InputError, WeightsError

if TYPE_CHECKING:
    from getam.attention.capture import AttentionCall, Tap, capture
    from getam.data.detections import detections
    from getam.data.fiftyone_samples import fiftyone_samples
    from getam.engine.model import load_model
    from getam.maps.base import Maps
    from getam.maps.methods.getam import differentiable_maps
    from getam.report.photo_maps import PhotoMaps, PhotoMapsList
    from getam.report.segmentation import Segmentation
    from getam.verbs.app import app
    from getam.verbs.bench import bench
    from getam.verbs.convert import convert
    from getam.verbs.data_check import data_check
    from getam.verbs.data_coco import data_coco
    from getam.verbs.data_split import data_split
    from getam.verbs.data_voc import data_voc
    from getam.verbs.demo.run import demo
    from getam.verbs.doctor.run import doctor
    from getam.verbs.evaluate import evaluate
    from getam.verbs.explain_python import explain
    from getam.verbs.export_model import export
    from getam.verbs.label import label
    from getam.verbs.leaderboard import leaderboard
    from getam.verbs.localise import localise
    from getam.verbs.methods import methods
    from getam.verbs.models import models
    from getam.verbs.predict import predict
    from getam.verbs.publish import publish
    from getam.verbs.report import gallery
    from getam.verbs.saliency import saliency
    from getam.verbs.segment import segment
    from getam.verbs.serve import serve
    from getam.verbs.train import train

_WHERE = {  # loaded when first asked for: torch takes seconds
    "AttentionCall": "getam.attention.capture",
    "Maps": "getam.maps.base",
    "PhotoMaps": "getam.report.photo_maps",
    "PhotoMapsList": "getam.report.photo_maps",
    "Segmentation": "getam.report.segmentation",
    "Tap": "getam.attention.capture",
    "app": "getam.verbs.app",
    "bench": "getam.verbs.bench",
    "capture": "getam.attention.capture",
    "convert": "getam.verbs.convert",
    "data_check": "getam.verbs.data_check",
    "data_coco": "getam.verbs.data_coco",
    "data_split": "getam.verbs.data_split",
    "data_voc": "getam.verbs.data_voc",
    "demo": "getam.verbs.demo.run",
    "detections": "getam.data.detections",
    "differentiable_maps": "getam.maps.methods.getam",
    "doctor": "getam.verbs.doctor.run",
    "evaluate": "getam.verbs.evaluate",
    "explain": "getam.verbs.explain_python",
    "export": "getam.verbs.export_model",
    "fiftyone_samples": "getam.data.fiftyone_samples",
    "gallery": "getam.verbs.report",
    "label": "getam.verbs.label",
    "leaderboard": "getam.verbs.leaderboard",
    "load_model": "getam.engine.model",
    "localise": "getam.verbs.localise",
    "methods": "getam.verbs.methods",
    "models": "getam.verbs.models",
    "predict": "getam.verbs.predict",
    "publish": "getam.verbs.publish",
    "saliency": "getam.verbs.saliency",
    "segment": "getam.verbs.segment",
    "serve": "getam.verbs.serve",
    "train": "getam.verbs.train",
}

__all__ = [
    "AttentionCall",
    "CaptureError",
    "GetamError",
    "InputError",
    "Maps",
    "PhotoMaps",
    "PhotoMapsList",
    "Segmentation",
    "Tap",
    "WeightsError",
    "app",
    "bench",
    "capture",
    "convert",
    "data_check",
    "data_coco",
    "data_split",
    "data_voc",
    "demo",
    "detections",
    "differentiable_maps",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "fiftyone_samples",
    "gallery",
    "label",
    "leaderboard",
    "load_model",
    "localise",
    "methods",
    "models",
    "predict",
    "publish",
    "saliency",
    "segment",
    "serve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
