"""Words as classes against a transformer written out, matrices and all: in loops, and by finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.frozen import frozen
from getam.maps.methods.getam import getam
from getam.maps.methods.gradcam import gradcam
from getam.nets.log_odds import log_odds
from getam.nets.words import (
    BACKGROUND_WORDS,
    TEMPLATES,
    WordClassifier,
    embed_words,
    word_classifier,
)
from getam.pipeline import Pipeline
from matrices import by_definition

MEAN, STD = (120.0, 115.0, 100.0), (70.0, 65.0, 60.0)
WORDS = ("a cat|a kitten", "a road", "a red bicycle")
BACKGROUND = ("sky", "grass", "road")


def clip(side: int = 32, **options: Any) -> Any:
    """OpenCLIP's own model of 4 blocks, width 24, 3 heads, 8-pixel patches."""
    towers = pytest.importorskip("open_clip.model", reason="open_clip_torch is not installed")
    seen = towers.CLIPVisionCfg(layers=4, width=24, head_width=8, patch_size=8, image_size=side, **options)
    read = towers.CLIPTextCfg(vocab_size=49408, width=16, heads=2, layers=1)
    model = tiny.awake(towers.CLIP(embed_dim=6, vision_cfg=seen, text_cfg=read))
    nn.init.constant_(model.logit_scale, 2.0)
    return model


def tokenise(texts: list[str]) -> Tensor:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()(texts)


def words(model: Any = None, asked: Any = WORDS, **options: Any) -> WordClassifier:
    """The words around a tiny CLIP."""
    given = {"background": BACKGROUND, "side": 32, "mean": MEAN, "std": STD, **options}
    return word_classifier(model or clip(), tokenise, asked, **given).eval()


def photos(batch: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return (tiny.photos(batch, height, width) * 60 + 127).clamp(0, 255)


class WrittenOut:
    """The image side of OpenCLIP in plain steps: attention matrices are kept, and one number of one can be changed."""

    def __init__(self, tower: Any, change: tuple[int, int, int, int, float] | None = None) -> None:
        self.tower, self.change, self.matrices = tower, change, list[Tensor]()

    def __call__(self, image: Tensor) -> Tensor:
        tower = self.tower
        patches = F.conv2d(image[None], tower.conv1.weight, stride=8)[0].flatten(1).T
        x = torch.cat((tower.class_embedding[None], patches)) + tower.positional_embedding
        x = tower.ln_pre(x)
        for number, block in enumerate(tower.transformer.resblocks):
            x = x + self.attend(number, block.attn, block.ln_1(x))
            x = x + block.mlp(block.ln_2(x))
        return tower.ln_post(x)[0] @ tower.proj

    def attend(self, number: int, attention: Any, x: Tensor) -> Tensor:
        q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        heads = []
        A = torch.stack([(q[:, s] @ k[:, s].T / 8**0.5).softmax(-1) for s in self.heads()])
        if self.change is not None and self.change[0] == number:
            _, h, i, j, by = self.change
            bump = torch.zeros_like(A)
            bump[h, i, j] = by
            A = A + bump
        self.matrices.append(A)
        for h, s in enumerate(self.heads()):
            heads.append(A[h] @ v[:, s])
        return torch.cat(heads, -1) @ attention.out_proj.weight.T + attention.out_proj.bias

    @staticmethod
    def heads() -> list[slice]:
        return [slice(8 * h, 8 * h + 8) for h in range(3)]


def score(net: WordClassifier, embedding: Tensor, c: int, share: bool) -> Tensor:
    """scale · cosine, or CLIP-ES's share of the softmax over words and background, one word at a time."""
    length = embedding.square().sum().sqrt()
    every = [net.scale * (embedding / length * word).sum() for word in [*net.words, *net.background]]
    if not share:
        return every[c]
    return every[c].exp() / sum(y.exp() for y in every)


def test_scores_are_scaled_cosines_of_photos_and_prompts() -> None:
    model = clip()
    net = words(model, background=())
    normalised = (photos() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for c, word in enumerate(("a cat", "a road", "a red bicycle")):
        if c == 0:
            continue  # the synonyms have a test of their own
        each = [model.encode_text(tokenise([t.replace("{}", word)]), normalize=True)[0] for t in TEMPLATES]
        text = torch.stack(each).mean(0)
        cosine = F.cosine_similarity(model.encode_image(normalised), text[None])
        torch.testing.assert_close(
            net(photos())[:, c], cosine * torch.tensor(2.0).exp(), rtol=1e-4, atol=1e-4
        )


def test_synonyms_are_joined_by_the_mean_of_their_unit_embeddings() -> None:
    model = clip()
    found = embed_words(model, tokenise, [("cat", "kitten")], ("{}", "one {}"))[0]
    parts = []
    for word in ("cat", "kitten"):
        each = [model.encode_text(tokenise([text]), normalize=True)[0] for text in (word, f"one {word}")]
        mean = (each[0] + each[1]) / 2
        parts.append(mean / mean.norm())
    mean = (parts[0] + parts[1]) / 2
    torch.testing.assert_close(found, mean / mean.norm(), rtol=1e-4, atol=1e-5)
    assert words(model).classes == ("a cat", "a road", "a red bicycle")
    assert not torch.allclose(found, embed_words(model, tokenise, [("cat",)], ("{}", "one {}"))[0])


@pytest.mark.parametrize("share", [False, True])
def test_maps_equal_the_written_out_matrices_and_their_gradients(share: bool) -> None:
    net = words(background=BACKGROUND if share else ()).double()
    images = photos().double()
    found = getam(net, images, [[0, 2], [1]])
    for photo, k, c in ((0, 0, 0), (0, 1, 2), (1, 0, 1)):
        tower = WrittenOut(net.tower)
        s = score(net, tower(net.normalised(images)[photo]), c, share)
        gradients = torch.autograd.grad(s, tower.matrices)
        A = [m.detach()[None].float() for m in tower.matrices]
        G = [g[None].float() for g in gradients]
        wanted = by_definition(A, G, "cls", 1, (4, 4))
        assert wanted.max() > 0
        # The gradient of a share is p(1 − p) times that of its log-odds, and the coupling is of the second degree.
        factor = (s * (1 - s)).item() ** 2 if share else 1.0
        torch.testing.assert_close(
            found.values[photo, k] * factor, wanted, rtol=1e-4, atol=1e-6 * float(wanted.max())
        )


def test_gradients_of_the_matrices_equal_finite_differences_through_the_normalisation() -> None:
    from getam.attention.capture import capture

    net = words().double()
    image = photos(1).double()
    with capture(net, leaf_from=0, freeze=True) as tap:
        scores = net(image)
    found = torch.autograd.grad(scores[0, 1], [call.output for call in tap.calls])
    photo = net.normalised(image)[0]
    by = 1e-5
    biggest = 0.0
    for block, h, j in ((0, 0, 3), (1, 2, 0), (2, 1, 16), (3, 0, 7), (3, 2, 12)):
        up, down = (
            log_odds(logits(net, WrittenOut(net.tower, (block, h, 0, j, step))(photo)))[0, 1].item()
            for step in (by, -by)
        )
        gradient = tap.calls[block].gradient(found[block], slice(0, 1))[0, h, 0, j].item()
        assert gradient == pytest.approx((up - down) / (2 * by), rel=1e-5, abs=1e-8)
        biggest = max(biggest, abs(gradient))
    assert biggest > 1e-3


def logits(net: WordClassifier, embedding: Tensor) -> Tensor:
    return net.scale * F.normalize(embedding, dim=0)[None] @ torch.cat((net.words, net.background)).T


def test_gradcam_of_the_log_odds_is_that_of_the_share_but_for_a_factor() -> None:
    net = words()

    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def geometry(self, height: int, width: int) -> Any:
            return net.geometry(height, width)

        def forward(self, images: Tensor) -> Tensor:
            embedded = net.tower(net.normalised(images))
            return torch.cat([logits(net, one) for one in embedded]).softmax(-1)[:, :3]

    found, wanted = gradcam(net, photos(), [[0], [2]]), gradcam(Shares(), photos(), [[0], [2]])
    assert wanted.values.amax((2, 3)).min() > 0
    peaks = [values.amax((2, 3), keepdim=True) for values in (found.values, wanted.values)]
    torch.testing.assert_close(found.values / peaks[0], wanted.values / peaks[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net(photos()).sigmoid(), Shares()(photos()), rtol=1e-4, atol=1e-6)


def test_log_odds_do_not_saturate() -> None:
    far = torch.tensor([[60.0, 0.0, -5.0]])
    assert far.softmax(-1)[0, 0] == 1
    assert log_odds(far)[0, 0].item() == pytest.approx(60 - torch.tensor([0.0, -5.0]).logsumexp(0).item())


def test_a_photo_s_own_words_share_the_softmax_with_the_background_alone() -> None:
    model = clip()
    net = words(model)
    its, numbers = net.told([2, 0])
    assert numbers == [0, 1]
    assert its.classes == ("a red bicycle", "a cat")
    alone = words(model, asked=[WORDS[2], WORDS[0]], background=("sky", "grass"))
    torch.testing.assert_close(its(photos()), alone(photos()), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(its(photos())[:, 1], net(photos())[:, 0], atol=1e-3)
    assert [p is q for p, q in zip(its.parameters(), net.parameters())] == [True] * len(
        list(net.parameters())
    )
    assert (len(net.words), net.classes) == (
        3,
        ("a cat", "a road", "a red bicycle"),
    )  # the other is as it was
    plain = words(model, background=())
    assert plain.told([2])[0] is plain
    assert plain.told([2])[1] == [2]


def test_labels_come_from_the_words_of_each_photo() -> None:
    net = words()
    photo = photos(1, 40, 32)[0].to(torch.uint8)
    pipeline = Pipeline(refine=(), scales=(40,), flip=False)
    found = pipeline.maps(net, photo, [2, 1])
    resized = F.interpolate(photo.float()[None], size=(40, 32), mode="bilinear", antialias=True)
    wanted = getam(net.told([2, 1])[0], resized, [[0, 1]], coupling="attn_grad").values
    torch.testing.assert_close(found, wanted / wanted.amax((2, 3), keepdim=True), rtol=1e-4, atol=1e-5)
    label = pipeline.label(net, photo, [2, 1], None)
    assert set(label.unique().tolist()) <= {0, 2, 3, 255}
    assert label.max() > 0


def test_a_background_word_that_is_asked_for_is_left_out() -> None:
    assert len(words().background) == 2  # the road is asked for
    assert len(words(asked=["a cat", "a railroad"]).background) == 3  # another word that only holds it
    assert len(words(asked=["a street|the road ahead"]).background) == 2
    assert len(words(asked=["a cat"], background=BACKGROUND_WORDS).background) == len(set(BACKGROUND_WORDS))


def test_photos_of_any_shape_are_those_of_openclip_built_for_it() -> None:
    resize_pos_embed = pytest.importorskip(
        "open_clip.model", reason="open_clip_torch is not installed"
    ).resize_pos_embed
    small, wide = clip(), clip(side=(24, 48))
    state = small.state_dict()
    resize_pos_embed(state, wide)
    wide.load_state_dict(state)
    net, images = words(small, background=()), photos(1, 24, 48)
    wanted = F.normalize(wide.encode_image(net.normalised(images)), dim=-1) @ net.words.T * net.scale
    torch.testing.assert_close(net(images), wanted, rtol=1e-4, atol=1e-4)
    assert net.patch == 8
    maps = getam(net, images, [[1]])
    assert maps.values.shape == (1, 1, 3, 6)
    assert maps.values.max() > 0
    assert small.visual.image_size == (32, 32)
    torch.testing.assert_close(net(photos(1)), words(small, background=())(photos(1)))
    with frozen(net):
        torch.testing.assert_close(net(images), wanted, rtol=1e-4, atol=1e-4)
    net(images).sum().backward()  # and the position embedding itself is what learns
    assert small.visual.positional_embedding.grad is not None


class Averaged(nn.Module):
    """A tower of another make, for photos of one size: a timm transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.visual: Any = tiny.vit(num_classes=6)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens[:, 0] % 6, 6).float() + 0.1


def test_any_model_with_an_image_side_takes_photos_at_its_size() -> None:
    letters = lambda texts: torch.tensor([[ord(text[0])] for text in texts])  # noqa: E731
    net = word_classifier(
        Averaged(), letters, ["cat", "dog"], background=(), templates=("{}",), side=32, mean=MEAN, std=STD
    )
    images = photos(1, 48, 32)
    resized = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(net(images), net(resized))
    assert net.patch == 1
    assert net.scale == pytest.approx(2.71828, rel=1e-4)
    assert net.geometry(48, 32).grid == (4, 4)
    assert getam(net, images, [[1]]).values.max() > 0


@pytest.mark.parametrize("asked", [[], ["cat", "cat|kitten"]])
def test_no_words_or_a_word_twice_are_refused(asked: list[str]) -> None:
    with pytest.raises(InputError, match="name at least one, and none twice"):
        words(asked=asked)


@pytest.mark.parametrize("templates", [(), ("a photo",), ("{}", "no place")])
def test_a_template_needs_a_place_for_the_word(templates: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"each needs a \{\} where the word goes"):
        words(templates=templates)


def test_embeddings_that_do_not_go_together_are_refused() -> None:
    tower, options = clip().visual, {"scale": 1.0, "side": 32, "mean": MEAN, "std": STD}
    for embedded, names, others in (
        (torch.ones(2, 6), ["cat"], torch.ones(0, 6)),
        (torch.ones(1, 6), ["cat"], torch.ones(1, 5)),
        (torch.ones(0, 6), [], torch.ones(0, 6)),
    ):
        with pytest.raises(InputError, match="do not go together"):
            WordClassifier(tower, embedded, names, others, **options)
