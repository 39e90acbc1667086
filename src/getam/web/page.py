"""The page: what is on it, and which answer each event has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from getam.web.answers import FIX, LOOK, NOTHING, Answers, brush
from getam.web.pictures import EDITED
from getam.web.server import only_uploads
from getam.web.visit import App, Visit, titles

THRESHOLD = 0.4  # as in `maps.to_masks(0.4)` of the README
HOUR = 3600  # seconds; uploads and pictures are deleted a day after they came
START = "Drop a photo, or choose one of the list."
NET: dict[str, Any] = {"concurrency_id": "net", "concurrency_limit": 1}
"""Of events that run a network: one at a time, so that memory does not grow with visitors."""

CSS = """
footer { display: none !important; }
.getam-legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; min-height: 1.6rem; }
.getam-class { white-space: nowrap; }
.getam-class i { display: inline-block; width: .9em; height: .9em; border-radius: 3px; margin-right: .4em;
  vertical-align: -.1em; border: 1px solid #8888; }
.getam-note { min-height: 1.5rem; }
"""


def theme() -> Any:
    """Gradio's plain theme with the system's own fonts: nothing is fetched from elsewhere."""
    sans, mono = ("ui-sans-serif", "system-ui", "sans-serif"), ("ui-monospace", "monospace")
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=sans, font_mono=mono)


def build(app: App, place: Path) -> Any:
    """The page of an app; `server.start` serves it.

    Args:
        app: what it works with.
        place: where files to download are put.
    """
    answers = Answers(app, place)
    with gr.Blocks(
        title="getam", analytics_enabled=False, fill_width=True, delete_cache=(HOUR, 24 * HOUR)
    ) as page:
        visit, tab = gr.State(Visit()), gr.State(LOOK)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                dropped = gr.File(
                    label="Drop photos",
                    file_count="multiple",
                    file_types=["image"],
                    height=130,
                    elem_id="drop",
                )
                pick = gr.Dropdown(titles(app, Visit()), value=None, label="Photo", elem_id="pick")
                with gr.Row():
                    before = gr.Button("◀ Previous", size="sm", elem_id="before", min_width=80)
                    after = gr.Button("Next ▶", size="sm", elem_id="after", min_width=80)
                model = gr.Dropdown(
                    list(app.models.names), value=app.models.names[0], label="Model", allow_custom_value=True,
                    info="from the list, or any timm model by its name", elem_id="model",
                )  # fmt: skip
                tags = gr.Dropdown(
                    [], value=[], label="Tags: what the photo shows", multiselect=True, allow_custom_value=True,
                    elem_id="tags",
                )  # fmt: skip
                with gr.Row():
                    source = gr.Dropdown([], label="Method", elem_id="source", min_width=130)
                    other = gr.Dropdown(
                        [NOTHING], value=NOTHING, label="Beside it", elem_id="other", min_width=130
                    )
            with gr.Column(scale=5, min_width=320):
                with gr.Tabs():
                    with gr.Tab("Look", id=LOOK) as seeing:
                        shown = gr.Radio([], label="Map of", elem_id="shown", visible=False)
                        threshold = gr.Slider(
                            0,
                            0.95,
                            THRESHOLD,
                            step=0.01,
                            label="Threshold: share of a map's peak",
                            elem_id="threshold",
                        )
                        _, *first = _pair("one", visible=True)
                        second = _pair("two", visible=False)
                    with gr.Tab("Fix", id=FIX) as fixing:
                        paint = gr.Radio([], label="Paint", elem_id="paint")
                        editor = gr.ImageEditor(
                            type="numpy", image_mode="RGBA", format="png", sources=(), transforms=(), layers=False,
                            buttons=[], show_label=False, elem_id="editor", height=560, canvas_size=(EDITED, EDITED),
                            brush=brush((), None),
                        )  # fmt: skip
                        with gr.Row():
                            put = gr.Button("Put the strokes on the mask", size="sm", elem_id="put")
                            again = gr.Button("Start over from the method's mask", size="sm", elem_id="again")
                legend = gr.HTML(elem_id="legend")
                note = gr.Markdown(START, elem_classes="getam-note", elem_id="note")
                with gr.Row():
                    keeps = app.kept is not None
                    kept = gr.Button(
                        "Keep this mask" if keeps else "Keep: start the app with --keep DIR", variant="primary",
                        interactive=keeps, elem_id="keep",
                    )  # fmt: skip
                    kept_next = gr.Button("Keep, then next", interactive=keeps, elem_id="keep-next")
                    offer = gr.Button("Files to download", elem_id="offer")
                files = gr.File(
                    label="Download", file_count="multiple", interactive=False, visible=False, elem_id="files"
                )

        for part in (dropped, editor):
            only_uploads(part)
        asked = [visit, model, source, other, threshold, shown]
        one = [visit, model, source, threshold]
        drawn = [second[0], *first, *second[1:], legend, note]
        mended = [visit, paint, editor]
        looking: dict[str, Any] = {
            "fn": answers.look,
            "inputs": asked,
            "outputs": [visit, shown, *drawn],
            **NET,
        }
        using: dict[str, Any] = {
            "fn": answers.use, "inputs": [visit, model, source, other], "outputs": [tags, source, other], **NET
        }  # fmt: skip
        drawing: dict[str, Any] = {
            "fn": answers.draw,
            "inputs": asked,
            "outputs": drawn,
            "show_progress": "hidden",
        }

        page.load(**using)
        dropped.upload(answers.take, [visit, dropped], [visit, pick])
        before.click(answers.previous, visit, pick)
        after.click(answers.following, visit, pick)
        opened = pick.change(answers.show, [visit, pick, model], [visit, tags], **NET)
        opened.success(**looking).success(answers.refix, [visit, tab, *one[1:]], [*mended, files], **NET)
        model.change(**using).success(**looking)
        tags.input(answers.tag, [visit, tags], visit).success(**looking)
        source.input(**looking)
        other.input(**looking)
        for moved in (threshold.input, threshold.release, shown.input):
            moved(**drawing, trigger_mode="always_last")

        fixing.select(lambda: FIX, None, tab).then(answers.fix, one, mended, **NET)
        seeing.select(lambda: LOOK, None, tab).then(answers.look_at, [visit, editor], visit).success(
            **drawing
        )
        paint.input(answers.choose, [visit, paint], editor)
        put.click(answers.put, [visit, editor], mended).success(**drawing)
        again.click(answers.restart, one, mended, **NET).success(**drawing)

        kept.click(answers.store, [*one, editor], [visit, note], **NET)
        stored = kept_next.click(answers.store, [*one, editor], [visit, note], **NET)
        stored.success(answers.following, visit, pick)
        offer.click(answers.hand_out, [*one, editor], files, **NET)
    return page


def _pair(name: str, *, visible: bool) -> tuple[Any, Any, Any]:
    """A row, and in it a map and a mask."""
    options: dict[str, Any] = {
        "interactive": False,
        "format": "jpeg",
        "buttons": ["fullscreen"],
        "min_width": 240,
    }
    with gr.Row(visible=visible) as row:
        map_of = gr.Image(label="map", elem_id=f"map-{name}", **options)
        mask = gr.Image(label="mask", elem_id=f"mask-{name}", **options)
    return row, map_of, mask
