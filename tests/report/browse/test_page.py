"""The page of the gallery: what its script is told, and that nothing in it is loaded from elsewhere or run unasked."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest

from getam.metrics.plausibility import plausibility
from getam.report.browse.measures import Measures
from getam.report.browse.page import MARK, Entry, data_of, in_script, page

NAMES = ("cat", "dog", "cow")
NASTY = '</script><script>alert(1)</script><!-- & "quotes" {{ 7*7 }}'


def entry(name="a", size=(300, 400), truth=None, other=None, confidences=None, mask=((1, 1, 0, 0),)):
    alone = plausibility(np.array(mask, np.uint8), NAMES)
    counts = [None if each is None else np.array(each) for each in (other, truth)]
    return Entry(name, 4, size, (True, False), Measures(alone, confidences or {}, *counts))


def told(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def whole(**given):
    return page(
        **{"title": "T", "said": ["S"], "classes": NAMES, "layers": ["m", "o"], "entries": [entry()], **given}
    )


def test_a_photo_s_numbers_are_those_of_its_masks():
    its = entry(
        confidences={"cat": 0.61234, "dog": 0.4}, truth=[[2, 1, 0, 0], [4, 3, 0, 1]], other=[[4, 0, 0, 0], [4, 0, 2, 0]]
    )  # fmt: skip
    (photo,) = data_of(NAMES, ["m", "o"], [its])["photos"]
    assert photo == {
        "name": "a", "file": 4, "width": 400, "height": 300, "exact": False, "layers": [True, False], "doubts": "",
        "covers": 0.5, "sure": 0.4, "truth": 0.1667, "other": 0.0,
        "classes": [[0, 0.5, 0.6123, 0.3333, None], [1, 0.0, 0.4, None, 0.0], [2, 0.0, None, 0.0, None]],
    }  # fmt: skip


def test_what_looks_wrong_is_said_and_small_photos_are_marked():
    (photo,) = data_of(NAMES, ["m"], [entry(size=(20, 200), mask=((1, 2), (1, 2)))])["photos"]
    assert photo["doubts"] == "cat and dog covers everything"
    assert photo["exact"]
    assert (photo["sure"], photo["truth"], photo["other"]) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({}, []),
        ({"confidences": {"cat": 0.5}}, ["sure"]),
        ({"other": np.ones((2, 4))}, ["other"]),
        ({"truth": np.ones((2, 4))}, ["truth"]),
    ],
)
def test_only_what_is_known_can_be_sorted_by(given, keys):
    sorts = data_of(NAMES, ["m"], [entry(), entry(**given)])["sorts"]
    assert [sort["key"] for sort in sorts] == ["look", "name", "covers", *keys]
    assert {sort["key"]: sort["rising"] for sort in sorts}["covers"] is False
    assert all(sort["rising"] for sort in sorts if sort["key"] != "covers")


def test_classes_have_the_colours_of_their_labels():
    data = data_of(NAMES, ["m"], [])
    assert data["classes"] == list(NAMES)
    assert data["colours"] == ["#E69F00", "#56B4E9", "#009E73"]


def test_the_page_runs_its_own_script_and_loads_pictures_beside_it_only():
    text = whole()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "script-src": f"'sha256-{digest}'", "style-src": "'unsafe-inline'",
        "img-src": "'self' file: data:",
    }  # fmt: skip
    assert not re.search(r"(?i)\b(https?|ftp):|@import|url\(|fetch\(|XMLHttp|innerHTML|eval\(", text)
    assert MARK in text[:2000]


def test_names_cannot_break_out_of_where_they_stand():
    text = whole(
        title=NASTY, said=[NASTY], classes=(NASTY, "dog", "cow"), layers=[NASTY], entries=[entry(NASTY)]
    )
    assert text.count("<script") == 2
    assert "alert(1)</script>" not in text.replace("&lt;", "")
    data = told(text)
    assert (data["classes"][0], data["layers"], data["photos"][0]["name"]) == (NASTY, [NASTY], NASTY)


def test_names_that_are_no_text_survive():
    name = b"\xff.jpg".decode(errors="surrogateescape")
    assert json.loads(in_script({"name": name})) == {"name": name}
    assert in_script({"name": name}).isascii()


def test_every_control_of_the_script_is_in_the_page():
    text = whole()
    used = set(re.findall(r'\$\("([\w-]+)"\)', text)) | {"low", "high", "find", "left-layer", "right-layer"}
    assert {"grid", "view", "slider", "keys"} <= used
    for name in used:
        assert f'id="{name}"' in text


def test_a_page_of_plots_alone_has_no_controls_and_shows_them():
    text = page(title="T", said=["S"], plots=["<svg>1</svg>", "<svg>2</svg>"])
    assert 'id="grid"' not in text
    assert 'id="data"' not in text
    assert '<details class="numbers" open>' in text
    assert "<svg>1</svg>" in text
    assert "<svg>2</svg>" in text
    assert '<details class="numbers">' in whole(plots=["<svg/>"])
    assert "<details" not in whole()
