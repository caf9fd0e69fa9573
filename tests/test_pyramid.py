import pytest
import torch

from lib.models.pyramid import Residual, encoder, generator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 16, 24)])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("look", [{}, {"normalised": True}, {"residual": True}])
def test_generator_and_encoder_fit_each_other(shape, stride, look):
    with torch.device("meta"):
        make, read = generator(shape, 5, 4, stride=stride, **look), encoder(shape, 5, 4, stride=stride, **look)
        images = make(torch.zeros(2, 5))
        assert images.shape == (2, *shape)
        assert read(images).shape == (2, 5)


def test_upsampling_is_a_transposed_convolution():
    """A convolution to 16 channels and a shuffle by 4 is a transposed convolution with a kernel of 12."""
    convolution = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
    x = torch.randn(2, 3, 5, 5)
    kernel = torch.zeros(3, 1, 12, 12)
    taps = convolution.weight.view(4, 4, 3, 3, 3)  # row and column within a cell, input channel, neighbour
    for row in range(3):
        for column in range(3):  # neighbour (0, 0) lies above and to the left: it reaches down and to the right
            kernel[:, 0, 8 - 4 * row : 12 - 4 * row, 8 - 4 * column : 12 - 4 * column] = taps[..., row, column].permute(
                2, 0, 1
            )
    expected = torch.nn.functional.conv_transpose2d(x, kernel, stride=4, padding=4)
    torch.testing.assert_close(torch.nn.PixelShuffle(4)(convolution(x)), expected, atol=1e-5, rtol=1e-5)


def test_a_residual_block_starts_near_the_identity():
    x = torch.randn(2, 4, 5, 5)
    assert ((Residual(4)(x) - x).norm() / x.norm()).item() < 0.1


def test_images_that_no_stride_divides_are_refused():
    with pytest.raises(ValueError, match="30 x 30 images: 4 must divide"):
        generator((1, 30, 30), 5, 4, stride=4)
