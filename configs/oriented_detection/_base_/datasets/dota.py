# DOTA's form, 15 classes: tiles of 1024 pixels that overlap by 200. Tiles without objects are kept.
# In training all objects count; in evaluation neither difficult nor cut ones do (diff_thr). The
# test merges the tiles of the validation part and compares whole images.
load_objects = [
    dict(type="LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="mmrotate.ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
]
train_pipeline = [
    dict(type="LoadPicture"),
    *load_objects,
    dict(type="Resize", scale=(1024, 1024), keep_ratio=True, clip_object_border=False),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
test_pipeline = [
    dict(type="LoadPicture"),
    dict(type="Resize", scale=(1024, 1024), keep_ratio=True, clip_object_border=False),
    *load_objects,  # behind Resize: in pixels of the file
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CheckedDOTADataset",
        data_root="data/dota_tiles",
        ann_file="train/labelTxt",
        data_prefix=dict(img_path="train/images"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CheckedDOTADataset",
        data_root="data/dota_tiles",
        ann_file="val/labelTxt",
        data_prefix=dict(img_path="val/images"),
        diff_thr=0,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
