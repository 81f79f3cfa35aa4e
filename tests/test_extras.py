"""Packages that are installed with extras."""

import subprocess
import sys

import pytest

FIRST_READS = """
import sys, threading
import numpy as np
from geochange.extras import load_openvino

openvino = load_openvino()
from openvino import opset13 as ops
x = ops.parameter([1, 4], np.float32)
model = openvino.Core().compile_model(openvino.Model([ops.relu(x)], [x]), "CPU")
tensors = [model.create_infer_request().get_input_tensor(0) for _ in range(2)]
together = threading.Barrier(2)
sys.setswitchinterval(1e-6)

def read(tensor):
    together.wait()
    tensor.data[:] = 1

threads = [threading.Thread(target=read, args=(tensor,)) for tensor in tensors]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""


def test_threads_that_are_the_first_to_use_openvino_do_not_wait_for_each_other():
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", FIRST_READS], check=True, timeout=60)
