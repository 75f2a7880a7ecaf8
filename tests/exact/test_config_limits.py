"""Details of specifications, their files and the code that they name: order, identity, what is left as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from imc_sim import InputError
from imc_sim._errors import ShadowedNameWarning, nearest
from imc_sim._rng import Stream, check_seed, chip_numbers
from imc_sim.array import load_chip
from imc_sim.config import (
    ARCHS,
    Effect,
    Held,
    Spec,
    beside,
    build,
    canonical_json,
    check_trusted,
    code_of,
    content_names,
    find_card,
    find_content,
    held,
    held_name,
    holding_objects,
    is_code,
    is_held,
    is_shipped,
    load_function,
    parse_setting,
    parse_yaml,
    read_yaml,
    search_folders,
    set_path,
    shipped_content,
    stored_names,
    trusting,
    write_yaml,
)
from imc_sim.config._families import _put
from imc_sim.device import Device
from imc_sim.nn.networks import arch_class

# -- numbers of chips and seeds --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [True, False, -1, 1.0, "1", None])
def test_seeds_are_whole_numbers(seed: Any) -> None:
    check_seed(0, "here")
    with pytest.raises(InputError, match=f"here, seed: got {seed!r}"):
        check_seed(seed, "here")


def test_numbers_of_chips_may_fall_and_are_never_below_0() -> None:
    assert chip_numbers(range(5, 2, -1), "here") == range(5, 2, -1)
    with pytest.raises(InputError, match="0 or more"):
        chip_numbers(range(3, -2, -1), "here")
    with pytest.raises(InputError, match="1 to 1,000,000 chips"):
        chip_numbers(range(4, 4), "here")


def test_orders_are_those_of_their_chip_and_epoch() -> None:
    stream = Stream(3, "order", "pixels")
    orders = [stream.order(9, *place).tolist() for place in ((0, 0), (1, 0), (0, 1))]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_close_names_are_listed() -> None:
    assert nearest("sigma", ["sigma_hrs", "sigmas", "other"]) == "Did you mean 'sigmas' or 'sigma_hrs'? "
    assert nearest("x", ["other"]) == ""


# -- specifications --------------------------------------------------------------------------------------------


class Inner(Effect):
    size: float = Field(default=0.0, ge=0.0)
    kind: Literal["a"] = "a"

    @property
    def is_ideal(self) -> bool:
        return self.size == 0.0


class Outer(Spec):
    count: int = 1
    name: str = "\u00e9"
    inner: Inner = Inner()
    published: float | tuple[float | None, ...] | None = None
    either: Inner | Effect | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    some: tuple[int, ...] = Field(default=(1,), min_length=1)
    names: dict[str, str] = Field(default_factory=dict)
    code: str = Field(default="a", pattern="^[a-z]$")


def test_settings_that_act_are_found_at_any_depth() -> None:
    assert Outer().acting() == Outer().to_dict() | {"inner": {"kind": "a"}}
    assert Outer(inner=Inner(size=1.0)).acting()["inner"] == {"size": 1.0, "kind": "a"}


def test_canonical_text_keeps_letters_and_sorts_keys() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "\u00e9\u03bc"}) == '{"a":"\u00e9\u03bc","b":[1,2.5]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"count": "1"}, "count: got '1'; allowed: "),
        ({"count": 1.0}, r"count: got 1\.0"),
        ({"count": True}, "count: got True"),
        ({"name": "a\x1bb"}, "text without control characters"),
        ({"name\x00": 1}, "text without control characters"),
        ({"inner": {"siz": 1.0}}, r"inner\.siz: got unknown key 'siz'.*Did you mean 'size'"),
        ({"inner": {"size": float("nan")}}, "inner.size: got nan"),
        ({"inner": 3}, "a mapping of keys to values"),
        (
            {"published": {"a": 1}},
            "published: got a mapping with the keys 'a'; allowed: a number or a list. Write one value",
        ),
        ({"published": {}}, "published: got an empty mapping; allowed: a number or a list"),
        ({"published": "a"}, "published: got 'a'; allowed: a number or a list"),
        ({"published": [0.5, {"a": 1}]}, r"published\.1: got a mapping with the keys 'a'; allowed: a number\. "),
        ({"published": [[1.0]]}, r"published\.0: got \[1.0\]; allowed: a number\."),
        ({"either": 3}, "either: got 3; allowed: a mapping of keys to values. Write `key: value` lines"),
        ({"pair": [1.0]}, r"pair\.1: got nothing; allowed: a value\. Add the value"),
        ({"some": []}, r"some: got \[\]; allowed: a list of 1 or more"),
        ({"some": {"a": 1}}, "some: got a mapping with the keys 'a'; allowed: a list"),
        ({"names": 3}, "names: got 3; allowed: a mapping of keys to values. Write `key: value` lines"),
        ({"names": {"a": {"b": 1}}}, r"names\.a: got a mapping with the keys 'b'; allowed: text\. "),
        ({"code": "A"}, r"code: got 'A'; allowed: text of the pattern '\^\[a-z\]\$'"),
    ],
)
def test_values_are_not_converted(data: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build(Outer, data, "here")


def test_a_misspelt_key_is_named_before_the_missing_one() -> None:
    data = {"device": {"g_lrs_S": 1e-4, "g_hrs": 1e-5}}
    with pytest.raises(InputError, match=r"device\.g_hrs: got unknown key.*'g_hrs_S'"):
        load_chip(data)


def test_errors_inside_an_encoding_name_the_whole_path() -> None:
    device = {"g_lrs_S": 1e-4, "g_hrs_S": 1e-5}
    with pytest.raises(InputError, match=r"encoding\.kind: got 'bnn_x'; allowed: .*Did you mean 'bnn_"):
        load_chip({"name": "c", "device": device, "encoding": {"kind": "bnn_x"}})
    with pytest.raises(InputError, match=r"encoding_multibit\.bits: got unknown key"):
        load_chip({"name": "c", "device": device, "encoding_multibit": {"kind": "sliced", "bits": 3}})


@pytest.mark.parametrize("part", ["encoding", "encoding_multibit", "programming"])
def test_another_kind_starts_without_the_keys_of_the_last_one(part: str) -> None:
    data: dict[str, Any] = {part: {"kind": "a", "of_a": 1}, "other": {"kind": "a", "of_a": 1}}
    set_path(data, f"{part}.kind", "a", "here")
    assert data[part] == {"kind": "a", "of_a": 1}
    set_path(data, f"{part}.kind", "b", "here")
    set_path(data, "other.kind", "b", "here")
    assert data == {part: {"kind": "b"}, "other": {"kind": "b", "of_a": 1}}


# -- names and YAML --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"adc": {"bits": 4}}, {"converter": {"bits": 4}}),
        ({"path": "chip.adc.bits"}, {"path": "chip.converter.bits"}),
        ({"path": "adc.bits"}, {"path": "adc.bits"}),  # of a text that is no path of a chip
        (
            {"set": {"chip.adc.bits": 4, "backend": "memtorch"}},
            {"set": {"chip.converter.bits": 4, "engine": "memtorch"}},
        ),
        ({"adcs": 1}, {"adcs": 1}),
        (["chip.backend.kind", {"adc": 1}], ["chip.engine.kind", {"converter": 1}]),
    ],
)
def test_second_names_become_stored_names(data: Any, wanted: Any) -> None:
    assert stored_names(data, "here") == wanted


@pytest.mark.parametrize("names", [("adc", "converter"), ("converter", "adc")])
def test_both_names_of_a_key_are_refused_in_any_order(names: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="one of these names"):
        stored_names(dict.fromkeys(names, 1), "here")
    assert parse_setting("chip.adc.bits=4") == ("chip.converter.bits", 4)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("t: &t {a: 1}\nu: &u {b: 2}\nx:\n  <<: *t\n  <<: *u\n  c: 3", {"a": 1, "b": 2, "c": 3}),
        ("x: [yes, no, on, true, 1e3, 017, 0x10, 1_0]", ["yes", "no", "on", True, 1000.0, 17, "0x10", "1_0"]),
        ("x: 2020-01-02", "2020-01-02"),
        ("x: .5", 0.5),
        ("x: [1e+6, 1E-6, -1e+6, +1.5e+3, 1.e2, 1e, 1e+]", [1e6, 1e-6, -1e6, 1500.0, 100.0, "1e", "1e+"]),
    ],
)
def test_documents_are_read_as_a_person_means_them(text: str, wanted: Any) -> None:
    assert parse_yaml(text)["x"] == wanted


def test_a_second_key_names_the_line_of_the_first() -> None:
    with pytest.raises(InputError, match=r"line 4: got a second 'y' \(first in line 3\)"):
        parse_yaml("a:\n  x: 1\n  y: 1\n  y: 2", "f.yaml")


@pytest.mark.parametrize("end", [".yaml", ".yml"])
def test_files_of_either_ending_are_found_by_path(end: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine{end}"
    path.write_text(CHIP.format(name="mine"))
    assert find_content("chip", str(path)) == path
    assert load_chip(str(path)).name == "mine"
    with pytest.raises(InputError, match="mine.txt"):
        find_content("chip", str(tmp_path / "mine.txt"))


def test_written_lists_of_numbers_are_one_line_and_others_are_not() -> None:
    text = write_yaml({"numbers": [1, 2.5], "flags": [True, False], "name": "\u00e9"})
    assert text == "numbers: [1, 2.5]\nflags:\n- true\n- false\nname: \u00e9\n"
    assert parse_yaml(text) == {"numbers": [1, 2.5], "flags": [True, False], "name": "\u00e9"}


@pytest.mark.parametrize(
    ("text", "wanted"), [("250 uS", 250e-6), ("3 fS", 3e-15), ("1 \u03bcS", 1e-6), ("7 nS", 7e-9), ("0.3 S", 0.3)]
)
def test_units_give_the_nearest_number(text: str, wanted: float) -> None:
    assert build(Device, {"g_lrs_S": text, "g_hrs_S": 0.0}, "device").g_lrs_S == wanted


@pytest.mark.parametrize("text", ["20", "5 m", "3e-6", "20 u", "5 V", "5 SS", "S", "5 mu S"])
def test_text_without_its_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"g_lrs_S: .*a number in S or a string such as '20 uS'"):
        build(Device, {"g_lrs_S": text, "g_hrs_S": 0.0}, "device")


# -- content by name -------------------------------------------------------------------------------------------

CHIP = "name: {name}\ndevice: {{g_lrs_S: 1.0e-4, g_hrs_S: 1.0e-5}}\n"


def test_the_working_folder_comes_before_the_path_and_that_before_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMC_SIM_PATH", os.pathsep.join(["", str(tmp_path / "a"), str(tmp_path / "b")]))
    assert [p.parent.name for p in search_folders("chip")[:3]] == [tmp_path.name, "a", "b"]
    for place in ("b", "a", "."):
        folder = tmp_path / place / "device_configs"
        folder.mkdir(parents=True)
        (folder / "ideal.yaml").write_text(CHIP.format(name=f"of {place}"))
        with pytest.warns(
            ShadowedNameWarning, match=f"'ideal' is .*{'' if place == '.' else place}/device_configs/ideal.yaml"
        ):
            assert load_chip("ideal").name == f"of {place}"
    shipped = shipped_content("chip", "ideal")
    assert shipped is not None
    assert find_content("chip", shipped) == shipped
    assert read_yaml(shipped)["name"] != "of ."
    assert content_names("chip").count("ideal") == 1
    assert is_shipped(shipped)
    (tmp_path / "link").symlink_to(shipped.parent)
    assert is_shipped(tmp_path / "link" / "ideal.yaml")
    assert is_shipped(Path(os.path.relpath(shipped)))
    for kind in ("chip", "study", "model", "training", "queue"):
        assert is_shipped(search_folders(kind)[-1] / "x.yaml")
    assert not is_shipped(tmp_path / "device_configs" / "ideal.yaml")


def test_a_card_that_was_found_may_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "model.yaml").write_text("name: mine\narch: {name: bnn_mlp, args: {inputs: 3}}\n")
    find_card("mine").data["arch"]["args"]["inputs"] = 5
    assert find_card("mine").data["arch"]["args"]["inputs"] == 3


def test_the_folder_of_a_model_to_be_trained_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"imc-sim train batmann_small_xnor --out .*batmann_small_xnor"):
        find_card(str(tmp_path / "batmann_small_xnor"))


def test_files_next_to_a_card_are_found_through_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "real" / "net.py").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    assert beside(tmp_path / "link", "../net.py").is_file()
    assert beside(tmp_path / "real" / "absent", "../net.py") == tmp_path / "real" / "net.py"


@pytest.mark.parametrize("path", [["a", "2"], ["a", "x"], ["b", "0"]])
def test_paths_into_lists_end_with_their_last_entry(path: list[str]) -> None:
    node: dict[str, Any] = {"a": [1, 2], "b": 3}
    _put(node, ["a", "1"], 5, "here")
    assert node["a"] == [1, 5]
    with pytest.raises(InputError, match="here: got"):
        _put(node, path, 1, "here")


def test_every_architecture_is_the_class_that_it_names() -> None:
    for name, entry in ARCHS.items():
        assert arch_class(name, Path()).__name__ == entry.target.partition(":")[2]
        assert not is_code(name)
    assert len({entry.target for entry in ARCHS.values()}) == len(ARCHS)


# -- objects of a session --------------------------------------------------------------------------------------


def test_objects_are_held_inside_the_block_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = held_name("my net!", "0123456789abcdef" * 4)
    assert name == "my_net_@0123456789abcdef"
    assert is_held(name)
    assert not is_held("net@0123")
    monkeypatch.setenv("IMC_SIM_HELD", "before")
    with holding_objects({name: Held(5, "d")}, tmp_path):
        assert held(name).value == 5
        assert os.environ["IMC_SIM_HELD"] == str(tmp_path)
    assert os.environ["IMC_SIM_HELD"] == "before"
    with pytest.raises(InputError, match="an object of this Python session"):
        held(name)


# -- code of the user ------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"net": "import a.b.c", "a__init": "", "a__b__c": "", "a__b": "x = 1"}, ["a/b.py", "a/b/c.py", "net.py"]),
        ({"net": "from a import b", "a__b": "", "a__other": ""}, ["a/b.py", "net.py"]),
        ({"net": "import a", "a": "import torch, os, numpy", "torch": "", "os": ""}, ["a.py", "net.py"]),
        ({"net": "if False:\n    import a", "a": "from b import c", "b": ""}, ["a.py", "b.py", "net.py"]),
        ({"net": "def f(:"}, ["net.py"]),
    ],
)
def test_files_of_imports(files: dict[str, str], wanted: list[str], tmp_path: Path) -> None:
    assert sorted(code_of("net.py:Net", write(tmp_path, **files)).files) == wanted


def test_packages_above_a_module_are_its_files_too(tmp_path: Path) -> None:
    write(tmp_path, net="from a.b import c", a__b="")
    (tmp_path / "a" / "__init__.py").write_text("")
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "__init__.py").write_text("")
    assert sorted(code_of("net.py:Net", tmp_path).files) == ["a/__init__.py", "a/b/__init__.py", "net.py"]


def test_relative_imports_of_two_levels(tmp_path: Path) -> None:
    write(tmp_path, x__y__net="from ..z import w", x__z="", z="raise ValueError")
    code = code_of("x/y/net.py:Net", tmp_path)
    assert (code.root, sorted(code.files)) == (tmp_path / "x", ["y/net.py", "z.py"])


def test_a_project_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imc_sim.config._code._MOST_FILES", 3)
    write(tmp_path, net="import a, b, c", a="", b="", c="")
    with pytest.raises(InputError, match="imports more than 3 files"):
        code_of("net.py:Net", tmp_path)


def test_code_prints_to_stderr_and_sees_no_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["imc-sim", "--flag"])
    text = "import sys\nprint(len(sys.argv))\ndef f():\n    return 1\n"
    found, file = load_function(f"{write(tmp_path, net=text) / 'net.py'}:f", "here")
    assert (found(), file) == (1, str(tmp_path / "net.py"))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "1\n")
    assert sys.argv == ["imc-sim", "--flag"]
    (tmp_path / "net.py").write_text("def f():\n    return 2\n")
    assert load_function(f"{tmp_path / 'net.py'}:f", "here")[0]() == 2


def test_an_error_in_code_names_its_innermost_line(tmp_path: Path) -> None:
    write(tmp_path, net="def g():\n    return 1 / 0\n\n\ng()\n")
    with pytest.raises(InputError, match=r"ZeroDivisionError while running .*, line 2 \(return 1 / 0\)"):
        load_function(f"{tmp_path / 'net.py'}:g", "here")


def test_trust_ends_with_its_block_and_covers_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMC_SIM_TRUST", raising=False)
    for name in ("runs/a", "models/a", "other/a", "mine/a", "runs_of_others", "models.old/a", "mine2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "models" / "a")
    for name in ("runs/a", "models/a", "linked"):
        check_trusted(tmp_path / name, "here")
    check_trusted(tmp_path, "here", "study")
    for kind, folder in (
        ("model", tmp_path),
        ("model", tmp_path / "other" / "a"),
        ("study", tmp_path / "models" / "a"),
        ("model", tmp_path / "runs_of_others"),  # only begins like a trusted one
        ("model", tmp_path / "models.old" / "a"),
    ):
        with pytest.raises(InputError, match="names code, which was not run"):
            check_trusted(folder, "here", kind)  # type: ignore[arg-type]
        with trusting(), trusting(False):  # which withdraws nothing
            check_trusted(folder, "here", kind)  # type: ignore[arg-type]
        with trusting(False), pytest.raises(InputError):
            check_trusted(folder, "here", kind)  # type: ignore[arg-type]
        with pytest.raises(InputError):
            check_trusted(folder, "here", kind)  # type: ignore[arg-type]
    monkeypatch.setenv("IMC_SIM_TRUST", os.pathsep.join([str(tmp_path / "mine"), str(tmp_path / "other")]))
    check_trusted(tmp_path / "other" / "a", "here")
    check_trusted(tmp_path / "mine" / "a", "here")
    with pytest.raises(InputError, match="names code, which was not run"):
        check_trusted(tmp_path / "mine2", "here")
