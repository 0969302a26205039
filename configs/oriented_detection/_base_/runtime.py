# As horizontal detection, with rotated boxes drawn and compared. There is no test-time
# augmentation: mmdetection's cannot turn rotated boxes back.
_base_ = "../../detection/_base_/runtime.py"
default_hooks = dict(checkpoint=dict(save_best="dota/mAP"))
visualizer = dict(type="OrientedVisualizer")
val_evaluator = dict(_delete_=True, type="OrientedMetric")
test_evaluator = val_evaluator
