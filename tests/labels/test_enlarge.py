"""Enlarged labels against bilinear shares pixel by pixel."""

import pytest
import torch

from getam.labels.enlarge import enlarged


def shares_in_plain_loops(label, size):
    """Nested list (h,w) -> {label: nested list (H,W) of its bilinear share}, pixel centres aligned."""
    height, width = len(label), len(label[0])

    def mixed(place, long, short):
        position = min(max((place + 0.5) * short / long - 0.5, 0), short - 1)
        first = int(position)
        return [(first, 1 - position + first), (min(first + 1, short - 1), position - first)]

    found = {value: [[0.0] * size[1] for _ in range(size[0])] for row in label for value in row}
    for y in range(size[0]):
        for x in range(size[1]):
            for row, down in mixed(y, size[0], height):
                for column, across in mixed(x, size[1], width):
                    found[label[row][column]][y][x] += down * across
    return found


@pytest.mark.parametrize("size", [(7, 5), (8, 10), (31, 23), (4, 40)])
def test_every_pixel_takes_the_label_of_the_largest_share(size):
    label = torch.tensor([0, 3, 9, 255], dtype=torch.uint8)[torch.randint(4, (4, 5))]
    found = enlarged(label, size)
    shares = shares_in_plain_loops(label.tolist(), size)
    assert found.shape == size
    assert found.dtype == torch.uint8
    for y in range(size[0]):
        for x in range(size[1]):
            ordered = sorted((plane[y][x], value) for value, plane in shares.items())
            if ordered[-1][0] - ordered[-2][0] > 2 / 255:
                assert found[y, x] == ordered[-1][1]
            else:  # equal in 8 bits
                assert shares[int(found[y, x])][y][x] > ordered[-1][0] - 2 / 255


def test_of_equal_shares_the_lower_number_wins():
    assert enlarged(torch.tensor([[5, 2]], dtype=torch.uint8), (1, 3)).tolist() == [[5, 2, 2]]
    assert enlarged(torch.tensor([[255, 0]], dtype=torch.uint8), (1, 3)).tolist() == [[255, 0, 0]]


def test_outlines_are_smooth_where_nearest_pixels_would_make_steps():
    diagonal = torch.ones(8, 8).tril().byte()
    found = enlarged(diagonal, (64, 64))
    edges = found.long().sum(1).diff()[8:-8]
    assert edges.max() <= 3  # nearest: 8 at every eighth row


def test_a_label_of_that_size_is_left_alone():
    label = torch.randint(256, (6, 7), dtype=torch.uint8)
    assert enlarged(label, (6, 7)) is label
