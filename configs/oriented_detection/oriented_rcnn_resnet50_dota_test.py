# Oriented R-CNN on DOTA-v1.0, trained on train and val; the test writes files for DOTA's server.
# Data:      as oriented_rcnn_resnet50_dota.py, and data/dota/test/images, then
#            python tools/prepare_detection.py dota data/dota/test data/dota_tiles/test
# Command:   python tools/train.py configs/oriented_detection/oriented_rcnn_resnet50_dota_test.py \
#                --backbone BACKBONE
#            tools/test.py of it writes work_dirs/dota_test/Task1.zip
# Not run in full here: it needs DOTA and a GPU.
_base_ = "oriented_rcnn_resnet50_dota.py"
part = dict(
    type="CheckedDOTADataset",
    data_root="data/dota_tiles",
    ann_file="val/labelTxt",
    data_prefix=dict(img_path="val/images"),
    pipeline=_base_.train_pipeline,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.train_dataloader.dataset, part],
    )
)
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = dict(
    dataset=dict(
        ann_file="",
        data_prefix=dict(img_path="test/images"),
        pipeline=[*_base_.test_pipeline[:2], _base_.test_pipeline[-1]],
    )
)
test_evaluator = dict(whole_labels=None, outfile_prefix="work_dirs/dota_test")
default_hooks = dict(checkpoint=dict(save_best=None))
