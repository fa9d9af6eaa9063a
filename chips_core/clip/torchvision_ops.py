"""Lets torchvision be imported where its own C++ library does not load, such as beside a CPU build of torch.

torchvision's Python part describes the shapes of two operators, `torchvision::nms` and `torchvision::qnms`, which its
C++ part defines; without the C++ part the import fails with "operator torchvision::nms does not exist". open_clip needs
torchvision's image transforms only, so the two schemas are defined here, without a body, before the first import.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_kept: list[Any] = []  # a torch.library.Library takes its definitions back when it is collected


def define_missing_ops() -> bool:
    """Defines the operators' schemas where torchvision cannot; returns whether that was needed."""
    if "torchvision" in sys.modules or _kept or _own_library_loads():
        return False
    torch: Any = importlib.import_module("torch")  # its library functions are untyped

    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    _kept.append(library)
    return True


def _own_library_loads() -> bool:
    """Returns whether torchvision's C++ library loads into this torch; it stays loaded where it does."""
    torch: Any = importlib.import_module("torch")  # its library functions are untyped

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for path in sorted(Path(spec.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(path))
        except (OSError, ImportError, RuntimeError):
            continue
        return hasattr(torch.ops.torchvision, "nms")
    return False
