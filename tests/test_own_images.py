import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lib.models import own_images
from lib.models.own_images import apart, load, repeated, shared
from lib.models.unpack import DataError

pytestmark = pytest.mark.usefixtures("single_precision")


def images(n=20, shape=(8, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def pictures(folder, arrays, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for row, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{row:03}.{suffix}")
    return folder


def saved(folder, array, name="x.npy"):
    np.save(folder / name, array, allow_pickle=True)
    return folder / name


def test_pictures_arrays_and_archives_of_the_same_images_are_the_same(tmp_path):
    x = images()
    np.savez(tmp_path / "x.npz", images=x)
    read = [
        load(pictures(tmp_path / "png", x)),
        load(saved(tmp_path, x)),
        load(tmp_path / "x.npz"),
        load(saved(tmp_path, x[:, None], "first.npy")),
        load(saved(tmp_path, x[..., None], "last.npy")),
        load(saved(tmp_path, x.reshape(20, 64), "flat.npy")),
        load(saved(tmp_path, x / 255, "unit.npy")),
        load(saved(tmp_path, x / 127.5 - 1, "signed.npy")),
        load(f"folder:{tmp_path / 'png'}"),
    ]
    assert len({found.digest for found in read[:7]}) == 1
    for found in read:
        assert found.x.dtype == torch.float32
        assert found.x.shape == (20, 1, 8, 8)
        torch.testing.assert_close(found.x[:, 0], torch.from_numpy(x / np.float32(255)), atol=1e-6, rtol=0)
    assert read[5].notes[0] == "rows of 64 numbers are read as 1 x 8 x 8"
    assert read[6].notes == ()
    assert read[7].notes == ("values -1 to 1 are taken from [-1, 1] to [0, 1]",)
    assert read[0].names[3] == str(tmp_path / "png" / "003.png")
    assert read[1].names[3] == f"{tmp_path / 'x.npy'}[3]"


def test_colour_is_read_with_its_channels_first(tmp_path):
    x = images(shape=(8, 6, 3))
    for found in (load(pictures(tmp_path / "png", x)), load(saved(tmp_path, x))):
        assert found.x.shape == (20, 3, 8, 6)
        assert found.x[2, 1, 5, 4].item() == pytest.approx(x[2, 5, 4, 1] / 255)
    assert load(pictures(tmp_path / "jpg", x, "jpg")).x.shape == (20, 3, 8, 6)


def test_an_array_in_a_folder_is_read_as_by_itself(tmp_path):
    x = images()
    (tmp_path / "f").mkdir()
    saved(tmp_path / "f", x[:5], "a.npy")
    saved(tmp_path / "f", x[5:], "b.npy")
    assert load(tmp_path / "f").digest == load(saved(tmp_path, x)).digest


def test_a_maximum_is_drawn_at_random_and_said(tmp_path):
    x = images(50)
    found, other = (load(pictures(tmp_path / "png", x), maximum=20, seed=seed) for seed in (0, 1))
    assert found.x.shape == (20, 1, 8, 8)
    assert found.notes[0] == "20 of 50 images, drawn with seed 0"
    assert found.digest != other.digest
    assert found.names == tuple(sorted(found.names))
    assert load(saved(tmp_path, x), maximum=20).digest == found.digest


def test_black_and_white_as_whole_numbers_is_not_read_as_nearly_black(tmp_path):
    found = load(saved(tmp_path, images() // 128))
    assert found.x.unique().tolist() == [0.0, 1.0]
    assert found.notes == ("whole numbers 0 and 1 are taken as black and white",)


def test_a_range_that_is_given_decides(tmp_path):
    x = np.random.default_rng(0).uniform(0, 1, (20, 8, 8))
    assert load(saved(tmp_path, x), given="-1,1").x.min() >= 0.5
    assert load(saved(tmp_path, (x * 16).round()), given="0,255").x.max() < 0.07
    with pytest.raises(DataError, match=r"which leaves the range 0,1"):
        load(saved(tmp_path, x * 16), given="0,1")


def a_pickle(folder):
    (folder / "x.pkl").write_bytes(pickle.dumps(images()))
    return folder / "x.pkl"


def with_nan(folder):
    x = images() / 255
    x[3:5, 0, 0] = np.nan
    return saved(folder, x)


def of_two_shapes(folder):
    pictures(folder / "p", images())
    Image.fromarray(images(1, (8, 9))[0]).save(folder / "p" / "007.png")
    return folder / "p"


def text_alone(folder):
    (folder / "t").mkdir()
    (folder / "t" / "notes.txt").write_text("hello")
    return folder / "t"


def empty(folder):
    (folder / "e").mkdir()
    return folder / "e"


def both_sides(folder):
    pictures(folder / "d" / "train", images())
    pictures(folder / "d" / "test", images())
    return folder / "d"


def a_broken_picture(folder):
    pictures(folder / "p", images())
    (folder / "p" / "003.png").write_bytes(b"not a picture")
    return folder / "p"


def an_archive_with_other_names(folder):
    np.savez(folder / "x.npz", x_train=images())
    return folder / "x.npz"


BAD = {
    "nothing": (lambda folder: folder / "nowhere", r"nowhere is not there; accepted: a folder of .png or .jpg"),
    "empty": (empty, r"e is empty; accepted: a folder"),
    "text": (text_alone, r"has no images among its 1 files, such as notes.txt; accepted: a folder"),
    "labels": (lambda f: saved(f, np.arange(20) % 10), r"has one number per image, \[20\]: labels, it seems"),
    "column of labels": (lambda f: saved(f, np.arange(20)[:, None]), r"one number per image, \[20, 1\]: labels"),
    "table": (lambda f: saved(f, np.ones((30, 7))), r"rows that are no square images; save them as \[n, height, width\]"),
    "three images": (lambda f: saved(f, images(3)), r"holds 3 images; at least 10 are needed, and some hundreds"),
    "NaN": (with_nan, r"2 of 20 images hold NaN or infinity; leave them out or mend them"),
    "two shapes": (of_two_shapes, r"1 of 20 images are not 8 x 8 in grey like the others: .*007.png is 8 x 9 in grey; all"),
    "sprite": (lambda f: pictures(f / "s", images(1)) / "000.png", r"is one image; give the folder of all images.*crop\("),
    "pickle": (a_pickle, r"x.pkl is not a file of images, and no pickle is opened: save the array with numpy.save"),
    "objects": (lambda f: saved(f, np.array([images(), None], object)), r"holds object .* accepted are numbers"),
    "one picture": (lambda f: saved(f, images(1, (40, 30, 3))[0]), r"is \[40, 30, 3\], one image, it seems"),
    "standardised": (lambda f: saved(f, np.random.default_rng(0).normal(size=(20, 8, 8))), r"which is none of 0..1, -1..1, 0..255; divide them by"),
    "sixteen levels": (lambda f: saved(f, images() // 16), r"images are whole numbers from 0 to 15, which is none of 0..1"),
    "both sides": (both_sides, r"holds the sides test, train; give one of them, such as .*test"),
    "broken": (a_broken_picture, r"003.png cannot be read as an 8-bit picture"),
    "other names": (an_archive_with_other_names, r"no array called images, only x_train.npy; accepted: .*'images'"),
    "all alike": (lambda f: saved(f, np.ones((20, 8, 8)) / 2), r"all of 20 images are the same"),
    "archive": (lambda f: (f / "x.zip").write_bytes(b"PK") and f / "x.zip", r"x.zip is not a file of images: unpack it"),
    "channels twice": (lambda f: saved(f, images(20, (3, 8, 3))), r"expected 1 or 3 channels, as \[n, channels, height"),
    "low maximum": (lambda f: saved(f, images(3)), r"at least 10 are needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_set_of_images_is_refused_in_one_line(tmp_path, name):
    make, said = BAD[name]
    with pytest.raises(DataError, match=said) as refused:
        load(make(tmp_path), maximum=5 if name == "low maximum" else None)
    assert "\n" not in str(refused.value)


def test_images_on_both_sides_are_found_and_left_out_with_a_note(tmp_path):
    x = images(60)
    train, held_out = load(saved(tmp_path, x[:40])), load(saved(tmp_path, x[35:], "y.npy"))
    assert shared(train.x, held_out.x).tolist() == [0, 1, 2, 3, 4]
    train, kept = apart(train, held_out)
    assert kept.x.shape == (20, 1, 8, 8)
    assert kept.notes[-1] == "5 of your 25 held-out images are also among the training images, and are left out"
    assert kept.names == held_out.names[5:]
    assert kept.digest == load(saved(tmp_path, x[40:])).digest
    assert train.notes == ("values 0 to 255 are divided by 255",)


def test_sides_that_are_the_same_images_are_refused(tmp_path):
    found = load(saved(tmp_path, images()))
    with pytest.raises(DataError, match="20 of your 20 held-out images are also among the training images; hold out"):
        apart(found, found)


def test_a_changed_value_is_not_a_copy_and_a_negative_zero_is(tmp_path):
    x = torch.rand(5, 1, 3, 3)
    x[0, 0, 0, 0] = 0.0
    y = x.clone()
    y[0, 0, 0, 0] = -0.0
    y[1:] += 1e-6
    assert shared(x, y).tolist() == [0]


def test_copies_within_training_are_counted_and_stay(tmp_path):
    x = images(30)
    train = load(saved(tmp_path, np.concatenate([x[:20], x[:3], x[:1]])))
    assert repeated(train.x) == 4
    found, _ = apart(train, load(saved(tmp_path, x[20:], "y.npy")))
    assert len(found.x) == 24
    assert found.notes[-1] == "4 of 24 training images are copies of others"


def test_sides_of_two_shapes_are_refused(tmp_path):
    train, held_out = load(saved(tmp_path, images())), load(saved(tmp_path, images(shape=(8, 8, 3)), "y.npy"))
    with pytest.raises(DataError, match=r"training images are \[1, 8, 8\], held-out images \[3, 8, 8\]"):
        apart(train, held_out)


def test_one_digest_for_one_content():
    x = torch.rand(3, 1, 4, 4)
    assert own_images.digest(x) == own_images.digest(x.clone())
    assert own_images.digest(x) != own_images.digest(x.view(3, 4, 4, 1))
