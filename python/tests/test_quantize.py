"""The residual quantizer against the formulas of HORQ (arXiv 1708.08687) in float64, values and gradients."""

import math

import pytest
import torch

from horq.nn import binarize_weight, residual_quantize, sign
from horq.nn.functional import GAUSSIAN_HALVING

RULES = ["clip", "per-order", "recursion"]


def recursion(x, order, means=None, scales=None):
    """H_k, b_k and |R_{k-1}| by the definition, one vector at a time."""
    residual, out = x.clone(), []
    for k in range(order):
        b = residual.abs().mean() if scales is None else scales[k]
        h = torch.where(residual < 0, -1.0, 1.0).to(x.dtype)
        out.append((h, b, residual.abs()))
        residual = residual - b * h
    return out


def test_sign_of_zero_is_plus_one():
    assert sign(torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40])).tolist() == [1, 1, 1, -1, 1, -1]


def test_worked_example_of_the_talk():
    x = torch.tensor([-1.1, 0.9, 0.8, 0.5], dtype=torch.double)
    w = torch.tensor([[0.8, 0.7, 0.7, 0.9]], dtype=torch.double)
    b, alpha = binarize_weight(w)
    assert alpha.item() == pytest.approx(0.775)
    estimates = [(alpha * (residual_quantize(x, k, dims=(0,))[0] * b[0]).sum()).item() for k in range(1, 5)]
    assert estimates == pytest.approx([1.27875, 1.0075, 0.81375, 0.8525])
    value, total = residual_quantize(x, 4, dims=(0,))
    assert torch.allclose(value, x)
    assert total.item() == pytest.approx(0.825 + 0.175 + 0.125 + 0.025)


@pytest.mark.parametrize("order", range(1, 9))
def test_values_follow_the_recursion(order):
    x = torch.randn(3, 50, dtype=torch.double, generator=torch.Generator().manual_seed(order))
    value, total = residual_quantize(x, order, dims=(1,))
    for row, sample in enumerate(x):
        planes = recursion(sample, order)
        assert torch.allclose(value[row], sum(b * h for h, b, _ in planes), atol=1e-12)
        assert total[row].item() == pytest.approx(sum(b for _, b, _ in planes).item())


def test_error_falls_with_the_order_and_residual_is_orthogonal():
    x = torch.randn(200, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    before = x.square().sum()
    for order in range(1, 9):
        _, b, magnitudes = recursion(x, order)[-1]
        error = (x - residual_quantize(x, order, dims=(0,))[0]).square().sum()
        assert error.item() == pytest.approx((before - len(x) * b**2).item(), rel=1e-9)
        assert ((magnitudes - b) * 1.0).sum().abs() < 1e-9
        before = error


def test_gaussian_errors_of_the_first_four_orders():
    x = torch.randn(400_000, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    errors = [
        ((x - residual_quantize(x, k, dims=(0,))[0]).square().sum() / x.square().sum()).item() for k in range(1, 5)
    ]
    assert errors == pytest.approx([0.363, 0.130, 0.058, 0.033], abs=2e-3)


def test_gaussian_errors_of_halving_scales():
    x = torch.randn(400_000, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    errors = [
        (x - residual_quantize(x, k, halving=torch.tensor(b).double())[0]).square().mean().item()
        for k, b in enumerate(GAUSSIAN_HALVING[:4], 1)
    ]
    assert errors == pytest.approx([0.363, 0.119, 0.0374, 0.0115], rel=0.01)


def test_scales_may_grow_and_orders_do_not_end():
    zeros = recursion(torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.double), 2)
    assert [b.item() for _, b, _ in zeros] == [1.0, 1.5]
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.double)
    assert (x - residual_quantize(x, 8, dims=(0,))[0]).abs().max() > 1e-3


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("mode", ["means", "fixed", "halving"])
def test_gradient_is_the_formula(rule, order, mode):
    generator = torch.Generator().manual_seed(order)
    x = (2 * torch.randn(40, dtype=torch.double, generator=generator)).requires_grad_()
    g = torch.randn(40, dtype=torch.double, generator=generator)
    start = {"fixed": [0.9, 0.5, 0.3, 0.1], "halving": [0.9]}.get(mode)
    scales = None if start is None else torch.tensor(start, dtype=torch.double, requires_grad=True)
    given = {} if scales is None else {"scales" if mode == "fixed" else mode: scales}
    value, _ = residual_quantize(x, order, **given, dims=(0,), rule=rule)
    value.backward(g)
    constants = {"fixed": start, "halving": [0.9, 0.45, 0.225, 0.1125]}.get(mode)
    planes = recursion(x.detach(), order, scales=constants)
    gates = [(magnitudes <= 1).double() for _, _, magnitudes in planes]
    expected = {
        "clip": (x.detach().abs() <= 1).double(),
        "per-order": sum(b * t for (_, b, _), t in zip(planes, gates, strict=True)),
        "recursion": 1 - math.prod([1 - b * t for (_, b, _), t in zip(planes, gates, strict=True)]),
    }[rule]
    assert torch.allclose(x.grad, g * expected)
    if mode == "fixed":
        to_scales = [(g * h).sum().item() for h, _, _ in planes] + [0.0] * (4 - order)
        assert scales.grad.tolist() == pytest.approx(to_scales)


def test_weight_gradient_is_the_one_of_xnor_net():
    w = (1.2 * torch.randn(3, 20, dtype=torch.double, generator=torch.Generator().manual_seed(3))).requires_grad_()
    g = torch.randn(3, 20, dtype=torch.double, generator=torch.Generator().manual_seed(4))
    b, alpha = binarize_weight(w)
    assert torch.equal(alpha, w.abs().mean(1))
    (alpha[:, None] * b).backward(g)
    signs = sign(w.detach())
    through = g * alpha.detach()[:, None] * (w.detach().abs() <= 1)
    assert torch.allclose(w.grad, through + signs / 20 * (g * signs).sum(1, keepdim=True))


def test_bad_arguments_are_named():
    x = torch.randn(4)
    with pytest.raises(ValueError, match="order must be an integer from 1 to 8, not 9"):
        residual_quantize(x, 9, dims=(0,))
    with pytest.raises(ValueError, match="rule must be one of clip, per-order, recursion"):
        residual_quantize(x, 1, dims=(0,), rule="ste")
    with pytest.raises(ValueError, match="either scales, halving or the dims"):
        residual_quantize(x, 1)
    with pytest.raises(ValueError, match="halving must be one value, not 2; scales takes one a plane"):
        residual_quantize(x, 1, halving=torch.ones(2))
    with pytest.raises(ValueError, match="either scales, one a plane, or halving"):
        residual_quantize(x, 1, halving=torch.ones(1), scales=torch.ones(1))
