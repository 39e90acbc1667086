"""`getam localise` on six scenes: photos of one tag, boxes of masks or of a table, rows kept under one protocol."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F

import getam
from getam.boxes import component_boxes
from getam.cli import main
from getam.data.masks import read_mask, write_mask
from getam.data.photos import as_tensor, read_photo
from getam.errors import InputError
from getam.metrics.localisation import LocalisationScore
from getam.photo_size import fit_patches
from getam.pipeline_text import parse_pipeline

SIZE = 32
ROWS = ("getam", "gradcam+pamr")


def run(scenes: Path, trained: Path, out: Path, **options: Any) -> dict[str, Any]:
    given = {"compare": ROWS, "size": SIZE, "truth": scenes / "truth", **options}
    found = getam.localise(data=scenes / "photos", tags=scenes / "tags.csv", model=trained, out=out, **given)
    assert found == out
    return json.loads((out / "localise.json").read_text())


@pytest.fixture(scope="module")
def done(scenes: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder; treat it as read-only."""
    out = tmp_path_factory.mktemp("localise") / "out"
    run(scenes, trained, out)
    return out


def test_rows_are_what_the_parts_give(scenes: Path, trained: Path, done: Path) -> None:
    net: Any = getam.load_model(trained)
    content = json.loads((done / "localise.json").read_text())
    assert [row["name"] for row in content["rows"]] == list(ROWS)
    for row in content["rows"]:
        pipeline = parse_pipeline(row["name"], scales=(SIZE,), flip=False)
        score = LocalisationScore()
        for number in (0, 1, 3, 4):  # 2 and 5 have two tags
            photo = as_tensor(read_photo(scenes / "photos" / f"scene{number}.png"))
            truth, own = read_mask(scenes / "truth" / f"scene{number}.png"), number % 3
            map = F.interpolate(pipeline.maps(net, photo, [own]), size=truth.shape, mode="bilinear")[0, 0]
            map = (map - map.min()) / (map.max() - map.min())
            image = F.interpolate(
                photo.float()[None], size=fit_patches(40, 48, SIZE, net.patch), mode="bilinear", antialias=True
            )  # fmt: skip
            score.update(
                map.clamp(0, 1).numpy(), component_boxes(truth > 0)[0], truth=(truth > 0).astype(np.uint8),
                recognised=int(net.class_scores(image).argmax()) == own,
            )  # fmt: skip
        found = score.compute()
        assert row["hits"] == "".join(str(int(hit)) for hit in found.box_acc[1].hits)
        assert row["gt_known"] == pytest.approx(found.box_acc[1].hits.mean())
        assert tuple(row["thresholds"]) == found.box_acc[1].thresholds
        assert row["top1"] == pytest.approx(found.top1.mean())
        assert row["accuracy"] == pytest.approx(found.recognised.mean())
        assert row["box_acc"] == pytest.approx([each.hits.mean() for each in found.box_acc])
        assert row["box_acc_v2"] == pytest.approx([each.hits.mean() for each in found.box_acc_v2])
        assert row["mean_box_acc_v2"] == pytest.approx(np.mean(row["box_acc_v2"]))
        low, high = row["mean_box_acc_v2_interval"]
        assert low <= row["mean_box_acc_v2"] <= high
        assert row["max_box_acc"] == pytest.approx(found.max_box_acc)
        assert row["max_box_acc_v2"] == pytest.approx(found.max_box_acc_v2)
        assert row["pxap"] == pytest.approx(found.pxap, abs=1e-3)
    first, second = content["rows"]
    assert first["compared_to"] is None
    assert second["compared_to"] == "getam"
    assert second["difference"] == pytest.approx(second["gt_known"] - first["gt_known"])
    assert second["difference_interval"][0] <= second["difference"] <= second["difference_interval"][1]


def test_protocol_and_page(done: Path) -> None:
    protocol = json.loads((done / "localise.json").read_text())["protocol"]
    assert (protocol["photos"], protocol["size"], protocol["boxes_from"]) == (4, SIZE, "masks")
    page = (done / "localise.md").read_text()
    assert "4 photos with one tag of 2 classes (blue, red); true boxes from masks; long side 32" in page
    for name in ROWS:
        assert f"|`{name}`|" in page
        assert f"`{name}` 0." in page  # its thresholds
    assert "coupling=attn_grad" in page


def test_what_is_done_is_not_done_again(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(scenes, trained, tmp_path / "o", compare=("getam",))
    assert "|`getam`|" in capsys.readouterr().out
    content = json.loads((tmp_path / "o" / "localise.json").read_text())
    content["rows"][0]["pxap"] = 0.125
    (tmp_path / "o" / "localise.json").write_text(json.dumps(content))
    both = run(scenes, trained, tmp_path / "o")
    assert [row["pxap"] == 0.125 for row in both["rows"]] == [True, False]
    with pytest.raises(InputError, match=r"another protocol \(size differ\)"):
        run(scenes, trained, tmp_path / "o", size=48)
    anew = run(scenes, trained, tmp_path / "o", size=48, overwrite=True)
    assert [row["pxap"] == 0.125 for row in anew["rows"]] == [False, False]


def test_boxes_of_a_table(scenes: Path, trained: Path, tmp_path: Path) -> None:
    """Boxes that hold the whole photo: each map at its lowest threshold fills them; masks are there for PxAP alone."""
    rows = [f"scene{n}.png,0,0,48,40,{('blue', 'red')[n % 3]}" for n in (0, 1, 3)]
    rows.append("scene4.png,0,0,48,40,blue")  # its tag is red
    (tmp_path / "b.csv").write_text("\n".join(["image,x0,y0,x1,y1,class", *rows]) + "\n")
    with_masks = run(scenes, trained, tmp_path / "a", boxes=tmp_path / "b.csv", compare=("getam",))
    assert with_masks["protocol"]["photos"] == 3
    assert with_masks["protocol"]["boxes_from"] == "a CSV"
    assert with_masks["rows"][0]["pxap"] is not None
    alone = run(scenes, trained, tmp_path / "b", boxes=tmp_path / "b.csv", truth=None, compare=("getam",))
    assert alone["rows"][0]["pxap"] is None
    assert alone["rows"][0]["hits"] == with_masks["rows"][0]["hits"]
    assert alone["protocol"]["boxes_sha256"] is not None
    (tmp_path / "b.csv").write_text("image,x0,y0,x1,y1\nscene0,0,0,49,40\n")
    with pytest.raises(InputError, match="the box 0,0,49,40 is not inside"):
        run(scenes, trained, tmp_path / "c", boxes=tmp_path / "b.csv")


def test_the_first_photos_and_some_classes(scenes: Path, trained: Path, tmp_path: Path) -> None:
    two = run(scenes, trained, tmp_path / "a", photos=2, compare=("getam",))
    assert (two["protocol"]["photos"], len(two["rows"][0]["hits"])) == (2, 2)
    blue = run(scenes, trained, tmp_path / "b", classes=("blue",), compare=("getam",))
    assert blue["protocol"]["photos"] == 4  # those of red and blue too: red does not count
    assert blue["rows"][0]["accuracy"] == 1


def test_other_classes_are_background_of_pxap(scenes: Path, trained: Path, tmp_path: Path) -> None:
    """A red square that no map of blue should cover: ignored, PxAP would be that of the rest."""
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "classes.txt").write_text("background\nblue\nred\n")
    for number in range(6):
        mask = read_mask(scenes / "truth" / f"scene{number}.png")
        mask[mask == 0] = 2
        write_mask(tmp_path / "truth" / f"scene{number}.png", mask)
    plain = run(scenes, trained, tmp_path / "a", classes=("blue",), compare=("getam",))
    covered = run(
        scenes, trained, tmp_path / "b", classes=("blue",), compare=("getam",), truth=tmp_path / "truth"
    )
    assert covered["rows"][0]["pxap"] == pytest.approx(plain["rows"][0]["pxap"])


def test_photos_without_a_box_are_left_out_and_counted(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "classes.txt").write_text("background\nblue\nred\n")
    for number in (0, 1, 2, 3):
        mask = read_mask(scenes / "truth" / f"scene{number}.png")
        write_mask(tmp_path / "truth" / f"scene{number}.png", mask * (number != 1))
    found = run(scenes, trained, tmp_path / "o", truth=tmp_path / "truth", compare=("getam",))
    assert found["protocol"]["photos"] == 2
    assert "2 of 4 photos with one tag have no true box of it and are left out" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"1 photos have exactly one tag of blue, red .* --classes"):
        run(scenes, trained, tmp_path / "p", truth=tmp_path / "truth", photos=2)


def test_every_method_that_fits(scenes: Path, trained: Path, tmp_path: Path) -> None:
    found = run(scenes, trained, tmp_path / "o", compare=None, photos=2)
    assert {"getam", "layercam"} <= {row["name"] for row in found["rows"]}
    assert "learned map head" in found["not_measured"]["bas"]
    assert "- `bas`: " in (tmp_path / "o" / "localise.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "--size 0 must be a positive"),
        ({"truth": None}, "give a folder of true masks with --truth, or a CSV of boxes with --boxes"),
        ({"compare": ("getam:irn",)}, "--compare getam:irn: boxes are made from maps"),
        ({"compare": ("nothing",)}, "nothing"),
        ({"compare": ("bas",)}, "--compare bas: bas reads a learned map head"),
        ({"compare": ()}, "--compare names no row"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_measured(
    scenes: Path, trained: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(getam.GetamError, match=message):
        run(scenes, trained, tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


def test_a_class_the_model_does_not_know(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,tags\nscene0.png,green\n")
    with pytest.raises(InputError, match="the model does not know the class 'green': it knows blue, red"):
        getam.localise(
            data=scenes / "photos", tags=tmp_path / "t.csv", classes=("green",), model=trained, out=tmp_path / "o"
        )  # fmt: skip


def test_from_the_command_line(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["localise", "--data", str(scenes / "photos"), "--tags", str(scenes / "tags.csv"), "--truth",
            str(scenes / "truth"), "--model", str(trained), "--compare", "getam", "--size", "32", "--photos", "2",
            "--out", str(tmp_path / "o")]  # fmt: skip
    assert main(line) == 0
    assert "GT-known Loc" in capsys.readouterr().out
    assert (tmp_path / "o" / "localise.json").is_file()


def test_shards_of_rows_and_the_end_make_one_table(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("gradcam", "getam", "layercam")
    for number in (2, 1):
        getam.localise(
            data=scenes / "photos", tags=scenes / "tags.csv", truth=scenes / "truth", model=trained, size=SIZE,
            compare=names, out=tmp_path / "a", shard=f"{number}/2",
        )  # fmt: skip
    part = json.loads((tmp_path / "a" / "localise-1-of-2.json").read_text())
    assert [row["name"] for row in part["rows"]] == ["gradcam", "layercam"]
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "a" / "localise.md").exists()
    shared, whole = (run(scenes, trained, tmp_path / folder, compare=names) for folder in "ab")
    assert shared["rows"] == whole["rows"]
