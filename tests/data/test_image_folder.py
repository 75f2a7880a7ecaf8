"""Folders of images: how an image is converted, in what order, when it is decoded, and what is refused."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imc_sim import InputError
from imc_sim._errors import MissingDataError
from imc_sim.data import check, class_count, fetch, gather_labelled, load_classes, load_labelled, load_pool
from imc_sim.data._registry import dataset_info

#: file of the training set -> its colour; labels are those of the sorted class folders
COLOURS = {
    "apple/b.png": (200, 10, 30),
    "apple/a.JPEG": (180, 20, 40),
    "cherry/z.jpg": (90, 0, 60),
    "Banana/3.jpeg": (220, 210, 20),
    "Banana/20.PNG": (250, 250, 0),
    "Banana/1.png": (10, 240, 120),
}
ORDER = ["Banana/1.png", "Banana/20.PNG", "Banana/3.jpeg", "apple/a.JPEG", "apple/b.png", "cherry/z.jpg"]
CLASSES = ("Banana", "apple", "cherry")


def put(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a data root that holds the folder `fruit`: six training and three test images."""
    for name, colour in COLOURS.items():
        put(tmp_path / "fruit/train" / name, Image.new("RGB", (12, 9), colour))
    for name in CLASSES:
        put(tmp_path / "fruit/val" / name / "x.png", Image.new("RGB", (20, 20), (1, 2, 3)))
    (tmp_path / "fruit/train/apple/notes.txt").write_text("no image")
    (tmp_path / "fruit/train/apple/.hidden.png").write_text("no image")
    (tmp_path / "fruit/train/.cache").mkdir()
    return tmp_path


def one(root: Path, image: Image.Image, size: int, ending: str = "png") -> np.ndarray:
    """Return the image as the only one of a set."""
    put(root / f"own/train/only/i.{ending}", image)
    return load_classes("folder:own", "train", size, root).images[0]


def test_images_labels_and_names_are_in_sorted_order(root: Path) -> None:
    data = load_classes("folder:fruit", "train", 8, root)
    assert (data.name, data.split, data.class_names) == ("folder:fruit", "train", CLASSES)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert data.labels.dtype == np.int64
    assert not data.labels.flags.writeable
    assert (data.images.shape, data.images.ndim, len(data.images)) == ((6, 8, 8, 3), 4, 6)
    for image, name in zip(data.images[:], ORDER, strict=True):
        assert image.dtype == data.images.dtype == np.uint8
        assert np.abs(image.astype(int) - COLOURS[name]).max() <= 2, name  # JPEG is not exact
    test = load_classes("folder:fruit", "test", None, root)
    assert test.images.shape == (3, 224, 224, 3)
    assert test.images[1][0, 0].tolist() == [1, 2, 3]


def test_rows_are_indexed_like_those_of_an_array(root: Path) -> None:
    images = load_classes("folder:fruit", "train", 8, root).images
    whole = np.stack([images[i] for i in range(6)])
    assert len({image.tobytes() for image in whole}) == 6
    index: object
    for index in (
        slice(None), slice(4, 1, -2), -2, np.array([5, 0, 5]), np.array([], np.int64), np.array([[0, 1], [2, 3]]),
        np.array([True, False, False, True, True, False]),
    ):  # fmt: skip
        np.testing.assert_array_equal(images[index], whole[index])
    np.testing.assert_array_equal(np.stack(list(images)), whole)
    for beyond in (6, np.array([0, 6])):
        with pytest.raises(IndexError):
            images[beyond]


@pytest.mark.parametrize(("wide", "high"), [(40, 16), (17, 51), (33, 20), (8, 20), (5, 6), (16, 16)])
def test_an_image_is_resized_by_its_short_side_and_cropped_at_the_centre(tmp_path: Path, wide: int, high: int) -> None:
    """Compared with resizing the whole image and cropping, both enlarged and reduced."""
    noise = np.random.default_rng(wide).integers(0, 256, (high, wide, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    new = (8 * wide // min(wide, high), 8 * high // min(wide, high))
    left, top = round((new[0] - 8) / 2), round((new[1] - 8) / 2)
    expected = image.resize(new, Image.Resampling.BILINEAR).crop((left, top, left + 8, top + 8))
    got = one(tmp_path, image, 8)
    assert np.abs(got.astype(int) - np.asarray(expected)).max() <= 1
    assert got.std() > 10


def test_the_edges_of_a_long_image_are_cropped(tmp_path: Path) -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = (0, 0, 255)
    stripes[:, 20:] = (255, 0, 0)
    assert one(tmp_path, Image.fromarray(stripes), 10).tolist() == [[[0, 0, 255]] * 10] * 10


def test_reducing_averages_pixels(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    grey = one(tmp_path, Image.fromarray(board.astype(np.uint8)), 8)
    assert np.abs(grey.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_grey_and_palette_images_become_colour(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray((np.arange(64).reshape(8, 8) >= 24).astype(np.uint8) * 255)
    found = one(tmp_path, grey.convert("RGB").convert(mode), 8, "jpg" if mode == "CMYK" else "png")
    assert found.shape == (8, 8, 3)
    expected = np.asarray(grey)[..., None].repeat(3, 2).astype(int)
    assert np.abs(found.astype(int) - expected).max() <= (2 if mode == "CMYK" else 0)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_an_image_is_turned_as_a_viewer_turns_it(tmp_path: Path, ending: str, orientation: int) -> None:
    """The corner where row 0 and column 0 of the file belong follows the table of the EXIF standard."""
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8], upright[:8, 8:], upright[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1], 7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }.get(orientation, upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"own/train/only/i.{ending}"
    file.parent.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif, quality=95, subsampling=0)
    found = load_classes("folder:own", "train", 16, tmp_path).images[0]
    assert np.abs(found.astype(int) - upright).max() <= (8 if ending == "jpg" else 0)


#: pixel saved in each mode that Pillow opens; None: refused
SHOWN: dict[str, tuple[Image.Image, tuple[int, int, int] | None]] = {
    "1": (Image.new("1", (8, 8), 1), (255, 255, 255)),
    "L": (Image.new("L", (8, 8), 90), (90, 90, 90)),
    "LA": (Image.new("LA", (8, 8), (100, 51)), (224, 224, 224)),
    "P": (Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4), (10, 200, 30)),
    "PA": (Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4).convert("PA"), (10, 200, 30)),
    "RGB": (Image.new("RGB", (8, 8), (10, 200, 30)), (10, 200, 30)),
    "RGBA": (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
    "RGBA, half": (Image.new("RGBA", (8, 8), (0, 100, 200, 127)), (128, 178, 228)),
    "CMYK": (Image.new("CMYK", (8, 8), (245, 55, 225, 0)), (10, 200, 30)),
    "YCbCr": (Image.new("RGB", (8, 8), (10, 200, 30)).convert("YCbCr"), (10, 200, 30)),
    "I": (Image.new("I", (8, 8), 300), None),
    "I;16": (Image.new("I;16", (8, 8), 300), None),
    "I;16B": (Image.new("I;16B", (8, 8), 300), None),
    "F": (Image.new("F", (8, 8), 0.5), None),
}


@pytest.mark.parametrize("mode", SHOWN)
def test_every_mode_is_converted_or_refused(tmp_path: Path, mode: str) -> None:
    """TIFF holds every mode, whatever the file is called; Pillow before 13 cannot read its YCbCr in TIFF."""
    image, expected = SHOWN[mode]
    file = tmp_path / "own/train/only/i.png"
    file.parent.mkdir(parents=True)
    image.save(file, "JPEG" if mode == "YCbCr" else "TIFF")
    images = load_classes("folder:own", "train", 8, tmp_path).images
    if expected is None:
        with pytest.raises(InputError, match=f"an image of mode {mode}"):
            images[0]
        return
    assert np.abs(images[0].astype(int) - expected).max() <= 3


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), (60, 60, 60))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    colour = image.getpixel((0, 0))
    file = tmp_path / "own/train/only/i.png"
    file.parent.mkdir(parents=True)
    image.save(file, transparency=colour)
    assert load_classes("folder:own", "train", 8, tmp_path).images[0].min() == 255


def test_lab_is_converted_to_colour(tmp_path: Path) -> None:
    image_cms = pytest.importorskip("PIL.ImageCms")
    to_lab = image_cms.buildTransform(image_cms.createProfile("sRGB"), image_cms.createProfile("LAB"), "RGB", "LAB")
    file = tmp_path / "own/train/only/i.png"
    file.parent.mkdir(parents=True)
    image_cms.applyTransform(Image.new("RGB", (8, 8), (120, 140, 100)), to_lab).save(file, "TIFF")
    found = load_classes("folder:own", "train", 8, tmp_path).images[0]
    assert np.abs(found.astype(int) - (120, 140, 100)).max() <= 3


def test_images_are_decoded_only_when_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Image.open

    def counted(file: Path) -> Image.Image:
        opened.append("/".join(Path(file).parts[-2:]))
        return real(file)

    monkeypatch.setattr(Image, "open", counted)
    data = load_classes("folder:fruit", "train", 8, root)
    assert class_count(f"folder:{root}/fruit", "test") == 3
    assert opened == []
    x = gather_labelled(data, np.array([4, 0]))
    assert opened == [ORDER[4], ORDER[0]]
    assert x.shape == (2, 3, 8, 8)


def test_images_are_normalised_as_imagenet_is(root: Path) -> None:
    data = load_classes("folder:fruit", "train", 8, root)
    x = gather_labelled(data, np.array([4]))
    expected = (np.array([200, 10, 30]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(x[0].mean((1, 2)), expected, rtol=1e-5)
    unit = gather_labelled(data, np.array([4]), "unit")
    np.testing.assert_allclose(unit[0, :, 3, 5], np.array([200, 10, 30]) / 255, rtol=1e-6)
    info = dataset_info("folder:any")
    assert (info.kind, info.embedded, info.std) == ("folder", False, (0.229, 0.224, 0.225))


def test_paths_begin_at_the_data_root_or_are_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMC_SIM_DATA", str(root))
    assert class_count("folder:fruit", "train") == 3
    monkeypatch.setenv("IMC_SIM_DATA", str(root / "elsewhere"))
    assert len(load_classes(f"folder:{root}/fruit", "train").labels) == 6
    with pytest.raises(MissingDataError, match=r"no such folder .*elsewhere.*fruit.*IMC_SIM_DATA"):
        class_count("folder:fruit", "train")


def test_the_second_split_is_val_or_else_test(root: Path) -> None:
    put(root / "fruit/test/ignored/x.png", Image.new("RGB", (9, 9)))  # ImageNet's test set has no labels
    assert load_classes("folder:fruit", "test", 8, root).images[0].tolist() == [[[1, 2, 3]] * 8] * 8
    shutil.rmtree(root / "fruit/test")
    (root / "fruit/val").rename(root / "fruit/test")
    assert len(load_classes("folder:fruit", "test", 8, root).labels) == 3


def test_a_damaged_file_is_named_when_it_is_read(root: Path) -> None:
    file, data = root / "fruit/train" / ORDER[2], load_classes("folder:fruit", "train", 8, root)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"<html>", b""):
        file.write_bytes(content)
        data = load_classes("folder:fruit", "train", 8, root)
        data.images[[0, 1, 3, 4, 5]]
        with pytest.raises(InputError, match=r"a whole PNG or JPEG") as caught:
            data.images[2]
        assert caught.value.where == str(file)
    file.unlink()
    with pytest.raises(InputError, match="3.jpeg"):
        data.images[:]


def test_a_file_that_changes_in_use_is_refused(root: Path) -> None:
    """Also where its size and modification time are kept, as `cp -p` and rsync do."""
    data, file = load_classes("folder:fruit", "train", 8, root), root / "fruit/train" / ORDER[0]
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(InputError, match=r"Banana/1.png: got a file that was changed or removed"):
        data.images[0]
    assert data.images[1:].shape == (5, 8, 8, 3)


def test_levels_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mode I(;16)?; allowed"):
        one(tmp_path, Image.fromarray(np.full((8, 8), 300, np.uint16)), 8)


def _flat(root: Path) -> None:
    shutil.rmtree(root / "fruit/val")
    put(root / "fruit/val/x.png", Image.new("RGB", (9, 9)))


def _renamed(root: Path) -> None:
    (root / "fruit/val/apple").rename(root / "fruit/val/pear")


FAULTS = {
    "no folder": (lambda root: shutil.rmtree(root / "fruit"), "no such folder"),
    "no split": (lambda root: shutil.rmtree(root / "fruit/val"), "no val or test in"),
    "images without classes": (_flat, r"fruit.val: got no folder of a class"),
    "empty class": (lambda root: (root / "fruit/val/apple/x.png").unlink(), r"val.apple: got no image; .*\.png"),
    "class too few": (lambda root: shutil.rmtree(root / "fruit/val/apple"), "got with apple; allowed: the classes of"),
    "other class": (_renamed, "without pear and with apple"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_with_another_layout_is_refused(root: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    spoil(root)
    with pytest.raises(InputError, match=message):
        load_classes("folder:fruit", "test", 8, root)


def test_training_images_are_refused_where_the_test_set_has_other_classes(root: Path) -> None:
    (root / "fruit/val/apple").rename(root / "fruit/val/pear")
    with pytest.raises(
        InputError, match=r"fruit.val: got without apple and with pear; allowed: the classes of .*train"
    ):
        load_classes("folder:fruit", "train", 8, root)
    shutil.rmtree(root / "fruit/val")
    assert len(load_classes("folder:fruit", "train", 8, root).labels) == 6


def test_splits_of_a_pool_for_episodes_may_have_other_classes(root: Path) -> None:
    (root / "fruit/val/apple").rename(root / "fruit/val/pear")
    assert "pear" in load_pool("folder:fruit", "test", 8, root).class_names
    assert "pear" not in load_pool("folder:fruit", "train", 8, root).class_names


def test_names_splits_and_sizes_are_checked(root: Path) -> None:
    for size in (3, 513):
        with pytest.raises(InputError, match="4 to 512 pixels"):
            load_classes("folder:fruit", "train", size, root)
    for size in (4, 512):
        assert load_classes("folder:fruit", "train", size, root).images.shape[1] == size
    with pytest.raises(InputError, match="split of folder:fruit: got 'val'; allowed: train, test"):
        load_classes("folder:fruit", "val", 8, root)
    with pytest.raises(InputError, match="got 'valid'; allowed: train, test"):
        class_count(f"folder:{root}/fruit", "valid")
    for name in ("folder:", "fruit"):
        with pytest.raises(InputError, match=r"omniglot, .*, folder:PATH"):
            load_classes(name, "train", 8, root)
    with pytest.raises(InputError, match=r"folder:fruit.*allowed: mnist"):
        load_labelled("folder:fruit", "train", root=root)


@pytest.mark.parametrize("what", [check, fetch])
def test_a_folder_has_no_published_properties(what: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match="mnist"):
        what("folder:mine")
