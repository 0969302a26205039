import io
import logging
import pickle
import tarfile

import pytest
import torch
from PIL import Image as PillowImage
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from cmid.data import TarShards, UnreadableImageError, open_source

SHARDS, SAMPLES = 3, 7


def picture(value: int, kind: str = "PNG", size: int = 8) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (size, size), (value, 1, 2)).save(buffer, kind)
    return buffer.getvalue()


def write_shard(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def folder(tmp_path):
    """Three shards of seven samples; the red value of a sample's image is its number."""
    for shard in range(SHARDS):
        members = []
        for i in range(SAMPLES):
            number = shard * SAMPLES + i
            # Two samples of one folder may share a stem with samples of another shard.
            members += [
                (f"part/sample{i}.json", b"{}"),
                (f"part/sample{i}.PNG", picture(number)),
                (f"part/sample{i}.cls", str(number % 4).encode()),
            ]
        write_shard(tmp_path / f"data-{shard:03}.tar", [("__meta__", b"x"), *members])
    return tmp_path


def numbers(source):
    return [int(source[i].pixels[0, 0, 0]) for i in range(len(source))]


def test_all_samples_in_their_order(folder):
    source = TarShards(f"{folder}/data-{{000..002}}.tar")
    assert len(source) == SHARDS * SAMPLES
    assert numbers(source) == list(range(SHARDS * SAMPLES))
    assert [source[i].label for i in range(5)] == [0, 1, 2, 3, 0]
    assert source.classes == ("0", "1", "2", "3")
    assert source[8].name == f"{folder}/data-001.tar:part/sample1"


def test_shards_as_list_pattern_or_path(folder):
    first, second = folder / "data-000.tar", folder / "data-001.tar"
    assert len(TarShards(first)) == SAMPLES
    assert numbers(TarShards([str(second), str(first)]))[:2] == [7, 8]
    assert len(open_source(f"{folder}/data-{{000..001}}.tar")) == 2 * SAMPLES
    assert numbers(open_source(f"{folder}/*.tar")) == list(range(SHARDS * SAMPLES))


class Numbers(Dataset):
    """The number of a sample, so that a loader shows which ones it saw."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return int(self.source[index].pixels[0, 0, 0])


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("ranks", [1, 3])
def test_each_sample_is_seen_exactly_once(folder, workers, ranks):
    source = TarShards(f"{folder}/data-{{000..002}}.tar")
    assert numbers(source)[0] == 0  # opens a shard here, before workers fork
    seen = []
    for rank in range(ranks):
        sampler = DistributedSampler(Numbers(source), num_replicas=ranks, rank=rank, seed=3)
        loader = DataLoader(Numbers(source), batch_size=4, sampler=sampler, num_workers=workers)
        seen += [int(number) for batch in loader for number in batch]
    assert sorted(seen) == list(range(SHARDS * SAMPLES))


def test_keys_are_configurable(folder, tmp_path, caplog):
    path = write_shard(
        tmp_path / "other.tar",
        [
            ("a.img_content", picture(1)),
            ("a.label.txt", b"water\n"),
            ("b.mask.png", picture(2)),
            ("c.jpg", picture(3, "JPEG", size=64)),
            ("c.label.txt", b"crop"),
            ("d.x", picture(4)),
        ],
    )
    with caplog.at_level(logging.WARNING):
        source = TarShards(path, label_key="label.txt")
    assert "2 samples without an image left out" in caplog.text
    assert source.classes == ("crop", "water")
    assert [source[i].label for i in range(2)] == [1, 0]
    assert source.read(1, min_size=(20, 20)).pixels.shape[1] == 24
    assert len(TarShards(path, image_keys=["x", "mask.png"])) == 2
    assert TarShards(path, label_key=None)[0].label == -1
    with pytest.raises(ValueError, match="has one of the keys tiff: name yours with image_keys"):
        TarShards(path, image_keys=["tiff"])


def test_missing_shards_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"2 of 5 tar shards do not exist: .*data-003\.tar"):
        TarShards(f"{folder}/data-{{000..004}}.tar")
    with pytest.raises(FileNotFoundError, match="no tar shard matches"):
        TarShards(f"{folder}/nothing-*.tar")


def test_truncated_shards_are_named(folder):
    path = folder / "data-001.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    # Inside of a file, inside of a header, between two files.
    for end in (last.offset_data - 700, last.offset + 100, last.offset):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"data-001\.tar is truncated"):
            TarShards(f"{folder}/data-{{000..002}}.tar")
    for content in (b"", b"this is text" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data-001\.tar is truncated or no uncompressed tar"):
            TarShards(path)


def test_shard_cut_after_indexing(folder):
    path = folder / "data-000.tar"
    source = TarShards(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableImageError, match=r"data-000\.tar:part/sample6: shard is trunc"):
        source[6]
    path.unlink()
    with pytest.raises(UnreadableImageError, match="No such file"):
        pickle.loads(pickle.dumps(source))[0]


def test_broken_image_names_shard_and_key(tmp_path):
    path = write_shard(tmp_path / "a.tar", [("x/7.jpg", picture(0, "JPEG", size=64)[:-100])])
    with pytest.raises(UnreadableImageError, match=r"a\.tar:x/7: not a readable image"):
        TarShards(path)[0]


def test_pickle_reads_on(folder):
    source = TarShards(f"{folder}/data-{{000..002}}.tar")
    before = source[4].pixels
    assert torch.equal(pickle.loads(pickle.dumps(source))[4].pixels, before)
