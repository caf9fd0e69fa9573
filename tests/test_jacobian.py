import subprocess
import sys

import pytest
import torch
from conftest import affine, sphere, torus

from lib.measures.jacobian import central_difference, jacobian, singular_system, singular_values
from lib.models.convolutional import ConvVAE

SHAPES = [(5, 3), (3, 3), (3, 5), (1, 4), (4, 1)]


@pytest.mark.parametrize(("pixels", "latent"), SHAPES)
def test_the_jacobian_of_an_affine_map_is_its_matrix(pixels, latent):
    decoder, matrix = affine(pixels, latent)
    z = torch.randn(7, latent)
    torch.testing.assert_close(jacobian(decoder, z), matrix.expand(7, -1, -1))


@pytest.mark.parametrize(("pixels", "latent"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_of_an_affine_map_are_those_of_its_matrix(pixels, latent, dtype):
    decoder, matrix = affine(pixels, latent)
    z = torch.randn(7, latent, dtype=dtype)
    values = singular_values(decoder, z)
    assert values.dtype == dtype
    torch.testing.assert_close(values, torch.linalg.svdvals(matrix).to(dtype).expand(7, -1))


def test_singular_values_of_a_degenerate_map_are_zero_beyond_its_rank():
    decoder, _ = affine(8, 5, rank=2)
    values = singular_values(decoder, torch.randn(3, 5))
    assert (values[:, 1] > 1e-3).all()
    torch.testing.assert_close(values[:, 2:], torch.zeros(3, 3))


def test_the_sphere_has_the_singular_values_one_and_sin_theta():
    theta = torch.tensor([0.3, 1.0, 1.5])
    values = singular_values(sphere, torch.stack([theta, torch.randn(3)], dim=1))
    torch.testing.assert_close(values, torch.stack([torch.ones(3), theta.sin()], dim=1))


def test_forward_mode_agrees_with_central_differences_to_their_order():
    z = torch.randn(6, 2)
    errors = [(central_difference(torus, z, eps) - jacobian(torus, z)).norm() for eps in (1e-2, 1e-3)]
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.01)  # second order


def test_central_differences_of_a_quadratic_map_are_exact():
    z = torch.randn(4, 3)
    torch.testing.assert_close(central_difference(torch.square, z, 0.5), jacobian(torch.square, z))


def test_chunks_do_not_change_the_result():
    z = torch.randn(11, 2)
    for chunk in (1, 4, 11, 100):
        assert torch.equal(jacobian(torus, z, chunk=chunk), jacobian(torus, z))


def test_outputs_of_any_shape_are_flattened():
    network = ConvVAE((1, 8, 8), latent=3, width=2, hidden=8, variance=0.1).eval()
    result = jacobian(network.generate, torch.randn(5, 3))
    assert result.shape == (5, 64, 3)
    assert not result.requires_grad


def test_a_network_agrees_with_reverse_mode():
    network = ConvVAE((1, 8, 8), latent=3, width=2, hidden=8, variance=0.1).eval()
    z = torch.randn(2, 3)
    for point, forward in zip(z, jacobian(network.generate, z), strict=True):
        reverse = torch.autograd.functional.jacobian(lambda one: network.generate(one[None])[0].flatten(), point)
        torch.testing.assert_close(forward, reverse)


@pytest.mark.parametrize(("pixels", "latent"), [(6, 4), (3, 5)])
def test_singular_vectors_are_stretched_by_the_singular_values(pixels, latent):
    decoder, matrix = affine(pixels, latent)
    system = singular_system(decoder, torch.randn(2, latent))
    torch.testing.assert_close(system.vectors @ system.vectors.mT, torch.eye(latent).expand(2, -1, -1))
    torch.testing.assert_close(system.values, torch.linalg.svdvals(matrix).expand(2, -1))
    stretched = (system.vectors @ matrix.T).norm(dim=2)
    expected = torch.nn.functional.pad(system.values, (0, latent - system.values.shape[1]))
    torch.testing.assert_close(stretched, expected, atol=1e-6, rtol=1e-6)


def test_device_and_shape_follow_the_latents_without_any_data():
    network = ConvVAE((1, 8, 8), latent=3, width=2, hidden=8, variance=0.1).to("meta").eval()
    z = torch.empty(4, 3, device="meta")
    assert torch.func.vmap(torch.func.jacfwd(lambda one: network.generate(one[None])[0]))(z).device.type == "meta"
    assert central_difference(network.generate, z, 1e-2).device.type == "meta"


def test_a_decoder_that_mixes_the_batch_is_refused():
    mixing = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).train()
    with pytest.raises((RuntimeError, ValueError)):
        jacobian(mixing, torch.randn(5, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jacobian(torus, torch.zeros(3, 2), chunk=0), "chunk must be at least 1, got 0"),
        (lambda: jacobian(lambda z: z / 0, torch.ones(3, 2)), "not finite at 3 of 3 points"),
        (lambda: central_difference(torus, torch.zeros(3, 2), 0.0), "eps must be positive, got 0.0"),
        (lambda: jacobian(torus, torch.zeros(0, 2)), r"at least one of each, got \[0, 2\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_jacobians_of_all_points_never_stand_in_memory_together():
    # Those of 1,000 points would take 0.3 GB. This decoder is cheap; the convolutional one is in benchmarks/.
    script = (
        "import torch, resource\n"
        "from lib.measures.density import log_density\n"
        "decoder = torch.nn.Sequential(torch.nn.Linear(100, 784), torch.nn.Tanh())\n"
        "z = torch.randn(1000, 100)\n"
        "log_density(decoder, z[:100], 14)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert log_density(decoder, z, 14).shape == (1000,)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 1e8
