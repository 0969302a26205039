# iSAID, tiles of 896 pixels; the background counts as a class, as in mmsegmentation.
_base_ = "tiles.py"
data = dict(type="CheckediSAID", data_root="data/isaid")
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
