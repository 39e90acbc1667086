"""The command line: every mistake is one sentence and exit code 2; the verbs are the public functions."""

from __future__ import annotations

import ast
import inspect
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import getam
from getam import cli
from getam.engine.stopping import Stopped
from getam.errors import InputError, SkippedError, WeightsError
from getam.verbs.explain import explain_photos


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence `getam ARGUMENTS` prints; it must be the only line, and the exit code 2."""
    capsys.readouterr()
    assert cli.main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("getam: ")
    assert "Traceback" not in lines[0]
    return lines[0]


def there(verb: Any) -> Any:
    """A function in place of a verb of the table."""
    return SimpleNamespace(load=lambda: verb, declared=lambda: verb, summary="Nothing.", help_end=lambda: "")


@pytest.fixture
def train(scenes: Path, tmp_path: Path) -> list[object]:
    """The options of a training that would work."""
    return [
        "train", "--data", scenes / "photos", "--tags", scenes / "tags.csv", "--out", tmp_path / "run", "--backbone",
        "small-hybrid", "--size", 32, "--steps", 1, "--batch-size", 2, "--saliency", "none",
    ]  # fmt: skip


def changed(arguments: list[object], option: str, value: object) -> list[object]:
    place = arguments.index(option)
    return [*arguments[: place + 1], value, *arguments[place + 2 :]]


# Mistakes


def test_bad_tags_files(capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path) -> None:
    tags = tmp_path / "bad.csv"
    for content, message in (
        (b"", "is empty"),
        (b"\x89PNG\0\0\0", "binary file"),
        (b"image,tags\n", "no rows"),
        (b"what;tags\na.png;red\n", "header"),
        (b"image;tags\na.png;red\n", "line 2: photo a.png is not in"),
        (b"image,tags\nnowhere.png,red\n", "line 2: photo nowhere.png is not in"),
    ):
        tags.write_bytes(content)
        sentence = refused(capsys, *changed(train, "--tags", tags))
        assert message in sentence
        assert "bad.csv" in sentence
    assert "does not exist" in refused(capsys, *changed(train, "--tags", tmp_path / "none.csv"))


def test_bad_photos(
    capsys: pytest.CaptureFixture[str], train: list[object], trained: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photos / "a.jpg")
    whole = (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "tags.csv").write_text("image,tags\na.jpg,red\n")
    out = tmp_path / "out"
    for arguments in (
        ("predict", photos, "--model", trained, "--out", out),
        ("explain", photos / "a.jpg", "--model", trained, "--out", out),
        ("label", "--data", photos, "--model", trained, "--out", out, "--overwrite"),
        changed(changed(train, "--data", photos), "--tags", photos / "tags.csv"),
    ):
        assert "a.jpg cannot be read" in refused(capsys, *arguments)
    assert "does not exist" in refused(capsys, "predict", tmp_path / "none.jpg", "--model", trained)
    assert "does not exist" in refused(capsys, *changed(train, "--data", tmp_path / "none"))


def test_unknown_tags_and_classes(
    capsys: pytest.CaptureFixture[str], train: list[object], scenes: Path, trained: Path, tmp_path: Path
) -> None:
    assert "did you mean 'red'" in refused(capsys, *train, "--classes", "redd,blue")
    (tmp_path / "tags.csv").write_text("image,tags\nscene0.png,green\n")
    options = (
        "--data",
        scenes / "photos",
        "--tags",
        tmp_path / "tags.csv",
        "--model",
        trained,
        "--saliency",
        "none",
    )
    assert "does not know the tag 'green'" in refused(capsys, "label", *options, "--out", tmp_path / "o")
    photo = scenes / "photos" / "scene0.png"
    assert "no class 'green'" in refused(capsys, "explain", photo, "--model", trained, "--classes", "green")


def test_bad_masks(capsys: pytest.CaptureFixture[str], scenes: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "classes.txt").write_text("background\nblue\nred\n")
    assert "holds no PNG" in refused(capsys, "evaluate", masks, scenes / "truth")
    assert "does not exist" in refused(capsys, "evaluate", tmp_path / "none", scenes / "truth")
    for index in range(6):
        Image.new("L", (48, 40)).save(masks / f"scene{index}.png")
    Image.new("L", (40, 40)).save(masks / "scene0.png")
    assert "scene0.png is 40×40 but its truth" in refused(capsys, "evaluate", masks, scenes / "truth")
    Image.new("RGB", (48, 40)).save(masks / "scene0.png")
    assert "RGB colours, not label numbers" in refused(capsys, "evaluate", masks, scenes / "truth")
    (tmp_path / "empty.txt").write_text("\n")
    split = ("--split", tmp_path / "empty.txt")
    assert "empty.txt is empty" in refused(capsys, "evaluate", masks, scenes / "truth", *split)


def test_an_empty_split(
    capsys: pytest.CaptureFixture[str], train: list[object], scenes: Path, tmp_path: Path
) -> None:
    import shutil

    data = shutil.copytree(scenes / "photos", tmp_path / "data")
    (data / "val.txt").write_text("")
    assert "val.txt is empty" in refused(capsys, *changed(train, "--data", data), "--split", "val")


def test_bad_models_and_weights(
    capsys: pytest.CaptureFixture[str], train: list[object], scenes: Path, tmp_path: Path
) -> None:
    photo = scenes / "photos" / "scene0.png"
    assert "does not exist" in refused(capsys, "predict", photo, "--model", tmp_path / "none")
    assert "holds no model.safetensors" in refused(capsys, "predict", photo, "--model", tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"pickle")
    assert "not a readable safetensors" in refused(
        capsys, "predict", photo, "--model", tmp_path / "w.safetensors"
    )
    weights = ("--weights", tmp_path / "w.safetensors")
    assert "readable safetensors" in refused(capsys, *changed(train, "--backbone", "resnet18"), *weights)
    assert "timm has no model" in refused(capsys, *changed(train, "--backbone", "resnet1800"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--steps", "many"], "--steps"),
        (["--stepps", "3"], "--stepps"),
        (["--lr", "-1"], "option lr: input should be greater than 0"),
        (["--epochs", "2"], "both --steps 1 and --epochs 2.0"),
    ],
)
def test_bad_options(
    capsys: pytest.CaptureFixture[str], train: list[object], extra: list[str], message: str
) -> None:
    assert message in refused(capsys, *train, *extra)


def test_missing_and_unknown_verbs_and_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert "train" in refused(capsys)
    assert "segment" in refused(capsys, "segment")
    assert "data" in refused(capsys, "train")


def test_the_operating_systems_errors(
    capsys: pytest.CaptureFixture[str], train: list[object], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    sentence = refused(capsys, *changed(train, "--out", tmp_path / "file" / "run"))
    assert str(tmp_path / "file") in sentence


def test_results_in_the_way(
    capsys: pytest.CaptureFixture[str], scenes: Path, trained: Path, tmp_path: Path
) -> None:
    predict = (
        "predict",
        scenes / "photos" / "scene0.png",
        "--model",
        trained,
        "--scales",
        32,
        "--out",
        tmp_path,
    )
    assert cli.main([str(a) for a in predict]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    assert "scene0.png exists" in refused(capsys, *predict)
    assert cli.main([*map(str, predict), "--overwrite"]) == 0


# Spellings


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_lists_every_option(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    for name, parameter in inspect.signature(cli.VERBS[verb].load()).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            option = name.rstrip("_").replace("_", "-")  # `from_` is no word of Python
            assert f"--{option}" in text or f"--no-{option}" in text


@pytest.mark.parametrize("verb", ["explain PHOTO", "label --data D"])
def test_options_of_some_methods_are_spelt_as_before(called: list[Any], verb: str) -> None:
    line = f"{verb} --coupling grad --start 3 --rows cls --layers a,b --weighting class --aggregate max"
    assert cli.main(line.split()) == 0
    given = {
        "coupling": "grad", "start": 3, "rows": "cls", "layers": ("a", "b"), "weighting": "class", "aggregate": "max",
    }  # fmt: skip
    assert called[0][1].items() >= given.items()


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert all(verb in text for verb in cli.VERBS)


def test_verbs_are_public_functions() -> None:
    for name, verb in cli.VERBS.items():
        name = {"report": "gallery"}.get(name, name.replace("-", "_"))  # `getam.report` is a room
        if name == "completion":  # of the command itself
            continue
        assert name in getam.__all__
        # the Python `explain` returns maps; its verb writes files
        assert verb.load() is (explain_photos if name == "explain" else getattr(getam, name))
        assert verb.summary == inspect.cleandoc(verb.load().__doc__ or "").partition("\n\n")[0].replace(
            "\n", " "
        )


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Verbs that only remember how they were called."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def remembering(name: str, verb: Any) -> Any:
        def remember(*args: Any, **options: Any) -> None:
            bound = inspect.signature(verb).bind(*args, **options)
            calls.append((name, dict(bound.arguments)))

        remember.__wrapped__ = verb  # type: ignore[attr-defined]
        remember.__doc__, remember.__annotations__ = verb.__doc__, verb.__annotations__
        return remember

    monkeypatch.setattr(
        cli, "VERBS", {name: there(remembering(name, verb.load())) for name, verb in cli.VERBS.items()}
    )
    return calls


@pytest.mark.parametrize("classes", [["a,b"], ["a", "b"], ["a, b"]])
def test_the_spelling_of_train(called: list[Any], classes: list[str]) -> None:
    line = (
        "train --data PHOTOS --tags tags.csv --out RUN --recipe getam --backbone NAME --weights FILE --saliency DIR "
        "--steps 7 --epochs 2 --size 224 --seed 3 --classes"
    )
    assert cli.main([*line.split(), *classes]) == 0
    ((name, options),) = called
    assert name == "train"
    given = {key: value for key, value in options.items() if value is not None}
    assert given.items() >= {
        "data": Path("PHOTOS"), "tags": Path("tags.csv"), "out": Path("RUN"), "recipe": "getam", "backbone": "NAME",
        "weights": Path("FILE"), "saliency": Path("DIR"), "classes": ("a", "b"), "steps": 7, "epochs": 2.0, "size": 224,
        "seed": 3,
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "predict PHOTOS --model RUN --out MASKS",
            {"photos": Path("PHOTOS"), "model": Path("RUN"), "out": Path("MASKS")},
        ),
        ("predict PHOTOS --scales 224,320 --flip --crf", {"scales": (224, 320), "flip": True, "crf": True}),
        (
            "label --data D --tags t.csv --model RUN --out MASKS",
            {"data": Path("D"), "tags": Path("t.csv"), "model": Path("RUN"), "out": Path("MASKS")},
        ),
        ("evaluate MASKS TRUTH", {"masks": Path("MASKS"), "truth": Path("TRUTH")}),
        (
            "explain PHOTO --model NAME --classes cat,dog",
            {"photos": Path("PHOTO"), "model": "NAME", "classes": ("cat", "dog")},
        ),
        ("explain PHOTO --classes=cat,dog --out=M", {"classes": ("cat", "dog"), "out": Path("M")}),
    ],
)
def test_the_other_spellings(called: list[Any], line: str, wanted: dict[str, Any]) -> None:
    assert cli.main(line.split()) == 0
    ((name, options),) = called
    assert name == line.split()[0]
    assert options.items() >= wanted.items()


# What happens to a verb


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000 bytes"),
        RuntimeError("MPS backend out of memory"),
    ],
)  # fmt: skip
def test_too_little_memory_is_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(photos: Path, /) -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(cli, "VERBS", {"predict": there(verb), "label": there(verb)})
    assert "not enough memory" in refused(capsys, "predict", "photo.jpg")


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), TypeError("a bug")])
def test_a_bug_stays_a_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(photos: Path, /) -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(cli, "VERBS", {"predict": there(verb), "label": there(verb)})
    with pytest.raises(type(error)):
        cli.main(["predict", "photo.jpg"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SkippedError("2 were left out"), 1, "getam: 2 were left out"), (InputError("no"), 2, "getam: no"),
        (WeightsError("no"), 2, "getam: no"), (KeyboardInterrupt(), 130, "getam: interrupted"),
        (Stopped("saved", signal.SIGTERM), 143, "getam: saved"), (Stopped("saved", signal.SIGINT), 130, "getam: saved"),
        (PermissionError(13, "Permission denied", "a.jpg"), 2, "getam: a.jpg: Permission denied"),
        (OSError("disk full"), 2, "getam: disk full"),
    ],
)  # fmt: skip
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verb(photos: Path, /) -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(cli, "VERBS", {"predict": there(verb), "label": there(verb)})
    assert cli.main(["predict", "photo.jpg"]) == code
    assert capsys.readouterr() == ("", said + "\n")


def test_sigterm_is_as_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []

    def verb(photos: Path, /) -> None:
        """Wait to be ended."""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(photos)

    monkeypatch.setattr(cli, "VERBS", {"predict": there(verb), "label": there(verb)})
    assert cli.main(["predict", "photo.jpg"]) == 143
    assert capsys.readouterr().err == "getam: stopped by SIGTERM\n"
    assert cleaned == [Path("photo.jpg")]


@pytest.mark.parametrize(
    ("result", "printed"), [(Path("masks"), "masks\n"), ("a table", "a table\n"), (None, ""), (7, "")]
)
def test_results_are_printed(
    result: object, printed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(photos: Path, /) -> object:
        """Return something."""
        return result

    monkeypatch.setattr(cli, "VERBS", {"predict": there(verb), "label": there(verb)})
    assert cli.main(["predict", "photo.jpg"]) == 0
    assert capsys.readouterr() == (printed, "")


def test_the_first_of_several_processes_scores_alone(
    capsys: pytest.CaptureFixture[str], scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every photo counts once, and is said once, however many processes torchrun has started."""
    score = ["evaluate", str(scenes / "truth"), str(scenes / "truth"), "--out", str(tmp_path / "scores.json")]
    monkeypatch.setattr(cli, "rank", lambda: 1)
    assert cli.main(score) == 0
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "scores.json").exists()
    monkeypatch.setattr(cli, "rank", lambda: 0)
    assert cli.main(score) == 0
    assert json.loads(capsys.readouterr().out)["miou"] == 1
    assert (tmp_path / "scores.json").is_file()


def test_verbs_with_nothing_to_share_are_verbs() -> None:
    assert set(cli.ALONE) < set(cli.VERBS) | {"data"}
    assert not {"train", "label", "predict", "explain", "saliency", "bench"} & set(cli.ALONE)


def test_scores_are_printed_as_json(capsys: pytest.CaptureFixture[str], scenes: Path) -> None:
    truth = str(scenes / "truth")
    assert cli.main(["evaluate", truth, truth, "--classes", "red"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["miou"], printed["protocol"]["classes"]) == (1.0, ["red"])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["predict", "a,b", "--scales", "1,2", "--out", "c,d"],
         ["predict", "a,b", "--scales", "1", "2", "--out", "c,d"]),
        (["label", "--refine", "walk-afa,par", "--layers=a,b"],
         ["label", "--refine", "walk-afa", "par", "--layers", "a", "b"]),
        (["bench", "--compare", "a+b,c", "--background", "sky,grass"],
         ["bench", "--compare", "a+b", "c", "--background", "sky", "grass"]),
        (["bench", "--compare", "acr[start=9,rows=cls],b[layers=[x,y]]+c"],
         ["bench", "--compare", "acr[start=9,rows=cls]", "b[layers=[x,y]]+c"]),
        (["bench", "--compare", "a],b"], ["bench", "--compare", "a]", "b"]),
        (["train", "--options", "zoom=[1,2]"], ["train", "--options", "zoom=[1,2]"]),
        (["explain", "--refine", "a,b.jpg"], ["explain", "--refine", "a,b.jpg"]),
        (["label", "--refine", ","], ["label", "--refine", ","]),
        (["explain", "--classes", r"a\,b,c", "d"], ["explain", "--classes", "a,b", "c", "d"]),
        (["explain", "--classes", "a\u00a0b"], ["explain", "--classes", "a\u00a0b"]),
        ([], []),
    ],
)  # fmt: skip
def test_lists_are_split_at_commas(given: list[str], wanted: list[str]) -> None:
    assert cli.split_commas(given) == wanted


def test_large_photos_do_not_warn(
    capsys: pytest.CaptureFixture[str],
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # the photos have 1920
    line = ["predict", scenes / "photos" / "scene0.png", "--model", trained, "--out", tmp_path, "--no-crf"]
    with warnings.catch_warnings(record=True) as warned:
        assert cli.main([str(part) for part in line]) == 0
    assert not [each for each in warned if each.category is Image.DecompressionBombWarning]


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_that_are_not_utf8_as_a_command(scenes: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "b.png").write_bytes((scenes / "photos" / "scene0.png").read_bytes())
    for line in (
        ["predict", folder, "--model", trained, "--no-crf", "--out", folder / "out"],
        ["predict", folder / "no"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "getam", *line],
            capture_output=True, env={"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": ""}, timeout=280,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        assert done.returncode == (0 if len(line) > 2 else 2)
        assert b"caf" in (done.stdout or done.stderr)


@pytest.mark.parametrize("line", ["--help", "label --help", "methods", "label --nonsense"])
def test_a_reader_that_has_seen_enough_is_no_error(line: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does, only sooner
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "getam", *line.split()], stdout=gone, stderr=subprocess.PIPE, text=True
        )
    wrong = "nonsense" in line  # said where somebody listens
    assert (done.returncode, "nonsense" in done.stderr) == ((2, True) if wrong else (141, False))
    assert "roken" not in done.stderr
    assert "Traceback" not in done.stderr


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "getam", "predict", str(tmp_path / "none.jpg")],
        capture_output=True, text=True, env={"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": ""}, timeout=280,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("getam: ")
    assert "Traceback" not in done.stderr


# What is loaded before it is needed


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import getam; dir(getam); getam.InputError; from getam import GetamError", 0),
        ("from getam.cli import run; import sys; sys.argv = ['getam', '--help']; run()", 0),
        ("from getam.cli import main; sys.exit(main(['trian']))", 2),
        ("from getam.cli import main; sys.exit(main([]))", 2),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, status: int) -> None:
    heavy = ["torch", "timm", "torchvision", "scipy", "lightning_fabric", "numpy", "PIL", "pydantic"]
    say = f"import atexit, sys; atexit.register(lambda: print('loaded', [m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{say}\n{code}"],
        capture_output=True, text=True, env={"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": ""}, timeout=280,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_public_names_are_what_the_type_checker_sees() -> None:
    source = ast.parse(Path(getam.__file__).read_text())
    (seen,) = (node for node in source.body if isinstance(node, ast.If))
    imported = {
        (a.name, part.module) for part in seen.body for a in part.names if isinstance(part, ast.ImportFrom)
    }
    assert imported == set(getam._WHERE.items())
    assert set(getam.__all__) <= set(dir(getam))
    for name in getam.__all__:
        assert getattr(getam, name).__name__ == name
    assert set(getam._WHERE) <= set(getam.__all__)
    with pytest.raises(AttributeError, match="module 'getam' has no attribute 'explian'"):
        getam.explian  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from getam import explian  # noqa: F401
