# COCO's form with polygons: the oriented box of an object is the smallest around its polygons.
image_size = (800, 800)
load_objects = [
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
    dict(type="mmrotate.ConvertMask2BoxType", box_type="rbox"),
]
train_pipeline = [
    dict(type="LoadPicture"),
    *load_objects,
    dict(type="Resize", scale=image_size, keep_ratio=True, clip_object_border=False),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
test_pipeline = [
    dict(type="LoadPicture"),
    dict(type="Resize", scale=image_size, keep_ratio=True, clip_object_border=False),
    *load_objects,  # behind Resize: in pixels of the file
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="CheckedCocoDataset",
        polygons=True,
        ann_file="train.json",
        data_prefix=dict(img="train/"),
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
        type="CheckedCocoDataset",
        polygons=True,
        ann_file="val.json",
        data_prefix=dict(img="val/"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
