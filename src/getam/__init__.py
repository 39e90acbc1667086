"""Image tags go in, pixel masks come out: the public API on one screen.

    explain   which pixels carry each class, for any timm vision transformer
    train     photos and tags → a segmenter
    label     tagged photos → pseudo labels
    predict   photos → masks
    evaluate  masks against truth
    saliency  photos → saliency maps, to look at and to pass on
    bench     map methods and chains compared under one protocol
    methods   every map method, refiner, rule for labels and source of saliency, and what each needs
    demo      all of it on scenes of handwritten digits

The command line has the same verbs with the same options; `getam --help` shows them.
"""

from getam.attention.capture import AttentionCall, Tap, capture
from getam.engine.model import load_model
from getam.errors import CaptureError, GetamError, InputError, WeightsError
from getam.maps.base import Maps
from getam.maps.methods.getam import differentiable_maps
from getam.verbs.bench import bench
from getam.verbs.demo.run import demo
from getam.verbs.evaluate import evaluate
from getam.verbs.explain import explain
from getam.verbs.label import label
from getam.verbs.methods import methods
from getam.verbs.predict import predict
from getam.verbs.saliency import saliency
from getam.verbs.train import train

__all__ = [
    "AttentionCall",
    "CaptureError",
    "GetamError",
    "InputError",
    "Maps",
    "Tap",
    "WeightsError",
    "bench",
    "capture",
    "demo",
    "differentiable_maps",
    "evaluate",
    "explain",
    "label",
    "load_model",
    "methods",
    "predict",
    "saliency",
    "train",
]
