# LoveDA, 1024-pixel images.
_base_ = "tiles.py"
data = dict(type="CheckedLoveDA", data_root="data/loveda")
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
