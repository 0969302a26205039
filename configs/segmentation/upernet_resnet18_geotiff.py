# Small UPerNet on the small ResNet-18 of configs/pretrain/cmid_resnet18_geotiff.yaml, 4 bands: a
# quarter of a generated scene, whose rest tools/map.py maps.
# Data:      python tools/make_scenes.py --task geotiff
# Command:   python tools/train.py configs/segmentation/upernet_resnet18_geotiff.py \
#                --backbone runs/cmid_resnet18_geotiff/backbone
# Time and score: 131 CPU s; mIoU 42.3 on the rest of the scene, see
#            benchmarks/reports/2026-11-26-whole-scenes.md.
_base_ = "upernet_resnet18_scenes_4band.py"
widths = [32, 64, 128, 256]
model = dict(
    decode_head=dict(in_channels=widths),
    auxiliary_head=dict(in_channels=widths[2]),
)
data = dict(data_root="runs/scenes/geotiff/quarter")
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
