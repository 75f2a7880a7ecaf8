"""Metaplastic updates compared with a slow loop; layers with hidden weights, networks, norms and probes."""

import copy
import math
from functools import partial
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imc_sim import InputError, load_chip, map_model
from imc_sim.nn import Conv2d, Linear, Norm, product_layers, two_valued
from imc_sim.nn.networks import BnnConv, BnnMlp, GatedSign, calibrate_norms, load_norm_state, norm_state
from imc_sim.nn.store import ModelCard, load_model, save_model, unpack
from imc_sim.train import MetaplasticAdam, QuadraticTask, f_meta, metaplastic_groups, sign_switch
from imc_sim.train._metaplastic import _CHUNK
from tests.exact import networks

seeded = partial(networks.seeded, seed=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sampled(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


# -- the optimizer -----------------------------------------------------------------------------------------


def literal(w: list[float], grads: list[list[float]], lr: float, m: float, decay: float) -> list[list[float]]:
    """The published rule, one number after the other; return the weights of every step."""
    b1, b2, eps = 0.9, 0.999, 1e-8
    mean, square, steps = [0.0] * len(w), [0.0] * len(w), []
    for t, gradient in enumerate(grads, 1):
        for i in range(len(w)):
            g = gradient[i] + decay * w[i]
            mean[i] = b1 * mean[i] + (1 - b1) * g
            square[i] = b2 * square[i] + (1 - b2) * g * g
            step = mean[i] / (math.sqrt(square[i]) + eps)
            if w[i] * mean[i] > 0:
                step *= 1 - math.tanh(m * abs(w[i])) ** 2
            w[i] -= lr * math.sqrt(1 - b2**t) / (1 - b1**t) * step
        steps.append(list(w))
    return steps


def parameters() -> list[nn.Parameter]:
    """Return a matrix, a kernel and a vector, in double precision."""
    shapes = ((5, 7), (3, 2, 2, 2), (6,))
    return [nn.Parameter(0.2 * sampled(*shape, seed=n).double()) for n, shape in enumerate(shapes)]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_every_step_follows_the_published_rule(decay: float) -> None:
    """m is separate for each group; vectors are never damped; gradients have all sizes, some as small as epsilon."""
    params, strengths, steps = parameters(), (1.5, 8.0, 25.0), 12
    groups = [{"params": [p], "m": m} for p, m in zip(params, strengths, strict=True)]
    optimizer = MetaplasticAdam(groups, lr=0.05, weight_decay=decay)
    grads = [[sampled(*p.shape, seed=100 * n + t).double() * 10.0 ** -(3 * n) for t in range(steps)]
             for n, p in enumerate(params)]  # fmt: skip
    wanted = [
        literal(
            p.detach().flatten().tolist(), [g.flatten().tolist() for g in each], 0.05, m if p.ndim > 1 else 0, decay
        )
        for p, each, m in zip(params, grads, strengths, strict=True)
    ]
    for t in range(steps):
        for n, p in enumerate(params):
            p.grad = grads[n][t].clone()
        optimizer.step()
        for n, p in enumerate(params):
            expected = torch.tensor(wanted[n][t], dtype=torch.float64).reshape(p.shape)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-11, atol=1e-13)


def test_epsilon_is_added_before_the_bias_correction() -> None:
    """Where gradients are as small as epsilon the first step differs from that of torch."""
    ours, other = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    for p, kind in ((ours, MetaplasticAdam), (other, torch.optim.Adam)):
        p.grad = torch.full((4, 4), 1e-8)
        kind([p], lr=0.1).step()
    correction = math.sqrt(1 - 0.999)
    assert float(ours.detach()[0, 0]) == pytest.approx(1 - 0.1 * correction / (correction + 1), rel=1e-5)
    assert float(other.detach()[0, 0]) == pytest.approx(1 - 0.1 / 2, rel=1e-5)


def test_without_metaplasticity_it_is_adam() -> None:
    ours, other = (nn.Parameter(sampled(40, 30)) for _ in range(2))
    optimizers = (
        # Epsilon is so small that its position makes no difference.
        MetaplasticAdam([ours], lr=1e-2, weight_decay=0.1, eps=1e-20),
        torch.optim.Adam([other], lr=1e-2, weight_decay=0.1, eps=1e-20),
    )
    for t in range(20):
        for p, optimizer in zip((ours, other), optimizers, strict=True):
            p.grad = sampled(40, 30, seed=t)
            optimizer.step()
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


@hypothesis.given(m=st.floats(0.01, 200.0), scale=st.floats(1e-3, 30.0), seed=st.integers(0, 1000))
@hypothesis.settings(max_examples=30)
def test_growth_is_never_damped_and_no_step_is_reversed(m: float, scale: float, seed: int) -> None:
    damped, plain = (nn.Parameter(scale * sampled(8, 9, seed=seed)) for _ in range(2))
    start = damped.detach().clone()
    for p, strength in ((damped, m), (plain, 0.0)):
        p.grad = sampled(8, 9, seed=seed + 1)
        MetaplasticAdam([p], lr=1e-3, m=strength).step()
    moves = [(p.detach() - start) * start.sign() for p in (damped, plain)]
    outwards = moves[1] > 0
    assert torch.equal(damped[outwards], plain[outwards])
    assert bool((moves[0][~outwards] <= 0).all())
    assert bool((moves[0][~outwards] >= moves[1][~outwards]).all())


def test_f_meta_is_one_at_zero_and_falls_on_both_sides() -> None:
    w = torch.linspace(-2, 2, 41, dtype=torch.float64)
    torch.testing.assert_close(f_meta(w, 1.35), 1 / torch.cosh(1.35 * w) ** 2)
    assert torch.equal(f_meta(w, 0.0), torch.ones(41, dtype=torch.float64))
    assert bool((f_meta(w[20:], 1.0).diff() < 0).all())


def test_large_tensors_in_parts_and_strided_ones_in_one_are_the_same() -> None:
    whole = nn.Parameter(0.1 * sampled(3, _CHUNK // 2 + 7))
    turned = nn.Parameter(whole.detach().mT.contiguous().mT)
    assert not turned.is_contiguous()
    for t in range(3):
        for p in (whole, turned):
            p.grad = sampled(*p.shape, seed=t)
    optimizers = [MetaplasticAdam([p], m=3.0, weight_decay=0.01) for p in (whole, turned)]
    for optimizer in optimizers * 3:
        optimizer.step()
    torch.testing.assert_close(whole.detach(), turned.detach(), rtol=1e-6, atol=1e-8)


def test_a_stored_state_continues_to_the_same_bits(tmp_path: Path) -> None:
    def steps(p: nn.Parameter, optimizer: MetaplasticAdam, some: range) -> None:
        for t in some:
            p.grad = sampled(6, 5, seed=t)
            optimizer.step()

    whole, parts = (nn.Parameter(0.1 * sampled(6, 5)) for _ in range(2))
    steps(whole, MetaplasticAdam([whole], m=2.0), range(9))
    first = MetaplasticAdam([parts], m=2.0)
    steps(parts, first, range(4))
    torch.save(first.state_dict(), tmp_path / "state")
    second = MetaplasticAdam([parts], m=0.5)
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    steps(parts, second, range(4, 9))
    assert torch.equal(whole, parts)


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"m": -0.1}, {"eps": 0.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -1}]
)
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        MetaplasticAdam([nn.Parameter(torch.ones(2, 2))], **wrong)


def test_groups_give_each_layer_its_own_strength() -> None:
    model = BnnMlp(6, (5,), 3)
    groups = metaplastic_groups(model, (1.0, 2.0))
    assert [g["m"] for g in groups] == [1.0, 2.0, 0.0]
    assert groups[1]["params"][0] is product_layers(model)[1].weight
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert [g["m"] for g in metaplastic_groups(model, 3.0)] == [3.0, 3.0, 0.0]
    with pytest.raises(InputError, match="2, one per product layer"):
        metaplastic_groups(model, (1.0,))


# -- layers and networks -----------------------------------------------------------------------------------


def test_hidden_weights_count_by_their_signs_and_get_their_gradient() -> None:
    for layer, x in ((Linear(5, 4, "latent", bias=False), sampled(3, 5)),
                     (Conv2d(2, 4, 3, "latent", bias=False, padding=1), sampled(3, 2, 5, 5))):  # fmt: skip
        with torch.no_grad():
            layer.weight.mul_(50)  # beyond 1, where other policies pass no gradient
        signs = layer.weight.detach().sign().requires_grad_()
        upstream = 100 * sampled(*layer(x).shape, seed=7)
        y = layer(x)
        torch.testing.assert_close(y, layer.product(x, signs))
        y.backward(upstream)
        layer.product(x, signs).backward(upstream)
        assert torch.equal(layer.weight.grad, signs.grad)  # type: ignore[arg-type]
        before = layer.weight.detach().clone()
        layer.constrain()
        assert torch.equal(before, layer.weight)


def test_the_sign_passes_gradients_up_to_one_inclusive() -> None:
    x = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.7, 1.0, 1.00001], requires_grad=True)
    y = GatedSign()(x)
    y.backward(torch.arange(1.0, 8.0))
    assert y.tolist() == [-1, -1, -1, -1, 1, 1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize(
    ("hidden", "weights", "norms"),
    [((4096, 4096), 20_029_440, 16_404), ((2048, 2048), 5_820_416, None), ((1024, 1024), 1_861_632, None),
     ((512, 512), 668_672, None)],
)  # fmt: skip
def test_published_sizes_of_the_mlp(hidden: tuple[int, ...], weights: int, norms: int | None) -> None:
    with torch.device("meta"):
        model = BnnMlp(784, hidden)
    found = sum(layer.weight.numel() for layer in product_layers(model))
    assert found == weights
    if norms is not None:
        assert sum(p.numel() for p in model.parameters()) - found == norms


@pytest.mark.parametrize(
    ("channels", "parameters"), [((1, 12, 20, 30), 14_832), ((1, 10, 15, 20), 8_160), ((1, 6, 10, 15), 4_056)]
)
def test_published_sizes_of_the_convolutional_network(channels: tuple[int, ...], parameters: int) -> None:
    model = BnnConv(channels)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert [tuple(layer.weight.shape) for layer in product_layers(model)][-1] == (10, 4 * channels[-1])


def by_hand(model: BnnMlp, x: Tensor) -> Tensor:
    """Run the network in training as the paper describes it, on its weights."""
    layers = product_layers(model)
    for n, layer in enumerate(layers):
        x = x @ layer.weight.detach().sign().T
        x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
        x = x.sign() if n < len(layers) - 1 else x
    return x


def test_the_mlp_equals_the_published_one() -> None:
    model, x = seeded(BnnMlp, 12, (9, 8), 4), sampled(50, 12)
    assert isinstance(model, BnnMlp)
    torch.testing.assert_close(model(x), by_hand(model, x), rtol=1e-4, atol=1e-4)
    assert model(x.reshape(50, 1, 3, 4)).shape == (50, 4)
    signs = seeded(BnnMlp, 12, (9, 8), 4, binary_inputs=True)
    torch.testing.assert_close(signs(x), by_hand(model, x.sign()), rtol=1e-4, atol=1e-4)
    low, high = (product_layers(seeded(BnnMlp, 12, (9,), 4, init_width=w))[0].weight.abs().max() for w in (0.1, 1.0))
    assert low < 0.05 < 0.4 < high < 0.5


def test_statistics_scale_and_kind_of_norm_act() -> None:
    x = sampled(20, 12)
    running, batch = (seeded(BnnMlp, 12, (9,), 4, statistics=s).eval() for s in ("running", "batch"))
    assert not torch.allclose(running(x), batch(x))
    assert torch.equal(batch(x), batch.train()(x))
    assert len(list(BnnMlp(12, (9,), 4, affine=False).parameters())) == 2
    alone = seeded(BnnMlp, 12, (9,), 4, norm="instance").eval()
    torch.testing.assert_close(alone(x)[:1], alone(x[:1]))
    assert float(alone(x).detach().mean(1).abs().max()) < 1e-5
    other = seeded(BnnMlp, 12, (9,), 4, kind="float")
    assert [layer.policy for layer in product_layers(other)] == ["float", "float"]
    assert float(other.act[0](x).detach().min()) == 0


@pytest.mark.parametrize(
    ("kind", "args", "match"),
    [(BnnMlp, {"kind": "binry"}, "Did you mean 'binary'"), (BnnMlp, {"norm": "layer"}, "instance"),
     (BnnMlp, {"hidden": (0,)}, "1 or more"), (BnnMlp, {"init_width": 0.0}, "above 0"),
     (BnnMlp, {"kind": "float", "binary_inputs": True}, "binary_inputs"), (BnnConv, {"kernels": (4,)}, "kernel"),
     (BnnConv, {"size": 5}, "larger images")],
)  # fmt: skip
def test_wrong_arguments_are_refused(kind: type, args: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        kind(**args)


def test_convolutions_see_bits_of_grey_levels_and_small_images_on_black() -> None:
    model, x = seeded(BnnConv, (1, 4, 6), (4, 4), size=12), torch.rand(8, 1, 12, 12, generator=generator())
    x[x < 0.5] = 0
    assert isinstance(model, BnnConv)
    assert torch.equal(model(x), model(3 * x))
    assert torch.equal(model(x[..., 2:-2, 2:-2]), model(F.pad(x[..., 2:-2, 2:-2], (2, 2, 2, 2))))
    conv, x0 = model.conv[0], (x > 0).float()
    assert isinstance(conv, Conv2d)
    wanted = F.avg_pool2d(F.conv2d(x0, conv.weight.sign(), padding=1), 2)
    seen: list[Tensor] = []
    model.norm[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x)
    assert torch.equal(seen[0], wanted)
    grey = seeded(BnnConv, (1, 4, 6), (4, 4), size=12, binary_inputs=False)
    assert not torch.allclose(grey(x), model(x))
    with pytest.raises(InputError, match="12 x 12"):
        model(sampled(1, 1, 13, 13))


def test_norms_are_stored_and_restored() -> None:
    model, x = seeded(BnnMlp, 12, (9,), 4), sampled(30, 12)
    with torch.no_grad():
        model(x)
        first, before = norm_state(model), model.eval()(x)
        model.train()
        for n in range(5):
            model(3 * sampled(30, 12, seed=n) + 1)
        model.norm[0].weight.mul_(-2)  # type: ignore[index]
        assert not torch.equal(model.eval()(x), before)
        load_norm_state(model, first)
        assert torch.equal(model(x), before)
    assert len(first) == 8
    with pytest.raises(InputError, match="norm_state"):
        load_norm_state(BnnMlp(12, (8,), 4), first)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_calibrated_norms_are_those_of_all_images_for_any_batches(kind: str) -> None:
    x = torch.rand(90, 1, 12, 12, generator=generator()) - 0.2
    made = seeded(BnnMlp, 144, (20, 10), 5) if kind == "mlp" else seeded(BnnConv, (1, 4, 6), (4, 4), size=12)
    whole, parts = made, copy.deepcopy(made)
    calibrate_norms(whole, [x])
    calibrate_norms(parts, [x[:13], x[13:60], x[60:]])
    assert whole.training
    with torch.no_grad():
        logits = whole.eval()(x)
        torch.testing.assert_close(parts.eval()(x), logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits.mean(0), torch.zeros(logits.shape[1]), rtol=0, atol=1e-5)
        torch.testing.assert_close(logits.std(0, unbiased=False), torch.ones(logits.shape[1]), rtol=1e-3, atol=0)
        # Each norm behind calibrated ones: one big batch in training gives the same.
        torch.testing.assert_close(whole.train()(x), logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="list of batches"):
        calibrate_norms(whole, iter([x]))


def test_batch_statistics_become_running_ones() -> None:
    model = seeded(BnnMlp, 12, (9,), 4, statistics="batch")
    calibrate_norms(model, [sampled(40, 12)])
    assert {m.statistics for m in model.modules() if isinstance(m, Norm)} == {"running"}
    one = sampled(1, 12, seed=3)
    assert bool(model.eval()(one).isfinite().all())


# -- chips -------------------------------------------------------------------------------------------------

NETS: dict[str, tuple[str, dict]] = {
    "real": ("bnn_mlp", {"inputs": 144, "hidden": [30, 20], "classes": 5}),
    "signs": ("bnn_mlp", {"inputs": 144, "hidden": [30, 20], "classes": 5, "binary_inputs": True}),
    "conv": ("bnn_conv", {"channels": [1, 4, 6], "kernels": [4, 4], "classes": 5, "size": 12}),
}


def ready(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network with norms of these images."""
    arch, args = NETS[name]
    x = torch.rand(40, 1, 12, 12, generator=generator())
    x[x < 0.4] = 0
    model = seeded(BnnMlp if arch == "bnn_mlp" else BnnConv, **args)
    calibrate_norms(model, [x])
    return model.eval(), x


@pytest.mark.parametrize("encoding", ["differential", "bnn_i", "tnn_i"])
@pytest.mark.parametrize("name", NETS)
def test_an_ideal_chip_gives_the_digital_logits_to_the_bit(name: str, encoding: str) -> None:
    model, x = ready(name)
    chip = load_chip("ideal").replace("encoding", {"kind": encoding}).replace("tile.rows", 10)
    for sigma in (0.0, 1e-30):  # the latter sends every product through the tiles
        analog = map_model(model, chip.replace("device.read.sigma", sigma), chips=2)
        with torch.no_grad():
            y = model(x)
            assert torch.equal(analog(x), y.expand(2, -1, -1))
    kinds = [row.encoding for row in analog.report.layers]
    special = {"real": [0], "signs": [], "conv": [0, 1]}[name] if encoding == "bnn_i" else []
    special = [0] if name == "real" and encoding == "tnn_i" else special
    assert kinds == ["differential" if n in special else encoding for n in range(3)]


def test_inputs_other_than_specified_are_refused() -> None:
    chip = load_chip("ideal")
    for promised, good, bad in (("bits", [0.0, 1.0], [-1.0, 1.0]), ("signs", [-1.0, 1.0], [0.0, 1.0])):
        layer = Linear(2, 3, "latent", bias=False).eval()
        layer.inputs = promised  # type: ignore[assignment]
        analog = map_model(nn.Sequential(layer), chip)
        assert torch.equal(analog(torch.tensor([good]))[0], layer(torch.tensor([good])))
        with pytest.raises(InputError, match="layer '0', inputs"):
            analog(torch.tensor([bad]))


@pytest.mark.parametrize("name", NETS)
def test_a_stored_network_is_bits_and_computes_the_same(name: str, tmp_path: Path) -> None:
    model, x = ready(name)
    arch, args = NETS[name]
    card = ModelCard.model_validate({"name": "m", "summary": "t", "arch": {"name": arch, "args": args}})
    save_model(tmp_path / "m", model, card)
    forms = [entry["form"] for entry in unpack(tmp_path / "m" / "weights.safetensors")[1].values()]
    assert forms == ["bits"] * 3
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "m")(x), model(x))


# -- probes ------------------------------------------------------------------------------------------------


def test_the_published_quadratic_task_converges_as_published() -> None:
    """The coordinate whose optimum is outside of the cube moves away steadily, the other oscillates about 0."""
    h = torch.tensor([[2.4047, 0.2158], [0.2158, 0.7733]], dtype=torch.float64)
    assert torch.linalg.eigvalsh(h).tolist() == pytest.approx([0.7452, 2.4328], abs=1e-4)
    task = QuadraticTask(h, torch.tensor([1.5, 0.5], dtype=torch.float64))
    path = task.path(torch.tensor([0.01, 0.02]), 0.35, 500)
    away, about = path[:, 0], path[:, 1]
    assert path.shape == (501, 2)
    assert float(about.abs().max()) < 1
    assert float(about[-100:].sign().mean().abs()) < 0.9
    assert {-1.0, 1.0} == set(about[-100:].sign().tolist())
    # In a steady state the mean of the second sign makes its gradient zero: 0.2158 (1 - 1.5) + 0.7733 (s - 0.5) = 0.
    s = 0.5 + 0.2158 * 0.5 / 0.7733
    pace = 0.35 * (2.4047 * 0.5 - 0.2158 * (s - 0.5))
    assert float(away[-1] - away[-201]) / 200 == pytest.approx(pace, rel=0.02)
    assert float(away[-1]) == pytest.approx(500 * pace, rel=0.02)


def test_the_cost_of_flips_is_that_of_the_loss_and_grows_with_the_weight() -> None:
    task = QuadraticTask.random([0.5 + n / 50 for n in range(50)], seed=3)
    assert float(task.optimum.abs().max()) < 4
    torch.testing.assert_close(torch.linalg.eigvalsh(task.hessian)[0], torch.tensor(0.5, dtype=torch.float64))
    w = task.path(torch.zeros(50), 0.1, 2000)[-1]
    costs = task.flip_increases(w)
    for d in range(0, 50, 7):
        other = w.clone()
        other[d] = -other[d]
        assert float(costs[d]) == pytest.approx(float(task.loss(other) - task.loss(w)), rel=1e-9)
    order = w.abs().argsort()
    assert float(costs[order[-10:]].mean()) > float(costs[order[10:20]].mean()) > float(costs[order[:10]].mean())
    assert torch.corrcoef(torch.stack([w.abs(), costs]))[0, 1] > 0.9
    assert not torch.equal(task.optimum, QuadraticTask.random([0.5 + n / 50 for n in range(50)], seed=4).optimum)


def test_flipped_signs_of_a_layer_cost_the_increase_of_the_loss() -> None:
    model, x = ready("real")
    labels = torch.arange(40) % 5
    layer = product_layers(model)[1]
    with torch.no_grad():
        layer.weight.flatten()[::50] *= 10
        layer.weight.flatten()[7::50] = 0  # counts as -1, and flips to +1
    before = layer.weight.detach().clone()
    batches = [(x[:15], labels[:15]), (x[15:], labels[15:])]
    found = sign_switch(model, "fc.1", batches, flips=600, bins=1, draws=2)
    assert torch.equal(before, layer.weight)
    (every,) = found
    assert every.candidates == 600
    turned = copy.deepcopy(model)
    with torch.no_grad():
        product_layers(turned)[1].weight.copy_(-two_valued(before))
        losses = [float(F.cross_entropy(net(x).double(), labels)) for net in (model, turned)]
    assert every.increases.tolist() == pytest.approx([(losses[1] - losses[0]) / 600] * 2, rel=1e-9)
    assert every.deviation == pytest.approx(0)
    assert every.magnitude == pytest.approx(float(before.abs().mean() / before.abs().max()))
    some = sign_switch(model, "fc.1", batches, flips=5, bins=10, draws=4)
    assert [row.candidates >= 5 for row in some] == [True] * len(some)
    assert [row.magnitude for row in some] == sorted(row.magnitude for row in some)
    assert len(some) < 10  # ten weights are much larger than all others, and ranges between are empty
    assert len(set(some[0].increases.tolist())) > 1
    assert some[0].mean != sign_switch(model, "fc.1", batches, flips=5, bins=10, draws=4, seed=1)[0].mean
    with pytest.raises(InputError, match="latent"):
        sign_switch(model, "norm.0", batches, flips=5)
