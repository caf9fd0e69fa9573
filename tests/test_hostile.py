import hostile
import pytest


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_hostile_input_is_refused_in_one_line_or_changes_nothing(kind, capsys):
    n = 150
    bad = hostile.attacked(kind, n, seed=0)
    with capsys.disabled():
        print(f"\n{kind}: {n} tried, {n - len(bad)} clean")
    assert bad == []
