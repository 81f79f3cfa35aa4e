"""The project of a run, opened by QGIS without a window: `make test-qgis`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

import geochange

ROOT = Path(__file__).parents[2]
NAIP = ROOT.parent / "shared" / "data" / "naip_wetlands"
SCRIPT = Path(__file__).with_name("open_project.py")
PYTHON = "/usr/bin/python3"

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif(not shutil.which("qgis"), reason="QGIS is not installed"),
    pytest.mark.xdist_group("qgis"),
]


def opened(project, pictures):
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("QT_", "GDAL_", "PROJ_", "PYTHON"))
    }
    words = [PYTHON, SCRIPT, project, pictures]
    ended = subprocess.run(
        words, env={**clean, "QT_QPA_PLATFORM": "offscreen"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def bare(folder):
    """The sample's corner as PNG images, without CRS."""
    files = []
    for name in ("before", "after"):
        with rasterio.open(ROOT / "sample_data" / f"{name}.tif") as source:
            values = source.read()[:3, :400, :400]
        files.append(folder / f"{name}.png")
        with rasterio.open(files[-1], "w", driver="PNG", width=400, height=400, count=3, dtype=values.dtype) as target:
            target.write(values)
    return files


@pytest.mark.parametrize("scene", ["sample", "naip", "bare"])
def test_it_opens_with_all_layers_and_without_a_message(scene, tmp_path):
    if scene == "naip" and not NAIP.is_dir():
        pytest.skip("needs ../shared/data/naip_wetlands")
    pair = {
        "sample": lambda: [ROOT / "sample_data" / "before.tif", ROOT / "sample_data" / "after.tif"],
        "naip": lambda: [NAIP / "naip_20120731.tif", NAIP / "naip_20170827.tif"],
        "bare": lambda: bare(tmp_path),
    }[scene]()
    run = geochange.detect(*pair, tmp_path / "out", align=scene == "naip")
    found = opened(run.folder / "changes.qgs", tmp_path)
    assert found["read"]
    assert found["messages"] == []
    crs = {"sample": "EPSG:32633", "naip": "EPSG:26914", "bare": ""}[scene]
    assert found["crs"] == crs
    assert len(found["layers"]) == 4
    assert {(each["valid"], each["crs"]) for each in found["layers"].values()} == {(True, crs)}
    assert found["features"] == run.record["changes"]["count"]
    assert found["renderer"] == "graduatedSymbol"
    assert found["alias"] == "Area (m²)"
    assert {found["widgets"][name] for name in ("score_mean", "status", "comment")} == {"Range", "ValueMap", "TextEdit"}
    assert " · score " in found["tip"]
    assert ("px" in found["tip"]) == (scene == "bare")
    assert run.record["detector"]["name"] in found["notes"]
    plain = [np.asarray(Image.open(tmp_path / f"{date}, without changes.png"), float) for date in ("Before", "After")]
    with_changes = np.asarray(Image.open(tmp_path / "After.png"), float)
    seen = [each[..., :3].mean() for each in plain]
    assert abs(seen[0] - seen[1]) < 60  # both drawn, in one stretch
    assert (plain[0] != plain[1]).mean() > 0.2
    assert 0 < (with_changes != plain[1]).any(axis=-1).mean() < 0.9
