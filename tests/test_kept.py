"""What is kept of a long computation: the same again, nothing of what fails, nothing of other inputs."""

import math

import pytest
import torch

from lib.measures.intervals import Estimate
from lib.models.kept import Keeper, pack, unpack
from lib.protocols.audit_results import Finding, Section

KINDS = (Estimate, Finding, Section)
PART = (
    Section("decoder", [Finding("a", Estimate(1.0, 0.5, 1.5, 9), (0.0, 1.0), None, "high", "reads")], 0.5),
    {"of": torch.arange(6).view(2, 3)[:, 1], "none": None},
    torch.ones(0, 2),
)


def equal(one, other):
    assert repr(one) == repr(other)


def test_what_is_unpacked_is_what_was_packed():
    equal(unpack(pack(PART), {kind.__name__: kind for kind in KINDS}), PART)
    assert math.isnan(unpack(pack([math.nan]), {})[0])


def test_a_part_is_made_once_and_read_afterwards_and_a_damaged_one_is_made_again(tmp_path):
    first = Keeper(tmp_path, {"input": 1}, KINDS)
    equal(first("part", lambda: PART), PART)
    second = Keeper(tmp_path, {"input": 1}, KINDS)
    equal(second("part", lambda: 1 / 0), PART)
    assert (first.made, first.read, second.made, second.read) == (["part"], [], [], ["part"])
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match="is damaged"):
        assert Keeper(tmp_path, {"input": 1}, KINDS)("part", lambda: 3) == 3


def test_another_input_or_another_part_is_made(tmp_path):
    Keeper(tmp_path, {"input": 1}, KINDS)("part", lambda: 1)
    assert Keeper(tmp_path, {"input": 2}, KINDS)("part", lambda: 2) == 2
    assert Keeper(tmp_path, {"input": 1}, KINDS)("another", lambda: 3) == 3


def test_what_fails_or_is_interrupted_is_not_kept(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    keeper = Keeper(tmp_path, {"input": 1}, KINDS)
    with pytest.raises(KeyboardInterrupt):
        keeper("part", interrupted)
    assert keeper("part", lambda: 2) == 2
