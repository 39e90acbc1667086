"""Score maps: the network before its pooling, a 1×1 convolution, and CAM as their positive part."""

import timm
import torch

import tiny
from getam.maps.registry import find_method
from getam.nets.cam_network import build_cam_network
from getam.nets.classifier import timm_body


def test_the_map_by_hand_and_its_mean_as_score() -> None:
    net = build_cam_network("test_resnet", tiny.CLASSES, weights="").eval()
    photos = tiny.photos(2, 96, 64, net)
    torch.manual_seed(0)
    model = timm_body("test_resnet", weights="").eval()
    assert len(list(net.pretrained_parameters())) == len(list(model.parameters()))
    features = net.body((photos - net.mean) / net.std)
    by_hand = torch.einsum("cd,bdhw->bchw", net.classifier.weight[:, :, 0, 0], features)
    torch.testing.assert_close(net.score_map(photos), by_hand)
    assert net.classifier.bias is None
    assert (net.patch, by_hand.shape) == (16, (2, 3, 6, 4))
    torch.testing.assert_close(net.class_scores(photos), by_hand.mean((2, 3)))
    first, second = net(photos, photos[:1, :, :32])
    torch.testing.assert_close(first, by_hand)
    torch.testing.assert_close(second, net.score_map(photos[:1, :, :32]))


def test_the_classifier_alone_is_fresh() -> None:
    net = build_cam_network("test_efficientnet", tiny.CLASSES, weights="", output_stride=32)
    old = set(net.pretrained_parameters())
    assert [name for name, p in net.named_parameters() if p not in old] == ["classifier.weight"]
    assert len(old) == len(list(timm.create_model("test_efficientnet", num_classes=0).parameters()))
    assert net.patch == 32
    assert net.training
    assert all(module.training for module in net.modules())


def test_cam_reads_the_map_itself() -> None:
    for backbone in ("test_resnet", "test_efficientnet"):
        net = build_cam_network(backbone, tiny.CLASSES, weights="").eval()
        photos = tiny.photos(2, 64, 64, net)
        found = find_method("cam").make(net, photos, [[2, 0], [1]])
        maps = net.score_map(photos).detach().relu()
        torch.testing.assert_close(found.values[0], maps[0, [2, 0]])
        torch.testing.assert_close(found.values[1, 0], maps[1, 1])
