import subprocess
import sys

import jaxtyping
import pytest
import torch
from conftest import affine, sphere, torus

from lib.measures import jacobian as module
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


def test_a_chunk_fits_three_mebibytes_of_jacobian(monkeypatch):
    sizes = []
    whole = module._jacobian
    monkeypatch.setattr(module, "_jacobian", lambda decoder, part: sizes.append(len(part)) or whole(decoder, part))
    decoder = lambda z: z.repeat(1, 16)  # noqa: E731
    jacobian(decoder, torch.randn(13, 64))  # 64 x 1024 numbers of 8 bytes, half a mebibyte each
    assert sizes == [6, 6, 1]
    sizes.clear()
    monkeypatch.setattr(module, "BUDGET", 8)
    jacobian(decoder, torch.randn(3, 64))
    assert sizes == [1, 1, 1]


def test_small_singular_values_keep_their_digits_in_double_precision():
    scale = torch.tensor([1.0, 1e-10, 1e-5])
    values = singular_values(lambda z: z * scale, torch.zeros(1, 3))
    torch.testing.assert_close(values, torch.tensor([[1.0, 1e-5, 1e-10]]), rtol=1e-6, atol=0)


def test_a_degenerate_map_has_no_nan_in_single_precision():
    decoder, _ = affine(20, 8, rank=2)
    values = singular_values(lambda z: decoder(z).tanh() @ torch.ones(20, 3).float(), torch.randn(200, 8).float())
    assert values.isfinite().all()
    values = singular_values(lambda z: decoder(z).repeat(1, 3), torch.randn(200, 8).float())
    assert values.isfinite().all()


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
        (lambda: jacobian(torch.sqrt, torch.tensor([[0.0], [1.0], [0.0], [4.0]])), "not finite at 2 of 4 points"),
        (lambda: central_difference(torus, torch.zeros(3, 2), 0.0), "eps must be positive, got 0.0"),
        (lambda: jacobian(torus, torch.zeros(0, 2)), r"at least one of each, got \[0, 2\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_latents_that_are_no_matrix_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
    for measure in (jacobian, lambda decoder, z: central_difference(decoder, z, 0.1)):
        with pytest.raises(ValueError, match=r"\[batch, latent\] with at least one of each, got \[3\]"):
            measure(torch.sin, torch.zeros(3))


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
