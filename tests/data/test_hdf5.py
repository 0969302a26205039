import io
import pickle

import h5py
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.data import HDF5Images, UnreadableImageError, open_source

RNG = np.random.default_rng(0)


def store(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


@pytest.fixture
def encoded(tmp_path):
    """Five JPEGs of different sizes as variable-length bytes, the last one cut."""
    path = tmp_path / "encoded.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (5,), dtype=h5py.vlen_dtype(np.uint8))
        for i in range(5):
            buffer = io.BytesIO()
            PillowImage.new("RGB", (64 + i, 48), (40 * i, 9, 9)).save(buffer, "JPEG")
            images[i] = np.frombuffer(buffer.getvalue()[: 200 if i == 4 else None], np.uint8)
        file["labels"] = np.array([2, 0, 1, 0, 2])
    return path


@pytest.mark.parametrize("shape", [(4, 10, 12, 3), (4, 20, 16, 13), (4, 30, 40, 24)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_arrays_of_either_layout(tmp_path, shape, dtype):
    values = RNG.integers(0, 250, shape).astype(dtype)
    last = HDF5Images(store(tmp_path / "last.h5", images=values))
    first = HDF5Images(store(tmp_path / "first.h5", images=values.transpose(0, 3, 1, 2)))
    wanted = torch.from_numpy(values[2].astype("uint8" if dtype == "uint8" else "float32"))
    for source in (last, first):
        assert len(source) == 4
        assert source.num_bands == shape[3]
        image = source[2]
        assert image.pixels.dtype == wanted.dtype
        assert torch.equal(image.pixels, wanted.permute(2, 0, 1))
        assert image.full_size == shape[1:3]
        assert image.label == -1


def test_layout_can_be_told(tmp_path):
    path = store(tmp_path / "small.h5", images=RNG.integers(0, 255, (2, 8, 6, 8), dtype=np.uint8))
    assert HDF5Images(path)[0].full_size == (8, 6)
    assert HDF5Images(path, layout="NCHW")[0].full_size == (6, 8)


def test_grey_arrays_are_repeated(tmp_path):
    values = RNG.integers(0, 255, (2, 8, 6), dtype=np.uint8)
    image = open_source(store(tmp_path / "grey.hdf5", x=values), images="x")[1]
    assert np.array_equal(image.pixels.numpy(), np.broadcast_to(values[1], (3, 8, 6)))


def test_encoded_images_and_labels(encoded):
    source = HDF5Images(encoded, labels="labels")
    assert source.classes == ("0", "1", "2")
    image = source.read(1, min_size=(20, 20))
    assert image.full_size == (48, 65)
    assert image.pixels.shape[1] == 24
    assert [source[i].label for i in range(4)] == [2, 0, 1, 0]
    with pytest.raises(UnreadableImageError, match=r"encoded\.h5:images\[4\]: not a readable"):
        source[4]
    with pytest.raises(IndexError):
        source[5]


def test_named_labels(tmp_path):
    values = np.zeros((3, 4, 4, 3), np.uint8)
    path = store(tmp_path / "a.h5", images=values, names=["water", "crop", "water"])
    source = HDF5Images(path, labels="names")
    assert source.classes == ("crop", "water")
    assert source[0].label == 1


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.h5 does not exist"):
        HDF5Images(tmp_path / "gone.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match=r"text\.h5 is not a readable HDF5 file"):
        HDF5Images(tmp_path / "text.h5")
    path = store(tmp_path / "a.h5", x=np.zeros((3, 4)), y=np.zeros(2), z=np.zeros((0, 4, 4, 3)))
    with pytest.raises(ValueError, match="no dataset 'images'; it holds x, y, z"):
        HDF5Images(path)
    for name in "xy":
        with pytest.raises(ValueError, match=f"'{name}' of float64 .* holds no images"):
            HDF5Images(path, images=name)
    with pytest.raises(ValueError, match="is empty"):
        HDF5Images(path, images="z")
    images = store(tmp_path / "b.h5", images=np.zeros((3, 4, 4, 3)), labels=np.zeros(2, int))
    with pytest.raises(ValueError, match="labels 'labels' have shape"):
        HDF5Images(images, labels="labels")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same_after_the_parent_did(tmp_path, context):
    values = RNG.integers(0, 255, (64, 32, 32, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=values, chunks=(1, 32, 32, 3), compression="gzip")
    source = HDF5Images(tmp_path / "a.h5")
    assert source[5].pixels.sum() == values[5].sum()  # leaves the file open in this process
    loader = torch.utils.data.DataLoader(
        source, batch_size=None, shuffle=False, num_workers=2, multiprocessing_context=context
    )
    for image, wanted in zip(loader, values, strict=True):
        assert np.array_equal(image.pixels.permute(1, 2, 0).numpy(), wanted)
    assert source[6].pixels.sum() == values[6].sum()


def test_pickle_is_small_and_reads_on(encoded):
    source = HDF5Images(encoded)
    before = source[0].pixels
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 1000
    assert torch.equal(copy[0].pixels, before)
