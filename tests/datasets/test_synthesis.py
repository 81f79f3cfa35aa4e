"""Synthetic changes: labels say what was changed, and nothing else was."""

import numpy as np
import pytest
from scipy import ndimage

from geochange.arrays import IGNORE
from geochange.datasets.options import CHANGE_KINDS, EFFECTS, SynthesizeOptions, SyntheticObjects
from geochange.datasets.sprites import BORDER, SHAPES, Sprite
from geochange.datasets.synthesis import SYNTHETIC_CELL as CELL
from geochange.datasets.synthesis import plan_pair, synthesize_cell
from geochange.datasets.unchanged import EFFECT_HALO as HALO
from geochange.datasets.unchanged import Tone
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.stand_ins import textured

TONE = Tone(mean=np.full(3, 125.0), spread=np.full(3, 35.0), low=np.zeros(3), high=np.full(3, 255.0))
SCENE = textured((CELL + 2 * HALO, 2 * CELL + 2 * HALO)).astype(float)
CELLS = Tile(0, 0, CELL, CELL), Tile(0, CELL, CELL, CELL)


def made(seed=0, cell=CELLS[0], effects=(), valid=None, image=SCENE, cutouts=None, **options):
    plan = plan_pair(seed, TONE, SyntheticObjects(**options), effects=effects, cutouts=cutouts)
    at = cell.grow(HALO).slices((-HALO, -HALO))
    valid = np.ones(SCENE.shape[1:], bool) if valid is None else valid
    return synthesize_cell([image[:, *at]], valid[at], cell, plan)


def is_change(labels):
    return (labels > 0) & (labels != IGNORE)


def test_without_other_effects_only_the_objects_and_their_rims_differ():
    for seed in range(5):
        cell = made(seed, shadows=0.0, density=500)
        differs = np.abs(cell.dates[0] - cell.dates[1]).max(axis=0) > 0.01
        near = ndimage.binary_dilation(cell.labels > 0, np.ones((2 * BORDER + 5,) * 2))
        assert is_change(cell.labels).sum() > 100
        assert not (differs & ~near).any()
        assert differs[is_change(cell.labels)].mean() > 0.99


def test_boxes_and_areas_are_those_of_the_labelled_regions():
    for seed in range(5):
        cell = made(seed, cell=CELLS[1], density=400)
        for kind in CHANGE_KINDS:
            regions, _ = ndimage.label(cell.labels == CHANGE_KINDS.index(kind) + 1)
            found = {
                (
                    part[0].start,
                    part[1].start + CELL,
                    part[0].stop,
                    part[1].stop + CELL,
                    int((regions == k).sum()),
                )
                for k, part in enumerate(ndimage.find_objects(regions), start=1)
            }
            assert found == {(*each.box, each.area) for each in cell.objects if each.kind == kind}


@pytest.mark.parametrize("kind", CHANGE_KINDS)
def test_each_kind_is_made_alone_and_differs_as_much_as_asked_for(kind):
    cells = [
        made(seed, kinds=(kind,), contrast=(1.0, 2.0), sizes=(6, 20), shadows=0.0, density=200) for seed in range(6)
    ]
    objects = [each for cell in cells for each in cell.objects]
    assert {each.kind for each in objects} == {kind}
    assert {*np.unique(np.stack([cell.labels for cell in cells]))} <= {0, CHANGE_KINDS.index(kind) + 1, IGNORE}
    contrasts = np.array([each.contrast for each in objects])
    assert np.median(contrasts) > 0.8
    if kind in ("appeared", "vanished"):
        assert np.quantile(contrasts, 0.05) > 0.65  # soft rims take a part
        assert contrasts.max() < 2.3


def test_what_appeared_is_seen_at_the_second_date_alone_and_what_vanished_at_the_first():
    for kind, date in (("appeared", 1), ("vanished", 0)):
        cell = made(3, kinds=(kind,), shadows=0.0, standing=0.0)
        ground = SCENE[:, HALO : HALO + CELL, HALO : HALO + CELL]
        np.testing.assert_array_equal(cell.dates[1 - date], ground)
        assert (cell.dates[date] != ground).any()


def test_what_moved_is_gone_here_and_found_there():
    cell = made(5, kinds=("moved",), shadows=0.0, standing=0.0, density=100)
    ground = SCENE[:, HALO : HALO + CELL, HALO : HALO + CELL]
    changed = [ndimage.label(((date != ground).any(axis=0)) & is_change(cell.labels))[1] for date in cell.dates]
    assert changed[0] == changed[1] > 0


def test_a_cell_depends_on_its_own_pixels_and_those_of_its_halo_alone():
    effects = ("season", "haze", "view", "blur", "noise", "jpeg")
    other = SCENE.copy()
    other[:, :, CELL + 2 * HALO :] = 0
    first, second = made(1, effects=effects), made(1, effects=effects, image=other)
    np.testing.assert_array_equal(first.dates[0], second.dates[0])
    np.testing.assert_array_equal(first.dates[1], second.dates[1])
    np.testing.assert_array_equal(first.labels, second.labels)


def test_cells_and_seeds_have_changes_of_their_own():
    labels = [made(seed, cell).labels for seed in (0, 1) for cell in CELLS]
    for k in range(4):
        for other in labels[:k]:
            assert (labels[k] != other).any()


def test_with_all_effects_what_did_not_change_differs_less_than_what_did():
    effects = ("season", "haze", "view", "blur", "noise", "jpeg")
    cells = [made(seed, effects=effects, sizes=(8, 30), shadows=0.0) for seed in range(12)]
    differences = [np.abs(cell.dates[1] - cell.dates[0]).mean(axis=0) for cell in cells]
    changed = [values[is_change(cell.labels)].mean() for values, cell in zip(differences, cells, strict=True)]
    still = [values[cell.labels == 0].mean() for values, cell in zip(differences, cells, strict=True)]
    assert min(still) > 1
    assert np.mean(changed) > 2 * np.mean(still)


def test_nothing_is_pasted_where_there_are_no_data():
    valid = np.ones(SCENE.shape[1:], bool)
    valid[40:160, 60:200] = False
    for seed in range(4):
        cell = made(seed, valid=valid, density=800, shadows=0.0, effects=())
        hole = ~valid[HALO : HALO + CELL, HALO : HALO + CELL]
        assert not cell.labels[hole].any()
        assert is_change(cell.labels).any()
        ground = SCENE[:, HALO : HALO + CELL, HALO : HALO + CELL]
        np.testing.assert_array_equal(cell.dates[0][:, hole], ground[:, hole])


def test_shadows_are_not_labelled_and_darken():
    squares = {"shapes": ("square",), "softness": 0.0, "kinds": ("appeared",), "standing": 0.0}
    with_shadows = made(2, shadows=1.0, sizes=(10, 20), density=100, **squares)
    unsure = with_shadows.labels == IGNORE
    assert unsure.sum() > 50
    darker = with_shadows.dates[1][:, unsure] - with_shadows.dates[0][:, unsure]
    assert darker.max() <= 0


def test_ragged_and_tiny_cells_can_be_synthesized():
    for shape in ((CELL, 40), (9, 9), (1, 3)):
        cell = made(0, cell=Tile(0, 0, *shape), density=2000, effects=("view", "jpeg", "blur"))
        assert cell.dates[0].shape == (3, *shape)
        assert cell.labels.shape == shape


def test_objects_are_drawn_from_cutouts():
    class Disc:
        def draw(self, rng):
            cover = np.zeros((11, 11))
            cover[2:-2, 2:-2] = 1
            return Sprite(cover, np.full((3, 11, 11), 250.0))

    cell = made(0, cutouts=Disc(), cut=1.0, kinds=("appeared",), contrast=(0.1, 100.0), shadows=0.0, standing=0.0)
    assert {each.area for each in cell.objects} == {49}
    assert (cell.dates[1][:, is_change(cell.labels)] == 250).all()


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": ("grown",)},
        {"kinds": ()},
        {"shapes": ("star",)},
        {"sizes": (9, 4)},
        {"sizes": (1, 4)},
        {"sizes": (4, 400)},
        {"contrast": (0, 1)},
        {"contrast": (2, 1)},
        {"density": -1},
        {"density": float("nan")},
    ],
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(BadOption, match=r"is not one of|must (rise|lie in|name at least one)"):
        SyntheticObjects(**options)


@pytest.mark.parametrize(("effects", "strength"), [(("rain",), 1.0), (EFFECTS, -1.0), (EFFECTS, float("nan"))])
def test_effects_that_cannot_be_are_refused(effects, strength):
    with pytest.raises(BadOption, match=r"is not one of season|must be 0 or more"):
        SynthesizeOptions(effects=effects, strength=strength)


def test_all_shapes_are_drawn():
    for shape in SHAPES:
        assert made(0, shapes=(shape,)).objects
