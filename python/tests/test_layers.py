"""The layers against plain loops over windows, and training mode against eval mode."""

import itertools

import pytest
import torch

from horq import nn as hn

MODES = ["window", "image", "fixed", "none", "halving"]


def scales_of(values, order, constants):
    """Planes of one group of values by the definition: [(H_k, b_k)]."""
    residual, out = values.clone(), []
    for k in range(order):
        b = (residual.abs().mean() if len(residual) else residual.sum()) if constants is None else constants[k]
        h = torch.where(residual < 0, -1.0, 1.0).to(values.dtype)
        out.append((h, b))
        residual = residual - b * h
    return out


def constants_of(layer):
    """b_1.. of the layer's running order, by its mode; None where they are means."""
    if layer.scale_mode == "halving":
        b = layer.scales[layer.order - 1 if layer.own_scales else 0]
        return [b / 2**k for k in range(8)]
    return {"fixed": layer.scales, "none": [1.0] * 8}.get(layer.scale_mode)


def convolve(layer, x):
    """HorqConv2d by its definition, a window at a time."""
    n, channels, height, width = x.shape
    (kh, kw), (sv, sh), (pv, ph), (dv, dh) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    rows, columns = (height + 2 * pv - dv * (kh - 1) - 1) // sv + 1, (width + 2 * ph - dh * (kw - 1) - 1) // sh + 1
    constants = constants_of(layer)
    out = x.new_zeros(n, layer.out_channels, rows, columns)
    width_of_group, filters = channels // layer.groups, layer.out_channels // layer.groups
    for s, f, r, c in itertools.product(range(n), range(layer.out_channels), range(rows), range(columns)):
        group = f // filters
        image = None if layer.scale_mode == "window" else scales_of(x[s].flatten(), layer.order, constants)
        taps = []
        for i, j in itertools.product(range(kh), range(kw)):
            at = (r * sv - pv + i * dv, c * sh - ph + j * dh)
            taps.append((i, j, at if 0 <= at[0] < height and 0 <= at[1] < width else None))
        inside = [
            x[s, group * width_of_group : (group + 1) * width_of_group, a, b]
            for _, _, at in taps
            if at
            for a, b in [at]
        ]
        own = scales_of(torch.cat(inside) if inside else x.new_zeros(0), layer.order, constants)
        total = 0.0
        for k in range(layer.order):
            product, used = 0.0, 0
            for i, j, at in taps:
                signs = torch.where(layer.weight[f, :, i, j] < 0, -1.0, 1.0).to(x.dtype)
                if at is None:
                    product = product + (signs.sum() if layer.padding_mode == "one" else 0.0)
                    continue
                if image is None:
                    h = own[k][0][used : used + width_of_group]
                    used += width_of_group
                else:
                    plane = image[k][0].view(channels, height, width)
                    h = plane[group * width_of_group : (group + 1) * width_of_group, at[0], at[1]]
                product = product + (signs * h).sum()
            total = total + (own if image is None else image)[k][1] * product
        out[s, f, r, c] = layer.weight[f].abs().mean() * total + (0 if layer.bias is None else layer.bias[f])
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2), "groups": 2},
        {"kernel_size": 1, "groups": 3, "padding": 1},
    ],
)
def test_convolution_is_the_definition(mode, padding_mode, shape):
    torch.manual_seed(0)
    layer = hn.HorqConv2d(6, 6, order=3, scale_mode=mode, padding_mode=padding_mode, bias=True, **shape).double()
    with torch.no_grad():
        layer.bias.copy_(torch.randn(6))
    x = torch.randn(2, 6, 5, 6, dtype=torch.double)
    with torch.no_grad():
        for order in (3, 1):
            layer.order = order
            expected = convolve(layer, x)
            assert torch.allclose(layer.train()(x), expected, atol=1e-12)
            assert torch.allclose(layer.eval()(x), expected, atol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("rule", ["clip", "per-order", "recursion"])
@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
@pytest.mark.parametrize(
    "shape", [{"padding": 1}, {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2), "groups": 2}]
)
def test_windows_go_back_by_the_rule(order, rule, padding_mode, shape):
    """Each window's gradient by its own gates, put together by `fold`."""
    torch.manual_seed(6)
    layer = hn.HorqConv2d(
        4, 6, 3, order=order, scale_mode="window", gradient=rule, padding_mode=padding_mode, **shape
    ).double()
    x = (0.7 * torch.randn(2, 4, 5, 6, dtype=torch.double)).requires_grad_()
    y = layer(x)
    g = torch.randn_like(y)
    y.backward(g)

    geometry = {"kernel_size": 3, "dilation": layer.dilation, "padding": layer.padding, "stride": layer.stride}
    groups = layer.groups
    windows = torch.nn.functional.unfold(x.detach(), **geometry).unflatten(1, (groups, -1))  # [n, g, c taps, l]
    inside = torch.nn.functional.unfold(torch.ones_like(x), **geometry).unflatten(1, (groups, -1))
    residual, product, gate, sums = windows.clone(), torch.ones_like(windows), torch.zeros_like(windows), 0.0
    planes = torch.zeros_like(windows)
    for _ in range(order):
        b = (residual.abs() * inside).sum(2, keepdim=True) / inside.sum(2, keepdim=True).clamp(min=1)
        h = torch.where(residual < 0, -1.0, 1.0).double()
        share = b * (residual.abs() <= 1)
        gate, product, sums, planes = gate + share, product * (1 - share), sums + b, planes + b * h
        residual = residual - b * h
    gate = {"clip": (windows.abs() <= 1).double(), "per-order": gate, "recursion": 1 - product}[rule]
    planes = torch.where(inside > 0, planes, sums) if padding_mode == "one" else planes * inside

    g = g.flatten(2).unflatten(1, (groups, -1))  # [n, g, f, l]
    signs = torch.where(layer.weight < 0, -1.0, 1.0).double().flatten(1).unflatten(0, (groups, -1))
    alpha = layer.weight.detach().abs().flatten(1).mean(1).view(groups, -1, 1)
    back = gate * torch.einsum("gfr,ngfl->ngrl", alpha * signs, g)
    assert torch.allclose(x.grad, torch.nn.functional.fold(back.flatten(1, 2), (5, 6), **geometry), atol=1e-12)
    of_signs = torch.einsum("ngfl,ngrl->gfr", g, planes)
    of_alpha = (of_signs * signs).sum(2, keepdim=True) / signs.shape[2]
    expected = alpha * of_signs + of_alpha * signs  # all |W| are below 1
    assert torch.allclose(layer.weight.grad, expected.flatten(0, 1).view_as(layer.weight), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_linear_is_the_definition(mode):
    torch.manual_seed(1)
    layer = hn.HorqLinear(37, 5, 4, mode, bias=True).double()
    x = torch.randn(3, 37, dtype=torch.double)
    constants = constants_of(layer)
    with torch.no_grad():
        b, alpha = hn.binarize_weight(layer.weight)
        rows = [sum(s * (b @ h) for h, s in scales_of(row, 4, constants)) * alpha + layer.bias for row in x]
        assert torch.allclose(layer.train()(x), torch.stack(rows), atol=1e-12)
        assert torch.allclose(layer.eval()(x), torch.stack(rows), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gradient", ["clip", "per-order", "recursion"])
def test_training_lowers_a_loss(mode, gradient):
    torch.manual_seed(2)
    net = torch.nn.Sequential(
        hn.HorqConv2d(4, 8, 3, padding=1, order=2, scale_mode=mode, gradient=gradient),
        hn.BatchNorm2d(8),
        torch.nn.Flatten(),
        hn.HorqLinear(8 * 36, 3, 2, mode, gradient),
    )
    x, labels = torch.randn(24, 4, 6, 6), torch.arange(24) % 3
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hn.clip_weights_(net)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_eval_sums_in_the_order_of_the_engine():
    """Magnitudes whose f32 sum depends on the order: lanes first, then the tree, then one division."""
    x = torch.randn(1, 61, generator=torch.Generator().manual_seed(5)) * 10 ** torch.linspace(-4, 4, 61)
    lanes = [torch.zeros(()) for _ in range(16)]
    for j, value in enumerate(x[0].abs()):
        lanes[j % 16] = lanes[j % 16] + value
    for half in (8, 4, 2, 1):
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    layer = hn.HorqLinear(61, 1, 1, "image").eval()
    with torch.no_grad():
        layer.weight.fill_(1.0)
        d = (61 - 2 * (x < 0).sum()).float()
        assert layer(x).item() == (1.0 * (lanes[0] / 61 * d)).item()


def test_orders_are_a_dial():
    layer = hn.HorqLinear(20, 4, 3)
    x = torch.randn(2, 20)
    highest = layer(x)
    hn.set_order(layer, 1)
    assert not torch.equal(layer(x), highest)
    hn.set_order(layer, 8)
    assert layer.order == 3
    assert torch.equal(layer(x), highest)
    layer.order = 4
    with pytest.raises(ValueError, match="order must be an integer from 1 to 3, not 4"):
        layer(x)


@pytest.mark.parametrize("own_scales", [False, True])
def test_a_dial_of_halving_scales_trains_at_every_order(own_scales):
    torch.manual_seed(4)
    layer = hn.HorqConv2d(3, 4, 3, padding=1, order=4, scale_mode="halving", own_scales=own_scales).double()
    assert layer.scales.shape == ((4,) if own_scales else (1,))
    x = torch.randn(2, 3, 5, 5).double()
    for order in (1, 2, 3, 4):
        hn.set_order(layer, order)
        expected = convolve(layer, x)
        assert torch.allclose(layer.train()(x), expected, atol=1e-12)
        assert torch.allclose(layer.eval()(x), expected, atol=1e-12)
        layer.scales.grad = None
        layer.train()(x).square().sum().backward()
        reached = layer.scales.grad.nonzero().flatten().tolist()
        assert reached == [order - 1 if own_scales else 0]


def test_planes_of_one_halving_scale_are_the_first_of_a_higher_order():
    layer, x = hn.HorqLinear(50, 1, 4, "halving"), torch.randn(3, 50)
    planes = {}
    for order in (2, 4):
        hn.set_order(layer, order)
        planes[order] = hn.exact.planes(x, order, layer._constants(), None)
    assert all(torch.equal(h, other) for (h, _), (other, _) in zip(planes[2], planes[4], strict=False))


def test_halving_scales_sum_as_whole_numbers():
    """More than 24 bits of a sum: one rounding of S, not one a plane, and (alpha (b / 2^(K-1))) S in that order."""
    n = 3 * 2**20
    layer = hn.HorqLinear(n, 1, 3, "halving").eval()
    with torch.no_grad():
        layer.weight.fill_(0.7)
        layer.scales.fill_(0.9)
        x = torch.full((1, n), 5.0)
        x[0, 0] = 0.5  # q = 3 = 2 * 2 - 1 there, 7 elsewhere
        whole = 7 * (n - 1) + 3
        expected = (layer.alpha() * (layer.scales / 4)) * torch.tensor(float(whole))
        assert layer(x).item() == expected.item()


def test_halving_scales_start_from_data():
    torch.manual_seed(7)
    net = torch.nn.Sequential(
        hn.HorqConv2d(3, 8, 3, order=3, scale_mode="halving"),
        hn.BatchNorm2d(8),
        hn.HorqConv2d(8, 4, 3, order=2, scale_mode="halving", own_scales=True),
        hn.image8(hn.HorqConv2d(4, 4, 1, order=8, scale_mode="halving"), 4),
    ).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = 3 * torch.randn(64, 3, 12, 12)
    hn.start_scales_(net, [x])
    assert net[0].scales.item() == pytest.approx(x.abs().mean().item() * 1.172 / 0.798, rel=1e-5)
    assert net[2].scales.tolist() == pytest.approx([0.8, 1.0], rel=0.1)  # behind a batch norm
    assert net[3][1].scales.item() == 128
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.endswith("scales"))
    assert not any(part.training for part in net.modules())
    with pytest.raises(ValueError, match="no batches to start scales from"):
        hn.start_scales_(net, [])


def test_batch_norm_evaluates_as_an_affine_map():
    norm = hn.BatchNorm2d(3)
    norm(torch.randn(50, 3, 4, 4) * 3 + 1)
    norm.eval()
    x = torch.randn(2, 3, 4, 4)
    plain = torch.nn.BatchNorm2d(3)
    plain.load_state_dict(norm.state_dict())
    assert torch.allclose(norm(x), plain.eval()(x), atol=1e-6)


def test_weights_are_clipped():
    net = torch.nn.Sequential(hn.HorqLinear(4, 4), torch.nn.Linear(4, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3.0)
    hn.clip_weights_(net)
    assert net[0].weight.max() == 1
    assert net[1].weight.max() == 3


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="order must be an integer from 1 to 8, not 0"):
        hn.HorqLinear(4, 4, 0)
    with pytest.raises(ValueError, match="scale_mode must be one of window, image, fixed, none, halving, not 'row'"):
        hn.HorqLinear(4, 4, 1, "row")
    with pytest.raises(ValueError, match="own_scales gives each order a b of its own, which scale_mode 'halving' has"):
        hn.HorqLinear(4, 4, own_scales=True)
    with pytest.raises(ValueError, match="padding_mode must be one of valid-taps, one, not 'zeros'"):
        hn.HorqConv2d(4, 4, 3, padding_mode="zeros")
    with pytest.raises(ValueError, match="3 groups do not divide"):
        hn.HorqConv2d(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match=r"HorqLinear takes \[N, 4\], not \[2, 5\]"):
        hn.HorqLinear(4, 4)(torch.randn(2, 5))


@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
def test_the_gradient_of_a_halving_scale_is_that_of_the_step_of_lsq(padding_mode):
    """Esser et al., equation 3, for each value of the padded image; a padded place stands for the highest level."""
    torch.manual_seed(5)
    layer = hn.HorqConv2d(3, 4, 3, padding=1, order=3, scale_mode="halving", padding_mode=padding_mode).double().train()
    x, g = torch.randn(2, 3, 5, 5).double(), torch.randn(2, 4, 5, 5).double()
    (layer(x) * g).sum().backward()
    b, top = layer.scales.item(), layer.scales.item() * 1.75
    levels = ((x.clamp(-top, top) / b * 2).floor() * 0.5 + 0.25) * b  # the middle of each step of b / 2
    levels = levels.clamp(-top, top)
    slopes = torch.where(x.abs() <= top, (levels - x) / b, x.sign() * 1.75)
    slopes = torch.nn.functional.pad(slopes, (1, 1, 1, 1), value=1.75 if padding_mode == "one" else 0.0)
    with torch.no_grad():
        per_level = torch.nn.functional.conv2d(slopes, layer._binarized())
    expected = (per_level * g).sum().item() / (3 * 5 * 5 * 7) ** 0.5
    assert layer.scales.grad.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("padding_mode", ["valid-taps", "one"])
def test_the_gradient_of_the_last_scale_is_the_finite_difference(padding_mode):
    torch.manual_seed(3)
    layer = hn.HorqConv2d(3, 4, 3, padding=1, order=2, padding_mode=padding_mode).double().train()
    x, g = torch.randn(2, 3, 5, 5).double(), torch.randn(2, 4, 5, 5).double()

    def loss(step):
        with torch.no_grad():
            layer.scales[1] += step
        return (layer(x) * g).sum()

    loss(0).backward()
    with torch.no_grad():
        numeric = (loss(1e-3) - loss(-2e-3)) / 2e-3  # linear: no sign depends on the last scale
    assert layer.scales.grad[1].item() == pytest.approx(numeric.item(), rel=1e-9)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (1, 1), ((5, 3), (1, 2)), (2, 2)])
def test_padding_in_words_is_that_of_torch(kernel, dilation):
    """Where both sides get the same, as torch.nn.Conv2d pads; elsewhere it is refused when the layer is made."""
    x = torch.randn(1, 2, 7, 8)
    for word in ("same", "valid"):
        layer = hn.HorqConv2d(2, 3, kernel, padding=word, dilation=dilation)
        plain = torch.nn.Conv2d(2, 3, kernel, padding=word, dilation=dilation)
        assert layer(x).shape == plain(x).shape
        assert all(isinstance(size, int) for size in layer.padding)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"padding": "same", "stride": 2}, "'same' with stride 1"),
        ({"padding": "same", "kernel_size": 2}, "odd kernel"),
        ({"padding": "full"}, "padding must be numbers, 'valid', or 'same'"),
        ({"padding": -1}, "padding must be an integer of at least 0, not -1"),
        ({"padding": (1, 1, 1, 1)}, "padding must be one number or"),
        ({"padding": 1.0}, "padding must be an integer"),
        ({"padding": None}, "padding must be an integer"),
        ({"kernel_size": 0}, "kernel_size must be an integer of at least 1"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be one number or"),
        ({"kernel_size": "33"}, "kernel_size must be an integer"),
        ({"stride": 0}, "stride must be an integer of at least 1"),
        ({"stride": (1, True)}, "stride must be an integer"),
        ({"dilation": (1, 0)}, "dilation must be an integer of at least 1"),
        ({"groups": 0}, "groups must be an integer of at least 1"),
        ({"groups": 1.0}, "groups must be an integer"),
        ({"in_channels": 0}, "in_channels must be an integer of at least 1"),
        ({"out_channels": -2}, "out_channels must be an integer of at least 1"),
        ({"order": 0}, "order must be an integer from 1 to 8"),
    ],
)
def test_options_of_a_convolution_are_checked_when_it_is_made(options, words):
    with pytest.raises(ValueError, match=words):
        hn.HorqConv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **options})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: hn.HorqLinear(0, 2), "in_features must be"),
        (lambda: hn.HorqLinear(2, 2.5), "out_features must be"),
        (lambda: hn.Shift(0), "channels must be"),
        (lambda: hn.RPReLU(-1), "channels must be"),
        (lambda: hn.image8(hn.HorqLinear(4, 2, 8), 0), "channels must be"),
        (lambda: hn.image8(hn.HorqLinear(4, 2, 8), 4, white=0), "white must be"),
        (lambda: hn.image8(hn.HorqLinear(4, 2, 8), 4, white=float("nan")), "white must be"),
        (lambda: hn.Int8(torch.nn.Linear(2, 2), float("nan"), 1), "must be finite"),
    ],
)
def test_options_of_other_layers_are_checked_when_they_are_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()
