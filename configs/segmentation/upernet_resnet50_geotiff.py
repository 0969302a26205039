# UPerNet, ResNet-50, your own multispectral GeoTIFFs: a template. BACKBONE reads the same bands.
# Data:      DATA_ROOT/{img_dir,ann_dir}/{train,val}: images of any type, and masks of the same
#            names, PNG or GeoTIFF, with 0 to K - 1 for the K classes and 255 for pixels to ignore;
#            so are pixels that no band has a value for (nodata)
# Command:   python tools/train.py configs/segmentation/upernet_resnet50_geotiff.py \
#                --backbone BACKBONE
# Hardware:  meant for one GPU of 24 GB; not run in full here.
_base_ = "upernet_resnet50_folder.py"
bands = [1, 2, 3, 4, 5, 6]  # those to read, counted from 1
data = dict(data_root="data/my_rasters")
model = dict(
    data_preprocessor=dict(
        type="BandSegDataPreProcessor",
        mean=[0.0] * len(bands),  # in stored units: tools/compute_stats.py computes them;
        std=[1.0] * len(bands),  # tools/train.py --backbone takes the export's
        bgr_to_rgb=False,
    ),
    backbone=dict(in_channels=len(bands)),
)
load = dict(type="LoadRaster", bands=bands)
crops = _base_.train_pipeline[1:-2]
train_pipeline = [load, *crops, dict(type="BandPhotometricDistortion"), dict(type="PackSegInputs")]
test_pipeline = [load, *_base_.test_pipeline[1:]]
tta_pipeline = [load, *_base_.tta_pipeline[1:]]
train_dataloader = dict(dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = val_dataloader
