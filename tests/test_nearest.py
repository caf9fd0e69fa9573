import pytest
import torch

from lib.measures.nearest import comparable, nearest


def test_distances_are_those_of_sorted_differences():
    x, among = torch.randn(2, 40, 7)
    distances, which = nearest(x, among, 3)
    expected = (x[:, None] - among).norm(dim=2).sort(1)
    torch.testing.assert_close(distances, expected.values[:, :3])
    assert torch.equal(which, expected.indices[:, :3])


def test_a_copy_is_at_zero_also_in_single_precision_and_far_from_the_origin():
    x = torch.rand(100, 784).float() + 1000
    assert nearest(x, x, 1)[0].max() == 0
    assert torch.cdist(x, x).diagonal().max() > 0.01  # what the expanded square makes of it


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_blocks_do_not_matter(chunk):
    x = torch.randn(40, 3)
    without = torch.arange(40)
    for found, expected in zip(
        nearest(x, x, 2, chunk=chunk, without=without), nearest(x, x, 2, without=without), strict=True
    ):
        assert torch.equal(found, expected)


def test_itself_can_be_left_out_and_its_double_stays():
    x = torch.tensor([[0.0], [0.0], [5.0]])
    distances, which = nearest(x, x, 1, without=torch.arange(3))
    assert distances.flatten().tolist() == [0, 0, 5]
    assert which.flatten().tolist()[:2] == [1, 0]
    assert nearest(x, x, 2, without=torch.arange(3))[0].tolist() == [[0, 5], [0, 5], [5, 5]]  # all others
    assert nearest(x[:1], x, 3)[0].tolist() == [[0, 0, 5]]


def test_bad_input_is_refused():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"neighbours must be in 1\.\.3, got 4"):
        nearest(x, x, 4)
    with pytest.raises(ValueError, match=r"neighbours must be in 1\.\.2, got 3"):
        nearest(x, x, 3, without=torch.arange(3))
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        nearest(x, x, 1, chunk=0)
    with pytest.raises(ValueError, match="4 or more samples are needed, got 3"):
        comparable(("samples", x, 4))
    with pytest.raises(ValueError, match=r"training images are \[3\], samples are \[2\]"):
        comparable(("samples", x, 1), ("training images", torch.zeros(3, 3), 1))
    with pytest.raises(ValueError, match="1 of 3 samples are not finite"):
        comparable(("samples", torch.tensor([[0.0], [torch.nan], [1.0]]), 1))
