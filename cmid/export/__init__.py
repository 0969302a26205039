"""Export of pretrained encoders to formats that other libraries load."""

from cmid.export.onnx import to_onnx, to_torchvision
from cmid.export.openmmlab import NativeBackbone, to_openmmlab
from cmid.export.timm_folder import to_timm

__all__ = ["NativeBackbone", "to_onnx", "to_openmmlab", "to_timm", "to_torchvision"]
