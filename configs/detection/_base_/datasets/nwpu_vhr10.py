_base_ = "coco.py"
classes = (
    *("airplane", "ship", "storage_tank", "baseball_diamond", "tennis_court"),
    *("basketball_court", "ground_track_field", "harbor", "bridge", "vehicle"),
)
data = dict(data_root="data/nwpu_vhr10", metainfo=dict(classes=classes))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
