"""Cards, held against huggingface-hub's own readers, which refuse metadata that the hub refuses."""

from __future__ import annotations

from huggingface_hub import ModelCard, SpaceCard

from getam.published.cards import Published, model_card, space_card

ABOUT = Published(
    "cats | dogs", "mit", "segmenter", ("cat", "dog*"),
    {"recipe": "getam", "steps": 3, "start": None, "weights": "vit_x.safetensors", "data": {"photos": 12}}, "0.1",
    masks=True,
)  # fmt: skip


def test_the_model_card_is_read_by_the_hub() -> None:
    card = ModelCard(model_card(ABOUT), ignore_metadata_errors=False)
    assert (card.data.license, card.data.library_name) == ("mit", "getam")
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.model_name == "cats | dogs"
    assert "2, besides background: cat, dog\\*." in card.text
    for row in (
        "| recipe | getam |",
        "| steps | 3 |",
        "| started from | vit\\_x.safetensors |",
        "| photos | 12 |",
    ):
        assert row in card.text
    assert "coupling" not in card.text  # not told, so not said
    assert "getam predict" in card.text


def test_a_network_without_decoder_is_not_said_to_make_masks() -> None:
    from dataclasses import replace

    card = ModelCard(model_card(replace(ABOUT, masks=False, config={})))
    assert card.data.pipeline_tag == "image-classification"
    assert "getam predict" not in card.text
    assert "getam label" in card.text


def test_the_space_card_is_read_by_the_hub() -> None:
    card = SpaceCard(space_card(ABOUT), ignore_metadata_errors=False)
    assert (card.data.sdk, card.data.app_file, card.data.title) == ("gradio", "app.py", "cats | dogs")
    assert card.data.license == "mit"
