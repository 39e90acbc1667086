"""One row against slow counts by hand: whose threshold, which class, which photo, what is timed."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import getam
from getam.data.collection import Collection, Sample, load_collection
from getam.data.masks import read_mask, write_mask
from getam.data.photos import as_tensor, read_photo
from getam.metrics.bootstrap import interval, mean_interval
from getam.metrics.boundary import BoundaryScore
from getam.metrics.confusion import ConfusionMatrix, confusion_matrix, hits_and_unions
from getam.metrics.cost import Seconds
from getam.metrics.deletion import STEPS, blurred, deletion_insertion
from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.photo_size import fit_patches
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.report.bench_photos import from_lines
from getam.report.bench_table import BenchRow
from getam.verbs import bench_row
from getam.verbs.bench_row import Subject, enlarge, levels, measure_row

SIZE = 32
PRESENT = [[0], [1], [0, 1], [0], [1], [0, 1]]  # of the scenes


@pytest.fixture(scope="module")
def subject(scenes: Path, trained: Path) -> Subject:
    """All six scenes, deletion on all of them."""
    collection = load_collection(scenes / "photos", scenes / "tags.csv", masks=scenes / "truth")
    names = frozenset(sample.name for sample in collection.samples)
    return Subject(getam.load_model(trained), collection, SIZE, 0.3, names)


def measure(subject: Subject, text: str) -> BenchRow:
    pipeline = parse_pipeline(text, scales=(subject.size,), flip=False)
    return measure_row(subject, text, pipeline, labels=":" in text, what="")


def pixels_of(sample: Sample) -> Tensor:
    return as_tensor(read_photo(sample.photo))


def truths(subject: Subject) -> list[np.ndarray]:
    return [read_mask(sample.mask) for sample in subject.collection.samples if sample.mask]


def counts_of(masks: list[np.ndarray], truth: list[np.ndarray]) -> np.ndarray:
    return np.stack([hits_and_unions(confusion_matrix(*pair, 2)) for pair in zip(masks, truth)])


def matrix_of(masks: list[np.ndarray], truth: list[np.ndarray]) -> ConfusionMatrix:
    matrix = ConfusionMatrix(2)
    for pair in zip(masks, truth):
        matrix.update(*pair)
    return matrix


def painted(maps: np.ndarray, present: list[int], threshold: float) -> np.ndarray:
    return np.where(maps.max(0) >= threshold, np.array(present)[maps.argmax(0)] + 1, 0)


def noisy_maps(subject: Subject) -> list[Tensor]:
    """(1,K,H,W) of every photo, peak 1; the two halves want different thresholds."""
    random, found = np.random.default_rng(0), []
    for number, (truth, present) in enumerate(zip(truths(subject), PRESENT)):
        strength = 0.3 if number % 2 else 0.7
        maps = np.stack([np.where(truth == c + 1, strength, 0.1) for c in present])
        maps = (maps + random.normal(0, 0.12, maps.shape)).clip(0, 0.98)
        for place, each in enumerate(maps):  # no two are equal anywhere
            each[0, place] = 1
        found.append(torch.from_numpy(maps).float()[None])
    return found


@pytest.fixture
def given(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """`noisy_maps` are what every method finds."""
    maps = noisy_maps(subject)
    known = {
        pixels_of(sample).numpy().tobytes(): dict(zip(classes, each[0]))
        for sample, each, classes in zip(subject.collection.samples, maps, PRESENT)
    }

    def find(self: Pipeline, net: Any, photo: Tensor, present: list[int], **_: Any) -> Tensor:
        return torch.stack([known[photo.numpy().tobytes()][c] for c in present])[None]

    monkeypatch.setattr(Pipeline, "maps", find)
    return [each[0].numpy() for each in maps]


def test_each_half_is_scored_at_the_threshold_that_was_best_on_the_other(
    subject: Subject, given: list[np.ndarray]
) -> None:
    found, truth = measure(subject, "gradcam"), truths(subject)

    def masks(threshold: float) -> list[np.ndarray]:
        return [painted(maps, present, threshold) for maps, present in zip(given, PRESENT)]

    at = [masks(threshold) for threshold in DEFAULT_THRESHOLDS]
    best = [
        max(range(99), key=lambda i, half=half: matrix_of(at[i][half::2], truth[half::2]).compute().miou)  # type: ignore[misc]
        for half in (0, 1)
    ]
    assert best[0] != best[1]
    assert found.thresholds == (DEFAULT_THRESHOLDS[best[1]], DEFAULT_THRESHOLDS[best[0]])
    crossed = [at[best[1 - number % 2]][number] for number in range(6)]
    own = [at[best[number % 2]][number] for number in range(6)]
    assert found.miou == matrix_of(crossed, truth).compute().miou
    assert found.miou < matrix_of(own, truth).compute().miou

    boundary = BoundaryScore(2)
    for pair in zip(crossed, truth):
        boundary.update(*pair)
    outlines = boundary.compute()
    assert (found.boundary_precision, found.boundary_recall, found.boundary_f) == (
        outlines.precision, outlines.recall, outlines.f,
    )  # fmt: skip
    np.testing.assert_array_equal(from_lines(found.photos, 2), counts_of(crossed, truth))
    assert found.interval == interval(counts_of(crossed, truth))


@pytest.mark.parametrize("fixed", [0.3, 0.57])
def test_the_threshold_set_beforehand_has_a_score_and_an_interval_of_its_own(
    subject: Subject, given: list[np.ndarray], fixed: float
) -> None:
    found = measure(Subject(**{**vars(subject), "fixed": fixed}), "gradcam")
    masks = [painted(maps, present, fixed) for maps, present in zip(given, PRESENT)]
    counts = counts_of(masks, truths(subject))
    assert found.miou_fixed == matrix_of(masks, truths(subject)).compute().miou
    assert found.miou_fixed_interval == interval(counts)
    assert found.miou_fixed_interval != found.interval
    assert found.curve is not None
    assert found.curve[round(100 * fixed) - 1] == found.miou_fixed
    assert found.peak == max(found.curve)
    assert found.peak_threshold == DEFAULT_THRESHOLDS[found.curve.index(found.peak)]


def test_deletion_and_insertion_ask_for_the_class_of_the_map(subject: Subject) -> None:
    found = measure(subject, "gradcam")
    pipeline = parse_pipeline("gradcam", scales=(SIZE,), flip=False)
    photos: list[list[tuple[float, float]]] = []
    for sample, present in zip(subject.collection.samples, PRESENT):
        photos.append([])
        pixels = pixels_of(sample)
        seen = fit_patches(*pixels.shape[-2:], SIZE, subject.net.patch)
        image = F.interpolate(pixels.float()[None], size=seen, mode="bilinear", antialias=True).clamp(0, 255)[
            0
        ]
        maps = pipeline.maps(subject.net, pixels, present)
        maps = F.interpolate(maps, size=seen, mode="bilinear", antialias=True)[0]
        for place, c in enumerate(present):

            @torch.no_grad()
            def probability(photos: Tensor, c: int = c) -> Tensor:
                return subject.net.class_scores(photos).sigmoid()[:, c]

            photos[-1].append(deletion_insertion(probability, image, blurred(image), maps[place], STEPS))
    areas = [area for its in photos for area in its]
    assert len(areas) == 8
    assert (found.deletion, found.insertion) == pytest.approx(np.mean(areas, axis=0), abs=1e-6)
    of = [[[area[which] for area in its] for its in photos] for which in (0, 1)]
    assert found.deletion_interval == pytest.approx(mean_interval(of[0]), abs=1e-6)
    assert found.insertion_interval == pytest.approx(mean_interval(of[1]), abs=1e-6)
    assert found.deletion != pytest.approx(found.insertion, abs=1e-6)


def test_only_the_perturbed_photos_have_deletion_and_insertion(subject: Subject) -> None:
    one = Subject(**{**vars(subject), "perturbed": frozenset({"scene2"})})
    alone = Collection(subject.collection.classes, subject.collection.samples[2:4], ("blue", "red"))
    pair = Subject(**{**vars(subject), "collection": alone, "perturbed": frozenset({"scene2"})})
    none = Subject(**{**vars(subject), "perturbed": frozenset()})
    assert measure(one, "gradcam").deletion == pytest.approx(measure(pair, "gradcam").deletion)
    assert measure(one, "gradcam").deletion != measure(subject, "gradcam").deletion
    assert measure(none, "gradcam").deletion is None
    assert measure(none, "gradcam").insertion is None
    assert measure(none, "gradcam").deletion_interval is None
    assert measure(one, "gradcam").insertion_interval is None


def test_labels_are_scored_as_they_are(subject: Subject) -> None:
    found = measure(subject, "gradcam+pamr:threshold")
    pipeline = parse_pipeline("gradcam+pamr:threshold", scales=(SIZE,), flip=False)
    masks = [
        pipeline.label(subject.net, pixels_of(sample), present, None).numpy()
        for sample, present in zip(subject.collection.samples, PRESENT)
    ]
    truth, boundary = truths(subject), BoundaryScore(2)
    for pair in zip(masks, truth):
        boundary.update(*pair)
    scores, outlines = matrix_of(masks, truth).compute(), boundary.compute()
    assert found.miou == scores.miou
    assert found.iou == dict(zip(("background", "blue", "red"), scores.iou))
    assert found.false_positive_rate == scores.false_positive_rate
    assert found.false_negative_rate == scores.false_negative_rate
    assert (found.boundary_precision, found.boundary_recall, found.boundary_f) == (
        outlines.precision, outlines.recall, outlines.f,
    )  # fmt: skip
    assert found.undecided == pytest.approx(np.mean([(mask == 255).mean() for mask in masks]))
    assert found.interval == interval(counts_of(masks, truth))
    np.testing.assert_array_equal(from_lines(found.photos, 2), counts_of(masks, truth))


@pytest.mark.usefixtures("given")
def test_classes_are_told_by_name_not_by_their_place_in_the_network(subject: Subject, scenes: Path) -> None:
    """The collection lists red before blue, the network blue before red."""
    turned = load_collection(
        scenes / "photos", scenes / "tags.csv", masks=scenes / "truth", classes=("red", "blue")
    )
    other = Subject(**{**vars(subject), "collection": turned})
    for text in ("gradcam", "gradcam:threshold"):
        expected, found = measure(subject, text), measure(other, text)
        assert found.iou == expected.iou
        assert found.iou["red"] > 0.2
        assert list(found.iou) == ["background", "red", "blue"]
        assert (found.miou, found.deletion) == pytest.approx((expected.miou, expected.deletion))


def test_saliency_reaches_the_labeller(subject: Subject, scenes: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    maps = [random.choice([0, 255], (40, 48)).astype(np.uint8) for _ in range(6)]
    for number, each in enumerate(maps):
        Image.fromarray(each).save(tmp_path / f"scene{number}.png")
    collection = load_collection(
        scenes / "photos", scenes / "tags.csv", masks=scenes / "truth", saliency=tmp_path
    )
    found = measure(Subject(**{**vars(subject), "collection": collection}), "gradcam:saliency-fusion")
    pipeline = parse_pipeline("gradcam:saliency-fusion", scales=(SIZE,), flip=False)
    masks = [
        pipeline.label(subject.net, pixels_of(sample), present, torch.from_numpy(each) / 255).numpy()
        for sample, present, each in zip(subject.collection.samples, PRESENT, maps)
    ]
    assert found.miou == matrix_of(masks, truths(subject)).compute().miou


class Clock:
    """Stands in for `timed`: plain forwards take 1, 2, 3, … CPU seconds, calls ten times that, by the wall a half."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, call: Callable[[], Any]) -> tuple[Any, Seconds]:
        forward, number = self.calls % 2 == 0, self.calls // 2 + 1
        self.calls += 1
        cpu = float(number**2 * (1 if forward else 10))
        return call(), Seconds(cpu / 2, cpu)


def without_tags(subject: Subject, number: int) -> Subject:
    samples = list(subject.collection.samples)
    samples[number] = Sample(samples[number].name, samples[number].photo, (), (), samples[number].mask)
    collection = Collection(subject.collection.classes, tuple(samples), ("blue", "red"))
    return Subject(**{**vars(subject), "collection": collection, "perturbed": frozenset()})


def test_costs_are_medians_over_the_photos_with_tags(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_row, "timed", Clock())
    monkeypatch.setattr(bench_row, "peak_tensor_bytes", lambda call: 7_500_000)
    found = measure(without_tags(subject, 1), "gradcam")
    # photos 1, 3, 4, 5, 6 in this count: the median one is the fourth
    assert found.cpu_seconds == 160
    assert found.seconds == 80
    assert found.forwards == 10
    assert found.megabytes == 7.5


def test_memory_is_that_of_the_largest_photo_and_of_most_classes(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[tuple[int, ...], int]] = []
    counting = False

    def maps(self: Pipeline, net: Any, photo: Tensor, present: list[int]) -> Tensor:
        if counting:
            seen.append((tuple(photo.shape), len(present)))
        return torch.ones(1, len(present), 4, 4)

    def peak(call: Callable[[], Any]) -> int:
        nonlocal counting
        counting = True
        call()
        counting = False
        return 1

    monkeypatch.setattr(Pipeline, "maps", maps)
    monkeypatch.setattr(bench_row, "peak_tensor_bytes", peak)
    measure(without_tags(subject, 1), "gradcam")
    assert seen == [((3, 40, 48), 2)]

    samples = list(subject.collection.samples)
    large = tmp_path / "scene3.png"
    Image.open(samples[3].photo).resize((60, 50)).save(large)
    write_mask(tmp_path / "mask.png", np.zeros((50, 60), np.uint8))
    samples[3] = Sample("scene3", large, samples[3].tags, (), tmp_path / "mask.png")
    collection = Collection(subject.collection.classes, tuple(samples), ("blue", "red"))
    measure(Subject(**{**vars(subject), "collection": collection, "perturbed": frozenset()}), "gradcam")
    assert seen[1:] == [((3, 50, 60), 1)]


def test_without_any_tag_nothing_is_timed(subject: Subject) -> None:
    bare = subject
    for number in range(6):
        bare = without_tags(bare, number)
    found = measure(bare, "gradcam")
    assert np.isnan([found.seconds, found.cpu_seconds, found.forwards]).all()
    assert found.megabytes == 0
    assert found.iou["background"] > 0.5
    assert found.iou["red"] == 0


def test_options_that_labelling_has_found_better_are_said(subject: Subject) -> None:
    assert measure(subject, "gradcam").options == {}
    assert measure(subject, "getam").options == {"coupling": "attn_grad"}


def test_enlarged_maps_have_peak_one_and_aligned_corners() -> None:
    maps = torch.tensor([[[[0.0, 1e-9], [0.0, 5e-10]], [[0.0, 0.0], [0.0, 0.0]]]])
    large = enlarge(maps, (3, 5))
    assert large.shape == (2, 3, 5)
    np.testing.assert_allclose(large[0, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_allclose(large[0, :, 4], [1, 0.75, 0.5], atol=1e-6)
    assert (large[1] == 0).all()
    assert enlarge(torch.zeros(1, 0, 2, 2), (3, 5)).shape == (0, 3, 5)


def test_levels_count_the_thresholds_reached_and_name_the_winner() -> None:
    maps = np.array([[[0.0, 0.01, 0.3, 1.0]], [[0.0, 0.0, 0.3, 0.2]]], np.float32).astype(np.float64)
    maps[maps == np.float64(np.float32(0.3))] = 0.3
    maps[maps == np.float64(np.float32(0.01))] = 0.01
    reached, winner = levels(maps, [4, 2])
    assert reached.tolist() == [[0, 1, 30, 99]]
    assert winner.tolist() == [[4, 4, 4, 4]]
    assert levels(maps[::-1], [2, 4])[1].tolist() == [[2, 4, 2, 4]]
    assert levels(maps, [300, 2])[1].tolist() == [[300, 300, 300, 300]]
    for part, kind in zip(levels(np.zeros((0, 2, 3), np.float32), []), (np.uint8, np.uint16), strict=True):
        assert part.tolist() == [[0, 0, 0], [0, 0, 0]]
        assert part.dtype == kind
    assert (reached.dtype, winner.dtype) == (np.uint8, np.uint16)


def test_white_stays_white(subject: Subject, tmp_path: Path) -> None:
    Image.new("RGB", (48, 40), "white").save(tmp_path / "scene0.png")
    samples = list(subject.collection.samples)
    samples[0] = Sample("scene0", tmp_path / "scene0.png", samples[0].tags, (), samples[0].mask)
    white = Subject(
        **{
            **vars(subject),
            "collection": Collection(subject.collection.classes, tuple(samples), ("blue", "red")),
        }
    )
    assert float(bench_row._read(white, samples[0]).image.min()) == pytest.approx(255, abs=1e-4)


def test_a_photo_is_seen_at_the_size_of_the_bench(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the plain forward, of deletion and of maps alike."""
    sizes: list[tuple[int, ...]] = []
    real = subject.net

    class Net(SimpleNamespace):
        def class_scores(self, photos: Tensor) -> Tensor:
            sizes.append(tuple(photos.shape[-2:]))
            assert 0 <= float(photos.min()) <= float(photos.max()) <= 255
            assert float(photos.max()) > 100
            return real.class_scores(photos)

        def log_odds(self, scores: Tensor) -> Tensor:
            return real.log_odds(scores)

        def parameters(self) -> Any:
            return real.parameters()

    net = Net(patch=real.patch, classes=real.classes)
    monkeypatch.setattr(Pipeline, "maps", lambda *given, **_: torch.rand(1, len(given[-1]), 4, 4))
    measure(Subject(**{**vars(subject), "net": net, "size": 64}), "gradcam")
    assert set(sizes) == {fit_patches(40, 48, 64, real.patch)}
