import gzip
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lib.models.data import MNIST, ROOT, DataError, load, nearest_neighbours


@pytest.fixture(autouse=True)
def single_precision():
    torch.set_default_dtype(torch.float32)


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


def test_another_image_is_another_digest(tmp_path):
    np.save(tmp_path / "x.npy", images())
    first = load(f"folder:{tmp_path}").digest
    np.save(tmp_path / "x.npy", images(seed=1))
    assert load(f"folder:{tmp_path}").digest != first


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: np.save(p / "x.npy", np.array([Bomb()], dtype=object), allow_pickle=True),
            "pickled arrays are refused",
        ),
        (lambda p: (p / "x.npy").write_bytes(pickle.dumps(Bomb())), "pickled arrays are refused"),
        (lambda p: np.save(p / "x.npy", images() / 10.0), r"integers in 0\.\.255 or floats in \[0, 1\]"),
        (lambda p: np.save(p / "x.npy", np.full((20, 4, 4), np.nan)), r"integers in 0\.\.255 or floats in \[0, 1\]"),
        (lambda p: np.save(p / "x.npy", images()[0]), r"expected numbers \[n, height, width\]"),
        (lambda p: np.save(p / "x.npy", images(5)), "holds 5 images; at least 14"),
        (lambda p: np.savez(p / "x.npz", x=images()), "x.npz cannot be read .*images"),
        (lambda p: np.savez(p / "x.npz", images=images(), labels=np.arange(3)), r"21 images but labels of shape \[3\]"),
        (lambda p: (p / "x.png").write_bytes(b"not a picture"), "x.png cannot be read"),
        (
            lambda p: (np.save(p / "a.npy", images()), np.save(p / "b.npy", images(21, (4, 4)))),
            "all must have one shape",
        ),
        (lambda p: (p / "notes.txt").write_text("hello"), r"has no \.npy, \.npz or \.png file"),
    ],
)
def test_bad_folders_are_named(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}")


def test_an_unknown_name_lists_what_is_accepted():
    with pytest.raises(
        DataError, match="unknown dataset 'cifar'; accepted: 'mnist', 'cifar10', 'celeba', or 'folder:PATH'"
    ):
        load("cifar")
    with pytest.raises(DataError, match="/nowhere is not a folder"):
        load("folder:/nowhere")


def test_the_nearest_neighbour_is_another_image():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [3.5, 0.0]])
    assert nearest_neighbours(x, x).tolist() == [2, 2, 3, 2]
    with pytest.raises(DataError, match="4 of 4 images have no neighbour but copies"):
        nearest_neighbours(x[:1].expand(4, -1), x[:1].expand(4, -1))


def test_nearest_neighbours_agree_with_all_distances():
    x, y = torch.rand(30, 1, 4, 4), torch.rand(200, 1, 4, 4)
    assert torch.equal(nearest_neighbours(x, y), torch.cdist(x.flatten(1), y.flatten(1)).argmin(1))
