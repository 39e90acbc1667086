"""The permutohedral lattice against the Gaussian of every pair of points, and as a linear operator."""

import itertools

import pytest
import skimage.data
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.lattice import PermutohedralLattice


def gaussian_of_all_pairs(features):
    return torch.exp(-(torch.cdist(features.double(), features.double()) ** 2) / 2)


def photo(name, height=80, width=96):
    """A photo that scikit-image carries, (3,H,W) in 0–255."""
    resized = skimage.transform.resize(
        getattr(skimage.data, name)(), (height, width), anti_aliasing=True, preserve_range=True
    )
    return torch.from_numpy(resized).float().permute(2, 0, 1)


def bilateral_features(image, sigma_xy, sigma_rgb):
    height, width = image.shape[-2:]
    return torch.tensor(
        [
            [x / sigma_xy, y / sigma_xy, *(image[:, y, x] / sigma_rgb).tolist()]
            for y in range(height)
            for x in range(width)
        ]
    )


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1]


def lattice_in_plain_loops(features, values):
    """Adams et al., point by point with a dictionary; the simplex is found by trying every corner nearby.

    Barycentric weights of the lattice are hat functions: corner v weighs max(0, 1 + min_i δ_i − max_i δ_i)
    with δ = (elevated − v)/(d+1), which needs no sorting and no rank.
    """
    d = features.shape[1]
    basis = torch.zeros(d + 1, d, dtype=torch.float64)
    for i in range(d):
        basis[: i + 1, i], basis[i + 1, i] = 1, -(i + 1)
        basis[:, i] /= ((i + 1) * (i + 2)) ** 0.5
    elevated = ((d + 1) * (2 / 3) ** 0.5 * (features - features.amin(0)) @ basis.T).tolist()

    def corners_of(position):
        found = {}
        for remainder in range(d + 1):
            steps = [round((p - remainder) / (d + 1)) for p in position]
            for change in itertools.product((-1, 0, 1), repeat=d + 1):
                corner = tuple((s + c) * (d + 1) + remainder for s, c in zip(steps, change))
                delta = [(p - v) / (d + 1) for p, v in zip(position, corner)]
                weight = 1 + min(delta) - max(delta)
                if sum(corner) == 0 and weight > 0:
                    found[corner] = weight
        return found

    simplices = [corners_of(position) for position in elevated]
    splatted = {}
    for simplex, value in zip(simplices, values):
        for corner, weight in simplex.items():
            splatted[corner] = splatted.get(corner, 0) + weight * value

    def blurred(table, axes):
        for axis in axes:
            step = [-1 + (d + 1) * (i == axis) for i in range(d + 1)]
            ahead, behind = (
                {v: table.get(tuple(a + sign * s for a, s in zip(v, step)), 0) for v in table}
                for sign in (1, -1)
            )
            table = {v: table[v] / 2 + ahead[v] / 4 + behind[v] / 4 for v in table}
        return table

    one, other = blurred(splatted, range(d + 1)), blurred(splatted, reversed(range(d + 1)))
    scale = (4 * torch.pi / 3) ** (d / 2) * (d + 1) ** 0.5
    return torch.stack(
        [scale * sum(w * (one[v] + other[v]) / 2 for v, w in simplex.items()) for simplex in simplices]
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_equals_plain_loops(dimensions):
    generator = torch.Generator().manual_seed(dimensions)
    features = 1.5 * torch.randn(25, dimensions, generator=generator, dtype=torch.float64)
    # Coordinates count from the smallest. Where the first is 0, a point lies between two simplices and may
    # take either: one far point keeps that from all others.
    features[0] = -40
    values = torch.randn(25, 2, generator=generator, dtype=torch.float64)
    filtered = PermutohedralLattice(features).filter(values)
    torch.testing.assert_close(filtered[1:], lattice_in_plain_loops(features, values)[1:])


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
@pytest.mark.parametrize("sigma_xy", [25, 50])
def test_follows_the_bilateral_gaussian_of_all_pairs_on_photos(name, sigma_xy):
    image = photo(name)
    values = torch.rand(80 * 96, 2, generator=torch.Generator().manual_seed(9))
    features = bilateral_features(image, sigma_xy, sigma_rgb=15)
    exact = torch.exp(-(torch.cdist(features, features) ** 2) / 2) @ values

    filtered = PermutohedralLattice.bilateral(image, sigma_xy=sigma_xy, sigma_rgb=15).filter(values)

    assert correlation(filtered, exact) > 0.99
    assert 0.8 < (filtered * exact).sum() / (exact * exact).sum() < 0.9


@pytest.mark.parametrize(("dimensions", "per_axis"), [(1, 2000), (2, 70)])
def test_scale_is_that_of_the_gaussian_where_points_are_dense(dimensions, per_axis):
    axis = torch.linspace(0, 12, per_axis, dtype=torch.float64)
    features = torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions)
    middle = ((features > 4) & (features < 8)).all(1)

    filtered = PermutohedralLattice(features).row_sums[middle]

    exact = gaussian_of_all_pairs(features)[middle].sum(1)
    assert (filtered / exact).mean() == pytest.approx(1, abs=0.01)


@settings(deadline=None)
@given(
    dimensions=st.integers(1, 7),
    points=st.integers(1, 60),
    spread=st.floats(0, 20),
    seed=st.integers(0, 2**16),
)
def test_is_linear_symmetric_and_positive_in_any_dimension(dimensions, points, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    lattice = PermutohedralLattice(
        spread * torch.rand(points, dimensions, generator=generator, dtype=torch.float64)
    )
    a, b = torch.randn(2, points, 3, generator=generator, dtype=torch.float64)

    torch.testing.assert_close(lattice.filter(2 * a - b), 2 * lattice.filter(a) - lattice.filter(b))
    torch.testing.assert_close((a * lattice.filter(b)).sum(), (lattice.filter(a) * b).sum())
    assert (lattice.filter(a.abs()) >= 0).all()
    assert (lattice.row_sums > 0).all()


@settings(max_examples=25, deadline=None)
@given(dimensions=st.integers(1, 5), constant=st.floats(-1e3, 1e3), seed=st.integers(0, 2**16))
def test_means_keep_a_constant(dimensions, constant, seed):
    features = 3 * torch.randn(40, dimensions, generator=torch.Generator().manual_seed(seed))
    means = PermutohedralLattice(features).filter_mean(torch.full((40, 2), constant))
    torch.testing.assert_close(means, torch.full((40, 2), constant))


def test_symmetric_normalisation_is_symmetric_and_keeps_the_root_of_the_row_sums():
    features = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lattice = PermutohedralLattice(features)
    matrix = lattice.filter_symmetric(torch.eye(50, dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T)
    root = lattice.row_sums.sqrt()[:, None]  # eigenvector of eigenvalue 1 of D^-1/2 W D^-1/2
    torch.testing.assert_close(lattice.filter_symmetric(root), root)


def test_moving_all_points_together_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(80, 4, generator=generator, dtype=torch.float64)
    values = torch.randn(80, 2, generator=generator, dtype=torch.float64)
    moved = features + torch.tensor([100.0, -7.3, 0.01, 2.0], dtype=torch.float64)
    torch.testing.assert_close(
        PermutohedralLattice(moved).filter(values), PermutohedralLattice(features).filter(values)
    )


def test_order_of_points_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    features, values = torch.randn(60, 5, generator=generator), torch.randn(60, 3, generator=generator)
    order = torch.randperm(60, generator=generator)
    torch.testing.assert_close(
        PermutohedralLattice(features[order]).filter(values[order]),
        PermutohedralLattice(features).filter(values)[order],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_features_of_other_dtypes_are_worked_on_in_float32(dtype):
    features = torch.randint(0, 9, (40, 3), generator=torch.Generator().manual_seed(4))
    values = torch.rand(40, 2)
    filtered = PermutohedralLattice(features.to(dtype)).filter(values.double())
    assert filtered.dtype == torch.float32
    torch.testing.assert_close(filtered, PermutohedralLattice(features.float()).filter(values))
    assert PermutohedralLattice(features.double()).filter(values).dtype == torch.float64


def test_distant_points_do_not_hear_each_other():
    lattice = PermutohedralLattice(torch.tensor([[0.0, 0.0], [30.0, 0.0]]))
    filtered = lattice.filter(torch.tensor([[1.0], [0.0]]))
    assert filtered[0] > 0.5
    assert filtered[1] == 0


def test_autograd_runs_through_filtering():
    lattice = PermutohedralLattice(torch.randn(20, 2, generator=torch.Generator().manual_seed(3)))
    values, upstream = torch.randn(20, 3, requires_grad=True), torch.randn(20, 3)
    (gradient,) = torch.autograd.grad((upstream * lattice.filter(values)).sum(), values)
    torch.testing.assert_close(
        gradient, lattice.filter(upstream), rtol=1e-4, atol=1e-4
    )  # W is its own transpose


def test_a_selection_of_pixels_is_filtered_on_its_own():
    image = photo("chelsea", 12, 16)
    inside = torch.zeros(12, 16, dtype=torch.bool)
    inside[2:9, 3:11] = True
    lattice = PermutohedralLattice.bilateral(image, inside, sigma_xy=10, sigma_rgb=20)
    cut = PermutohedralLattice.bilateral(image[:, 2:9, 3:11], sigma_xy=10, sigma_rgb=20)
    values = torch.rand(7 * 8, 2)
    torch.testing.assert_close(lattice.filter(values), cut.filter(values), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        (torch.zeros(0, 3), r"\(0, 3\)"),
        (torch.zeros(5), r"\(5,\)"),
        (torch.tensor([[0.0], [float("nan")]]), "NaN"),
        (torch.eye(12) * 1e4, "standard deviations"),
        (torch.eye(5) * 1e25, "standard deviations"),
        (torch.eye(5) * 3e38, "standard deviations"),
    ],
)
def test_impossible_features_are_refused_by_name(features, complaint):
    with pytest.raises(InputError, match=complaint):
        PermutohedralLattice(features)


def test_means_and_symmetric_filtering_are_the_matrix_with_its_row_sums():
    features = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    lattice = PermutohedralLattice(features)
    W = lattice.filter(torch.eye(30, dtype=torch.float64))
    D = W.sum(1)
    values = torch.rand(30, 3, dtype=torch.float64)
    torch.testing.assert_close(lattice.row_sums, D)
    torch.testing.assert_close(lattice.filter_mean(values), W @ values / D[:, None])
    root = D.rsqrt()
    torch.testing.assert_close(
        lattice.filter_symmetric(values), root[:, None] * (W @ (root[:, None] * values))
    )


def test_values_for_other_points_are_refused_by_name():
    with pytest.raises(InputError, match="this lattice filters"):
        PermutohedralLattice(torch.randn(5, 2)).filter(torch.zeros(5))
    with pytest.raises(InputError, match=r"\(4, 1\).*\(5,C\)"):
        PermutohedralLattice(torch.randn(5, 2)).filter(torch.zeros(4, 1))
