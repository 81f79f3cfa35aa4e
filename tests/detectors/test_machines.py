"""One device and precision for all workers of a run."""

import pytest

from geochange.detectors.machines import Machine, choose

CPU, AMX = Machine(gpu=False), Machine(gpu=False, quick=("bf16",))
VOLTA, HOPPER = Machine(gpu=True, quick=("fp16",)), Machine(gpu=True, quick=("bf16", "fp16"))


@pytest.mark.parametrize(
    ("machines", "device", "precision"),
    [
        ([CPU], "cpu", "fp32"),
        ([AMX, AMX], "cpu", "bf16"),
        ([AMX, CPU], "cpu", "fp32"),
        ([HOPPER, HOPPER], "cuda", "bf16"),
        ([HOPPER, VOLTA], "cuda", "fp16"),
        ([VOLTA, HOPPER], "cuda", "fp16"),
        ([HOPPER, Machine(gpu=True)], "cuda", "fp32"),
        ([HOPPER, AMX], "cpu", "fp32"),  # whether the CPU beside the GPU has bf16 is not known
    ],
)
def test_auto_takes_what_every_worker_has(machines, device, precision):
    assert choose("auto", "auto", machines) == (device, precision)


def test_what_is_asked_for_is_taken():
    assert choose("cuda:1", "fp16", [HOPPER, CPU]) == ("cuda:1", "fp16")
    assert choose("auto", "fp32", [HOPPER]) == ("cuda", "fp32")
    assert choose("cpu", "bf16", [AMX]) == ("cpu", "bf16")


def test_that_some_workers_have_a_gpu_is_said(caplog):
    choose("auto", "fp32", [HOPPER, CPU, CPU])
    assert "1 of 3 workers have a GPU: the network runs on the CPU of all" in caplog.text
