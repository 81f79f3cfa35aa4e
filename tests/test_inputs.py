"""Which files inputs are made of."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.vrt import WarpedVRT

from geochange.inputs import files_read
from tests.stand_ins import write_raster

BAND = '<VRTRasterBand dataType="Byte" band="1">{}</VRTRasterBand>'
VRT = f'<VRTDataset rasterXSize="4" rasterYSize="4">{BAND}</VRTDataset>'
SOURCE = '<SimpleSource><SourceFilename relativeToVRT="{}">{}</SourceFilename></SimpleSource>'


@pytest.fixture
def image(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "a.tif"
    write_raster(path, np.ones((1, 4, 4), np.uint8))
    return path


def test_what_is_no_path_or_is_not_there_names_nothing(tmp_path):
    assert files_read([None, 3, object(), (1.0, 2.0), "", "nowhere.tif", "a\0b", "x" * 5000, tmp_path / "no"]) == []


@pytest.mark.parametrize(
    "name",
    [
        "{0}",
        "{0.parent}/../deep/a.tif",
        "vrt://{0}?bands=1",
        "file://{0}",
        "GTIFF_DIR:1:{0}",
        'NETCDF:"{0}":variable',
        "/vsizip/{0}/inner.tif",
        "zip://{0}!inner.tif",
        "/vsisubfile/0_100,{0}",
    ],
)
def test_a_file_is_found_by_any_name(image, name):
    assert image in files_read([name.format(image)])


def test_links_lead_to_what_they_name(image, tmp_path):
    (tmp_path / "link.tif").symlink_to(image)
    assert files_read([tmp_path / "link.tif"]) == [image]


def test_folders_hold_what_lies_in_them(image):
    assert files_read([image.parent]) == [image.parent, image]


def test_arrays_name_the_file_that_they_were_opened_from(image):
    assert files_read([SimpleNamespace(encoding={"source": str(image)})]) == [image]


@pytest.mark.parametrize("relative", [0, 1])
def test_vrts_name_their_sources_through_other_vrts_and_in_circles(image, tmp_path, relative):
    inner, outer = tmp_path / "deep" / "inner.vrt", tmp_path / "outer.dat"
    sources = ["a.tif" if relative else str(image), "../outer.dat" if relative else str(outer)]
    inner.write_text(VRT.format("".join(SOURCE.format(relative, source) for source in sources)))
    outer.write_text(VRT.format(SOURCE.format(relative, "deep/inner.vrt" if relative else str(inner))))
    assert set(files_read([outer])) == {outer, inner, image}
    assert image in files_read([inner.parent])


def test_vrts_of_gdal_itself_name_their_sources(image, tmp_path):
    with rasterio.open(image) as dataset, WarpedVRT(dataset, crs="EPSG:4326") as warped:
        rasterio.shutil.copy(warped, tmp_path / "warped.vrt", driver="VRT")
    assert image in files_read([tmp_path / "warped.vrt"])


@pytest.mark.parametrize("content", [b"", b"<VRTDataset", b"<?xml version='1.0'?><other/>", b"<VRTDataset>\xff"])
def test_damaged_vrts_name_themselves(tmp_path, content):
    (tmp_path / "a.vrt").write_bytes(content)
    assert files_read([tmp_path / "a.vrt"]) == [tmp_path / "a.vrt"]


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes there")
def test_a_pipe_is_not_read(tmp_path):
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    assert files_read([tmp_path / "pipe"]) == [tmp_path / "pipe"]


@pytest.mark.parametrize("name", ["http://127.0.0.1:80/a.tif", "/vsicurl/http://127.0.0.1:80/a.tif", "s3://http/a.tif"])
def test_a_url_names_no_file_here(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http").mkdir()
    (tmp_path / "s3").mkdir()
    assert files_read([name]) == []
