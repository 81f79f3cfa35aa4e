"""A small network as ONNX, TorchScript and torch.export, with a receptive field that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

STRIDE = 2
RADIUS = 7  # 2 pixels of the first convolution, 2 coarse ones of the second, and one of pooling


def weights_of(channels: int = 1, bands: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"first": (4, bands, 5, 5), "second": (channels, 4, 5, 5)}
    return {name: (rng.standard_normal(shape) / 6).astype(np.float32) for name, shape in shapes.items()}


class SmallModel(nn.Module):
    """|a - b| through two convolutions with pooling between, enlarged again: logits."""

    def __init__(self, channels: int = 1, bands: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(bands, 4, 5, padding=2, bias=False)
        self.second = nn.Conv2d(4, channels, 5, padding=2, bias=False)
        for name, each in weights_of(channels, bands).items():
            self.get_submodule(name).weight.data = torch.from_numpy(each)
        self.eval()

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        seen = torch.relu(self.first((before - after).abs()))
        logits = self.second(nn.functional.max_pool2d(seen, 2))
        return nn.functional.interpolate(logits, scale_factor=2.0, mode="nearest")


def write_onnx(
    path: Path,
    layout: str = "pair",
    *,
    channels: int = 1,
    bands: int = 3,
    size: int | None = None,
    last: tuple[str, ...] = (),
    metadata: str | None = None,
    pooled: bool = False,
) -> Path:
    """The same as ONNX, however it takes the dates; `last` are operations after it, `pooled` subtracts the mean."""
    side = ["y", "x"] if size is None else [size, size]
    taken = {
        "pair": [["n", bands, *side]] * 2,
        "stacked": [["n", 2 * bands, *side]],
        "series": [["n", 2, bands, *side]],
    }
    shapes = [*taken.get(layout, taken["series"]), *([["n", 2, *side]] if layout == "series-valid" else [])]
    names = ["before", "after"] if layout == "pair" else ["dates", "valid"][: len(shapes)]
    start = {
        "pair": [],
        "stacked": [helper.make_node("Split", ["dates"], ["before", "after"], axis=1, num_outputs=2)],
        "series": [
            helper.make_node("Split", ["dates"], ["b5", "a5"], axis=1, num_outputs=2),
            helper.make_node("Squeeze", ["b5", "one"], ["before"]),
            helper.make_node("Squeeze", ["a5", "one"], ["after"]),
        ],
    }
    nodes = [
        *start.get(layout, start["series"]),
        helper.make_node("Sub", ["before", "after"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Conv", ["distance", "first"], ["a"], pads=[2] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "second"], ["d"], pads=[2] * 4),
        helper.make_node(
            "Resize", ["d", "", "scales"], ["o0"], mode="nearest", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]  # fmt: skip
    if pooled:
        nodes += [
            helper.make_node("GlobalAveragePool", ["o0"], ["mean"]),
            helper.make_node("Sub", ["o0", "mean"], ["o1"]),
        ]
    if layout == "series-valid":
        nodes += [
            helper.make_node("ReduceMin", ["valid", "one"], ["both"], keepdims=1),
            helper.make_node("Mul", [nodes[-1].output[0], "both"], ["masked"]),
        ]
    for k, operation in enumerate(last):
        more = {"axis": 1} if operation == "Softmax" else {"axis": 1, "keepdims": 1} if operation == "ArgMax" else {}
        nodes.append(helper.make_node(operation, [nodes[-1].output[0]], [f"last{k}"], **more))
    nodes[-1].output[0] = "change"
    constants = {
        **weights_of(channels, bands),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "one": np.array([1], np.int64),
    }
    kind = TensorProto.INT64 if last and last[-1] == "ArgMax" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(names, shapes, strict=True)
        ],
        [helper.make_tensor_value_info("change", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {"geochange": metadata})
    onnx.save(model, path)
    return path


def write_torchscript(path: Path) -> Path:
    torch.jit.script(SmallModel()).save(str(path))
    return path


def write_exported(path: Path) -> Path:
    example = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    sizes = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    torch.export.save(torch.export.export(SmallModel(), example, dynamic_shapes=(sizes, sizes)), path)
    return path
