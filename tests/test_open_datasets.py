import threading
from functools import partial

import numpy as np
import pytest

from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.files import appearing, discard_folder, scratch_beside
from geochange.open_datasets import LIMIT, close_own, open_dataset, release
from geochange.scenes.scene import open_file
from tests.open_files import files_held, watchable
from tests.stand_ins import write_raster

pytestmark = pytest.mark.skipif(not watchable(), reason="the system does not tell which files are open")


@pytest.fixture
def image(tmp_path):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "a.tif"
    write_raster(path, np.ones((1, 8, 8), np.uint8))
    return path


def keep_open(path):
    with open_dataset(str(path)) as dataset:
        return dataset.read(1).sum()


def test_a_raster_stays_open_until_it_is_released(image):
    keep_open(image)
    assert str(image) in files_held()
    release(image.with_name("b.tif"), image.parent / "a")
    assert str(image) in files_held()
    release(image)
    assert str(image) not in files_held()
    assert keep_open(image) == 64


def test_a_folder_is_released_in_all_threads(image):
    asked, done = threading.Event(), threading.Event()

    def hold():
        keep_open(image)
        asked.set()
        done.wait()

    other = threading.Thread(target=hold)
    other.start()
    asked.wait()
    assert str(image) in files_held()
    release(image.parent)
    held = files_held()
    done.set()
    other.join()
    assert str(image) not in held


def test_what_is_being_read_is_released_afterwards(image):
    order = []

    def let_go():
        release(image)
        order.append("released")

    other = threading.Thread(target=let_go)
    with open_dataset(str(image)) as dataset:
        other.start()
        other.join(0.2)
        dataset.read(1)
        order.append("read")
    other.join()
    assert order == ["read", "released"]


def test_a_file_that_took_the_place_of_another_is_read_anew(image):
    keep_open(image)
    with appearing(image) as temporary:
        write_raster(temporary, np.full((1, 8, 8), 2, np.uint8))
    assert keep_open(image) == 128


def test_few_stay_open(tmp_path):
    for number in range(LIMIT + 3):
        write_raster(tmp_path / f"{number}.tif", np.ones((1, 2, 2), np.uint8))
        keep_open(tmp_path / f"{number}.tif")
    assert len([each for each in files_held() if each.startswith(f"{tmp_path}/")]) == LIMIT
    close_own()
    assert not [each for each in files_held() if each.startswith(f"{tmp_path}/")]


def test_scratch_is_released_before_it_goes(tmp_path):
    with scratch_beside(tmp_path / "out.tif") as scratch:
        write_raster(scratch / "a.tif", np.ones((1, 2, 2), np.uint8))
        keep_open(scratch / "a.tif")
    assert not [each for each in files_held() if each.startswith(f"{tmp_path}/")]


def test_a_folder_is_released_before_it_is_discarded(image):
    keep_open(image)
    discard_folder(image.parent)
    assert not [each for each in files_held() if each.startswith(str(image.parent.parent))]


def test_workers_release_a_folder_too(image):
    with open_crew(ClusterOptions(workers=1), print) as crew:
        crew.result(crew.submit(open_file, str(image)), "a file")
        before = files_held()
        crew.tell(partial(release, image.parent))
        after = files_held()
    assert str(image) in before
    assert str(image) not in after
