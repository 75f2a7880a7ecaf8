"""Published properties of the real sets; skipped where they are missing."""

import functools
import itertools
import random

import numpy as np
import pytest

from imc_sim.data import _check, _fingerprint, _omniglot, check, digests_of, foreign_digests, load_labelled, load_pool


@pytest.fixture(scope="module", autouse=True)
def read():
    """Read each labelled set once for all tests, from its published files."""
    once = functools.cache(lambda name, split, root: load_labelled(name, split, root, cached=False))
    with pytest.MonkeyPatch.context() as patch:
        for module in (_check, _fingerprint):
            patch.setattr(module, "load_labelled", lambda name, split, root, **_: once(name, split, root))
        yield once


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "usps", "cifar10"])
def test_a_labelled_set_has_the_published_counts_levels_and_checksums(name, real_root):
    report = check(name, real_root(name))
    assert report.problems == ()
    assert report.ok
    official = [v for k, v in report.facts.items() if k.startswith("md5")]
    if name in {"mnist", "fashion_mnist"}:
        assert len(official) == 4
        assert all(v.endswith("(official)") for v in official)


@pytest.mark.parametrize("name", ["omniglot", "mnist", "fashion_mnist", "usps", "cifar10"])
def test_a_published_set_is_identified_by_its_name(name, real_root):
    """Its digests are the official ones, so ids of trials on it do not contain them."""
    splits = ("background", "evaluation") if name == "omniglot" else ("train", "test")
    found = digests_of([f"{name} {split}" for split in splits], real_root(name))
    assert len(found) == 2
    assert foreign_digests(found) == {}


def test_cifar_channels_are_red_green_blue(real_root, read):
    images = read("cifar10", "train", real_root("cifar10")).images
    mean = images.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(mean, [125.3069, 122.9504, 113.8654], atol=1e-3)


@pytest.fixture
def two_alphabets(tmp_path, monkeypatch):
    """Decode the images of Latin and Tibetan only; the digests above cover those of all."""
    whole = _omniglot._decode

    def decode(file, size):
        return whole(file, size) if file.parts[-3] in ("Latin", "Tibetan") else np.zeros((size, size), np.uint8)

    monkeypatch.setattr(_omniglot, "_decode", decode)
    monkeypatch.setenv("IMC_SIM_CACHE", str(tmp_path))


@pytest.mark.usefixtures("two_alphabets")
def test_omniglot_splits_have_the_published_sizes(real_root):
    root = real_root("omniglot")
    splits = ("background", "evaluation", "pooled_train", "pooled_fit", "pooled_validation", "pooled_test")
    pools = {split: load_pool("omniglot", split, root=root) for split in splits}
    assert [pools[s].shape for s in splits] == [(964, 20), (659, 20), (964, 20), (864, 20), (100, 20), (659, 20)]
    names = {s: pools[s].class_names for s in splits}
    assert names["pooled_fit"] + names["pooled_validation"] == names["pooled_train"]
    expected = sorted(names["background"] + names["evaluation"])
    random.Random(806).shuffle(expected)
    assert list(names["pooled_train"] + names["pooled_test"]) == expected
    assert len({n.split("/")[0] for n in names["background"]}) == 30
    for split, alphabet in itertools.product(("pooled_test", "pooled_validation"), ("Latin", "Tibetan")):
        place, name = next((k, n) for k, n in enumerate(names[split]) if n.startswith(alphabet))
        part = "background" if name in names["background"] else "evaluation"
        images = pools[split].images[place]
        assert images.any()
        np.testing.assert_array_equal(images, pools[part].images[names[part].index(name)])
    assert (pools["pooled_test"].mean, pools["pooled_test"].std) == (0.92206, 0.08426)


@pytest.mark.usefixtures("two_alphabets")
def test_a_second_start_of_omniglot_reads_no_image(real_root, monkeypatch):
    root = real_root("omniglot")
    first = load_pool("omniglot", "evaluation", root=root).images
    monkeypatch.setattr("imc_sim.data._omniglot.read_part", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(first, load_pool("omniglot", "evaluation", root=root).images)
