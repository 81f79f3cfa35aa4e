"""`geochange frames`: every pixel of videos, NIfTI and DICOM, with its number of bits, scale and date."""

import json

import numpy as np
import pytest
import rasterio

import geochange
from tests.commands import refused
from tests.stand_ins import changed_pair, textured

av = pytest.importorskip("av")
nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


def write_video(path, frames, codec="ffv1", form="rgb24", rate=5):
    """(y, x, 3) or (y, x) frames, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"rgb24": "bgr0"}.get(form, form)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=form)))
        container.mux(stream.encode())
    return path


def write_dicom(path, pixels, number=1, position=None, **more):
    data = pydicom.dataset.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.SOPClassUID, data.SOPInstanceUID = data.file_meta.MediaStorageSOPClassUID, pydicom.uid.generate_uid()
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    data.InstanceNumber = number
    if position is not None:
        data.ImagePositionPatient = [0, 0, position]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def read(path):
    with rasterio.open(path) as image:
        return image.read()


def colours(count):
    return [np.ascontiguousarray(np.moveaxis(textured((48, 64), seed=seed), 0, -1)) for seed in range(count)]


def test_frames_of_a_video_are_those_that_were_written(run, tmp_path):
    frames = colours(10)
    code, printed, errors = run("frames", write_video(tmp_path / "clip.mkv", frames), "-o", tmp_path / "out")
    assert code == 0, errors
    assert "10 images of 48 x 64, bands: 3, uint8" in printed
    names = json.loads((tmp_path / "out" / "run.json").read_text())["files"]["frames"]
    assert names == sorted(names)
    assert names[:2] == ["clip_000000.000.tif", "clip_000000.200.tif"]
    for name, frame in zip(names, frames, strict=True):
        np.testing.assert_array_equal(np.moveaxis(read(tmp_path / "out" / name), 0, -1), frame)


def test_some_frames_by_time(tmp_path):
    video = write_video(tmp_path / "clip.mkv", colours(20))
    found = geochange.extract_frames(video, tmp_path / "out", every=1.0, span=(1.0, 3.0))
    assert [path.stem for path in found.paths] == ["clip_000001.000", "clip_000002.000", "clip_000003.000"]


def test_grey_stays_one_band_and_sixteen_bits_stay_sixteen(tmp_path):
    frames = [textured((48, 64), bands=1, seed=seed, dtype="uint16")[0] for seed in range(3)]
    video = write_video(tmp_path / "thermal.mkv", frames, form="gray16le")
    for path, frame in zip(geochange.extract_frames(video, tmp_path / "out").paths, frames, strict=True):
        found = read(path)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found[0], frame)


def test_a_video_is_a_series_to_detect_and_watch(run, tmp_path):
    frames = [np.ascontiguousarray(np.moveaxis(each, 0, -1)) for each in changed_pair((64, 96))]
    folder = tmp_path / "frames"
    assert run("frames", write_video(tmp_path / "clip.mkv", frames), "-o", folder)[0] == 0
    paths = sorted(folder.glob("*.tif"))
    found = geochange.detect(*paths, tmp_path / "run", detector="difference")
    watched = geochange.watch(folder, tmp_path / "watched", until_idle=0.3, every=0.05, detector="difference")
    assert found.record["changes"]["count"] == watched.record["changes"]["count"] > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_nifti_lie_as_viewers_show_them(tmp_path, axis):
    cube = np.random.default_rng(0).integers(-1000, 3000, (11, 13, 17)).astype(np.int16)
    image = nibabel.Nifti1Image(cube, np.eye(4))
    image.header.set_slope_inter(2.0, -5.0)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    stored = nibabel.load(tmp_path / "scan.nii.gz")
    found = geochange.extract_frames(tmp_path / "scan.nii.gz", tmp_path / "out", axis=axis)
    assert len(found.paths) == cube.shape[axis]
    quantities = stored.get_fdata()
    for number, path in enumerate(found.paths):
        with rasterio.open(path) as raster:
            values = raster.read(1).astype(float) * raster.scales[0] + raster.offsets[0]
        plane = quantities.take(number, axis=axis)
        np.testing.assert_allclose(values, plane[:, ::-1].T)


def test_a_slice_is_followed_through_time(tmp_path):
    cube = np.random.default_rng(1).integers(0, 255, (8, 9, 4, 5)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(cube, np.eye(4)), tmp_path / "scan.nii")
    found = geochange.extract_frames(tmp_path / "scan.nii", tmp_path / "out", slice=2)
    assert len(found.paths) == 5
    for time, path in enumerate(found.paths):
        np.testing.assert_array_equal(read(path)[0], cube[:, ::-1, 2, time].T)


def test_dicom_slices_follow_each_other_along_the_body(run, tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    planes = [np.full((10, 12), value, np.int16) for value in (-7, 5, 900)]
    known = {
        "RescaleSlope": "2",
        "RescaleIntercept": "-1024",
        "AcquisitionDate": "20240702",
        "AcquisitionTime": "104500.12",
    }
    for name, place in (("b", 0), ("c", 1), ("a", 2)):  # files in another order
        write_dicom(folder / f"{name}.dcm", planes[place], position=place * 2.5, **known)
    code, _, errors = run("frames", folder, "-o", tmp_path / "out")
    assert code == 0, errors
    for path, plane in zip(sorted((tmp_path / "out").glob("*.tif")), planes, strict=True):
        with rasterio.open(path) as raster:
            np.testing.assert_array_equal(raster.read(1), plane)
            assert (raster.scales, raster.offsets) == ((2.0,), (-1024.0,))
            assert raster.tags()["TIFFTAG_DATETIME"] == "2024:07:02 10:45:00"


def test_a_dicom_file_of_many_frames(tmp_path):
    planes = np.arange(4 * 6 * 5, dtype=np.uint16).reshape(4, 6, 5)
    found = geochange.extract_frames(write_dicom(tmp_path / "many.dcm", planes), tmp_path / "out", span=(1, 2))
    np.testing.assert_array_equal([read(path)[0] for path in found.paths], planes[1:3])


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("none.mp4", None, (), "does not exist"),
        ("clip.mp4", b"no video", (), "clip.mp4"),
        ("scan.nii", b"no volume", (), "scan.nii"),
        ("scan.dcm", b"no dicom", (), "scan.dcm"),
        ("notes.txt", b"text", (), "is no video, NIfTI or DICOM file"),
        ("clip.mp4", b"no video", ("--axis", 1), "--slice and --axis are for volumes"),
        ("scan.nii", b"no volume", ("--every", 1), "--every is for videos"),
        ("scan.dcm", b"no dicom", ("--axis", 1), "--axis and --slice for NIfTI"),
        ("clip.mp4", b"no video", ("--span", "3,1"), "span 3,1 must be first and last"),
        ("clip.mp4", b"no video", ("--every", 0), "every 0.0 must be seconds"),
    ],
)
def test_what_cannot_be_read_is_one_line(run, tmp_path, name, content, options, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(run("frames", tmp_path / name, "-o", tmp_path / "out", *options), said)
    assert not (tmp_path / "out").exists()


def test_spans_beyond_the_end_are_refused(run, tmp_path):
    video = write_video(tmp_path / "clip.mkv", colours(3))
    refused(run("frames", video, "-o", tmp_path / "out", "--span", "60,70"), "no frame in the span")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)), tmp_path / "scan.nii")
    refused(run("frames", tmp_path / "scan.nii", "-o", tmp_path / "out", "--span", "1,3"), "slices 0 to 2")
    assert not (tmp_path / "out").exists()
