# UPerNet, ResNet-50, your own images: a template: edit classes and data_root.
# Data:      DATA_ROOT/{img_dir,ann_dir}/{train,val}: images, and masks of the same names, PNG with
#            0 to K - 1 for the K classes and 255 for pixels to ignore (black and white masks of two
#            classes, 0 and 255: add foreground=255 to data)
# Command:   python tools/train.py configs/segmentation/upernet_resnet50_folder.py \
#                --backbone BACKBONE
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = [
    "_base_/models/upernet_resnet50.py",
    "_base_/datasets/tiles.py",
    "_base_/schedules/sgd.py",
    "_base_/runtime.py",
]
classes = ("background", "foreground")  # names, in the order of their labels
data = dict(
    type="ImageMaskFolder",
    data_root="data/my_images",
    metainfo=dict(classes=classes),
)
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
model = dict(
    decode_head=dict(num_classes=len(classes)), auxiliary_head=dict(num_classes=len(classes))
)
