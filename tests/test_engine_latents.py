"""Densities of richer latents, flows, layers, codes; and objectives over them."""

import math

import pytest
import torch

from skvae._engine import codebook
from skvae._engine.aggregate import fit_classes
from skvae._engine.codebook import (
    CodeLatent,
    CodeMixture,
    Codes,
    UniformCodes,
)
from skvae._engine.distributions import Gaussian, GaussianMixture
from skvae._engine.flows import Flow, Transformed
from skvae._engine.hierarchy import LayeredLatent
from skvae._engine.latents import GaussianLatent
from skvae._engine.networks import Layout, Noise
from skvae._engine.objectives import Dreg, Elbo, Iwae, Terms, log_mean_exp
from skvae._engine.priors import (
    N_PSEUDO_INPUTS,
    FlowPrior,
    StandardNormal,
    VampPrior,
    gaussian_from,
)

E, S, N, L = 2, 5, 3, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def weights(layout, scale=1.0, seed=0):
    """Views of random weights, so that no net is as it begins."""
    flat = layout.initial(E, generator(seed)).double()
    return layout.views(flat + scale * 0.3 * normal(*flat.shape, seed=seed + 1))


# -- flows -----------------------------------------------------------------------


def flow(n_components=L, n_context=0, scale=1.0):
    layout = Layout()
    made = Flow(layout, n_components, "tanh", n_context)
    return made, weights(layout, scale)


def test_the_encoder_steers_the_flow_of_a_posterior():
    """Rows with the same mean and variance of the base have other draws."""
    layout = Layout()
    steered = Flow(layout, L, "tanh", n_context=3)
    w = weights(layout, 1.0)
    latent = GaussianLatent(L, StandardNormal(L), steered)
    assert latent.n_encoded == 2 * L + 3
    encoded = normal(E, 1, latent.n_encoded, seed=1).repeat(1, 2, 1)
    encoded[:, 1, 2 * L :] += 1.0
    z = latent.posterior(w, encoded, None).at(normal(1, S, 1, L, seed=2))
    assert ((z[:, :, 0] - z[:, :, 1]).abs().amax((1, 2)) > 0.1).all()


@pytest.mark.parametrize("n_components", [2, 3, 4])
@pytest.mark.parametrize("n_context", [0, 2])
def test_a_flow_is_undone_by_its_inverse(n_components, n_context):
    made, w = flow(n_components, n_context)
    u = normal(E, S, N, n_components, seed=3)
    context = [normal(E, N, n_context, seed=4)] if n_context else []
    z = made.forward(w, u, context)
    assert (z - u).abs().max() > 0.5  # it does something
    back, _ = made.inverse(w, z, context)
    torch.testing.assert_close(back, u, rtol=1e-9, atol=1e-9)


def test_the_slope_of_a_flow_is_the_determinant_of_its_jacobian():
    made, w = flow()
    u = normal(E, 1, 1, L, seed=3)
    jacobian = torch.autograd.functional.jacobian(lambda v: made.forward(w, v, []), u)
    z = made.forward(w, u, [])
    _, log_slope = made.inverse(w, z, [])
    for e in range(E):
        _, expected = torch.linalg.slogdet(jacobian[e, 0, 0, :, e, 0, 0])
        torch.testing.assert_close(-log_slope[e].sum(), expected)


def test_the_density_of_a_flow_has_mass_one():
    made, w = flow(2, scale=0.2)
    zeros = torch.zeros(E, 1, 2, dtype=torch.float64)
    density = Transformed(Gaussian(zeros, zeros), made, w)
    axis = torch.linspace(-25, 25, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).view(1, -1, 1, 2).expand(E, -1, -1, -1)
    mass = density.log_prob(grid).exp().sum((1, 2)) * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=0.01)


# -- layers ----------------------------------------------------------------------


def layers(sizes=(3, 2, 1)):
    layout = Layout()
    latent = LayeredLatent(layout, sizes, "tanh")
    return latent, weights(layout)


def test_layers_draw_from_their_density():
    """log p(z) at noise e is -(e^2 + log 2 pi) / 2 less the log of the scale."""
    latent, w = layers()
    prior = latent.prior(w, [], None)
    noise = normal(1, S, N, 6, seed=3)
    z = prior.at(noise)
    assert z.shape == (E, S, N, 6)
    torch.testing.assert_close(z[..., 5:], noise[..., 5:].expand(E, -1, -1, -1))
    low = latent.layer(w, 0, z[..., 3:])
    expected = (z[..., :3] - low.mean) / (0.5 * low.log_var).exp()
    torch.testing.assert_close(expected, noise[..., :3].expand(E, -1, -1, -1))
    middle = latent.layer(w, 1, z[..., 5:])
    log_scale = 0.5 * torch.cat([low.log_var, middle.log_var], dim=-1)
    log_scale = torch.cat([log_scale, torch.zeros_like(z[..., 5:])], dim=-1)
    log_prob = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_scale
    torch.testing.assert_close(prior.log_prob_each(z), log_prob)


def test_the_posterior_of_a_layer_is_the_product_of_evidence_and_layers_above():
    latent, w = layers((2, 1))
    encoded = normal(E, N, 6, seed=5)
    posterior = latent.posterior(w, encoded, None)
    z = posterior.at(normal(1, S, N, 3, seed=3))
    evidence, said = gaussian_from(encoded), latent.layer(w, 0, z[..., 2:])
    precision = (-evidence.log_var[..., :2]).exp().unsqueeze(1) + (-said.log_var).exp()
    pulled = (evidence.mean * (-evidence.log_var).exp())[..., :2].unsqueeze(1)
    mean = (pulled + said.mean * (-said.log_var).exp()) / precision
    expected = torch.distributions.Normal(mean, precision.rsqrt()).log_prob(z[..., :2])
    torch.testing.assert_close(posterior.log_prob_each(z)[..., :2], expected)


def test_the_divergence_of_layers_is_the_mean_of_the_log_ratio():
    """4096 draws against the closed form in each layer: within 5 standard errors."""
    latent, w = layers((2, 1))
    posterior = latent.posterior(w, normal(E, N, 6, seed=5), None)
    prior = latent.prior(w, [], None)
    z = posterior.at(normal(1, 4096, N, 3, seed=3))
    closed = posterior.kl_each(prior, z)
    ratio = posterior.log_prob_each(z) - prior.log_prob_each(z)
    error = ratio.std(1) / 64
    assert (closed - ratio.mean(1)).abs().lt(5 * error).all()
    assert (closed > 0).all()


def test_layers_against_a_mixture_have_no_negative_divergence():
    """From the top down each term is the mean of a divergence: 4096 draws, 5 errors."""
    latent, w = layers((2, 1))
    posterior = latent.posterior(w, normal(E, N, 6, seed=5), None)
    mixture = GaussianMixture(
        torch.tensor([[0.2, 0.3, 0.5]]).double().log().expand(E, -1),
        2 * normal(E, 3, 3, seed=6),
        normal(E, 3, 3, seed=7),
    )
    z = posterior.at(normal(1, 4096, N, 3, seed=3))
    each = posterior.kl_each(mixture, z)
    ratio = posterior.log_prob(z) - mixture.log_prob(z)
    torch.testing.assert_close(each.sum(-1), ratio.mean(1))
    own = posterior.log_prob_each(z) - mixture.log_prob_each(z)
    error = own.std(1) / 64
    assert (each > -5 * error).all()
    # the other order splits the sum in another way
    assert ((each - own.mean(1)).abs() > 5 * error).any()


# -- codes -----------------------------------------------------------------------

M = 2


def code_latent():
    layout = Layout()
    latent = CodeLatent(layout, M * codebook.WIDEST)
    return latent, layout, weights(layout, scale=0.0)


def all_codes(book):
    """Every combination of codes of two positions: (E, K * K, 1, L)."""
    k = torch.arange(codebook.N_CODES)
    index = torch.cartesian_prod(k, k).view(1, -1, 1, 2).expand(E, -1, -1, -1)
    return book.look_up(index)


def test_masses_of_codes_add_up_to_one():
    latent, _, w = code_latent()
    book = latent.book(w)
    posterior = Codes(book, normal(E, 1, 4, seed=2), w[latent.spread] + 0.1, False)
    table = normal(E, 3, M, codebook.N_CODES, seed=4).log_softmax(-1)
    mixture = CodeMixture(book, normal(E, 3, seed=5).log_softmax(-1), table)
    for density in (posterior, UniformCodes(book), mixture):
        mass = density.log_prob(all_codes(book)).exp().sum((1, 2))
        torch.testing.assert_close(mass, torch.ones_like(mass))


def test_a_vector_that_stands_twice_in_the_book_is_one_code():
    """Else draws fall on both, and each is taken for as likely as one of them."""
    latent, _, w = code_latent()
    half = codebook.N_CODES // 2
    w[latent.vectors][:, :, half:] = w[latent.vectors][:, :, :half]
    book = latent.book(w)
    posterior = Codes(book, normal(E, 1, 4, seed=2), w[latent.spread] + 0.1, False)
    k = torch.arange(half)
    index = torch.cartesian_prod(k, k).view(1, -1, 1, 2).expand(E, -1, -1, -1)
    mass = posterior.log_prob(book.look_up(index)).exp().sum((1, 2))
    torch.testing.assert_close(mass, torch.ones_like(mass))


@pytest.mark.parametrize("which", ["posterior", "uniform", "mixture"])
def test_draws_of_codes_have_their_probabilities(which):
    """40 000 draws of the first position: within 0.012, over 4 errors of any code."""
    latent, _, w = code_latent()
    book = latent.book(w)
    table = (2 * normal(E, 3, M, codebook.N_CODES, seed=4)).log_softmax(-1)
    density = {
        "posterior": Codes(
            book, normal(E, 1, 4, seed=2), w[latent.spread] + 0.3, False
        ),
        "uniform": UniformCodes(book),
        "mixture": CodeMixture(book, normal(E, 3, seed=5).log_softmax(-1), table),
    }[which]
    n = 40_000
    whole = density.log_prob(all_codes(book)).exp().view(E, codebook.N_CODES, -1)
    for z in (density.at(normal(1, n, 1, 4)), density.sample(n, 1, generator())):
        index = book.nearest(z)[..., 0].flatten(1)
        for e in range(E):
            share = torch.bincount(index[e], minlength=codebook.N_CODES) / n
            torch.testing.assert_close(
                share.double(), whole[e].sum(-1), rtol=0, atol=0.012
            )


def test_in_training_the_nearest_code_passes_its_gradient_to_the_encoder():
    latent, _, w = code_latent()
    encoded = normal(E, N, 4, seed=2).requires_grad_()
    posterior = latent.posterior(w, encoded, Noise(generator()))
    z = posterior.at(normal(1, S, N, 4))
    torch.testing.assert_close(z[:, 0].detach(), posterior.nearest().detach())
    direction = normal(E, S, N, 4, seed=7)
    (gradient,) = torch.autograd.grad((z * direction).sum(), encoded)
    torch.testing.assert_close(gradient, direction.sum(1))
    # the cost of commitment pulls the encoder's output to the code
    cost = posterior.cost(UniformCodes(latent.book(w)), z)
    (pull,) = torch.autograd.grad(cost.sum(), encoded)
    gap = encoded - posterior.nearest()
    torch.testing.assert_close(pull, (2 * codebook.COMMITMENT * gap).detach())


def test_codes_move_to_the_means_of_their_rows_and_dead_ones_start_anew():
    latent, layout, _ = code_latent()
    flat = layout.initial(E, generator()).double()
    rows = 3.0 + 0.1 * normal(E, 256, 4, seed=1)  # far from most codes at the start
    noise = Noise(generator())
    for _ in range(200):
        posterior = latent.posterior(layout.views(flat), rows, noise)
        latent.after_step(flat, posterior, torch.ones(E, 256).double(), noise)
    w = layout.views(flat)
    posterior = latent.posterior(w, rows, None)
    in_use = posterior.index()[0, :, 0].unique()
    assert len(in_use) > 16
    for code in in_use[:4]:
        own = rows[0, posterior.index()[0, :, 0] == code, :2]
        torch.testing.assert_close(
            w[latent.vectors][0, 0, code], own.mean(0), rtol=0, atol=0.05
        )


def test_rows_without_weight_move_no_codes_and_start_none():
    latent, layout, _ = code_latent()
    flat = layout.initial(E, generator()).double()
    rows = normal(E, 256, 4, seed=1)
    rows[:, 128:] += 50.0
    weight = torch.ones(E, 256).double()
    weight[:, :128], weight[:, 128:] = 2.0, 0.0
    noise = Noise(generator())
    for _ in range(200):
        posterior = latent.posterior(layout.views(flat), rows, noise)
        latent.after_step(flat, posterior, weight, noise)
    w = layout.views(flat)
    assert w[latent.vectors].abs().max() < 10.0
    # nor do they widen the codes: the spread is that of the others about theirs
    away = (posterior.encoded - posterior.nearest())[:, :128].square()
    assert (w[latent.spread] < 10.0 * away.mean()).all()


def test_classes_of_codes_are_found():
    """Two classes whose positions agree: their joint, not the product of margins."""
    first = torch.rand(2000, generator=generator()) < 0.5
    index = torch.where(first, 0, 1).view(1, -1, 1).expand(1, -1, 2)
    log_weight, log_table = fit_classes(
        index, 4, torch.ones(2000).double(), generator()
    )
    joint = torch.einsum(
        "c,cj,ck->jk", log_weight[0].exp(), log_table[0, :, 0].exp(),
        log_table[0, :, 1].exp(),
    )  # fmt: skip
    expected = torch.zeros(4, 4).double()
    expected[0, 0], expected[1, 1] = first.double().mean(), 1 - first.double().mean()
    torch.testing.assert_close(joint, expected, rtol=0, atol=0.03)


# -- priors ----------------------------------------------------------------------


def test_the_vampprior_is_the_mixture_of_posteriors_of_its_inputs_and_n01():
    layout = Layout()
    prior = VampPrior(
        layout, L, torch.ones(2 * L), lambda w, inputs: gaussian_from(inputs)
    )
    w = weights(layout)
    z = normal(E, S, N, L, seed=3)
    posteriors = gaussian_from(w[prior.inputs])  # (E, K, L)
    zeros = torch.zeros(E, 1, L).double()
    log_var = posteriors.log_var + w[prior.width]
    parts = [
        Gaussian(posteriors.mean[:, k : k + 1], log_var[:, k : k + 1])
        for k in range(N_PSEUDO_INPUTS)
    ] + [Gaussian(zeros, zeros)]
    odds = torch.cat([w[prior.weight].exp(), zeros[:, 0, :1] + math.exp(6.0)], dim=1)
    share = (odds / odds.sum(1, keepdim=True)).log().T[:, :, None, None]
    expected = (share + torch.stack([p.log_prob(z) for p in parts])).logsumexp(0)
    torch.testing.assert_close(prior(w, [], None).log_prob(z), expected)


def test_the_vampprior_begins_as_n01_for_the_most_part():
    layout = Layout()
    prior = VampPrior(
        layout, L, torch.ones(2 * L), lambda w, inputs: gaussian_from(inputs)
    )
    w = layout.views(layout.initial(E, generator()).double())
    share = prior(w, [], None).log_weight.exp()
    torch.testing.assert_close(
        share[:, -1], torch.full((E,), 0.863).double(), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(share.sum(1), torch.ones(E).double())


def test_a_flow_prior_begins_near_the_standard_normal():
    layout = Layout()
    prior = FlowPrior(layout, L, "tanh")
    w = layout.views(layout.initial(E, generator()).double())
    z = normal(E, S, N, L, seed=3)
    zeros = torch.zeros(E, 1, L).double()
    plain = Gaussian(zeros, zeros).log_prob(z)
    torch.testing.assert_close(prior(w, [], None).log_prob(z), plain, rtol=0, atol=0.5)


# -- objectives ------------------------------------------------------------------


def terms_of(mean, log_var, theta, noise):
    """p(z) = N(0, 1), p(x | z) = N(z + theta, 1) at x = 1, q free: one dimension."""
    posterior = Gaussian(mean, log_var)
    zeros = torch.zeros_like(mean)
    z = posterior.at(noise)
    log_lik = -0.5 * (1.0 - z - theta).square().sum(-1)
    return Terms(log_lik, z, posterior, Gaussian(zeros, zeros))


def gradients(objective, n_draws, n_replicates, seed=0):
    """Gradients for the mean of q and for theta, (R, 2): R replicates as rows."""
    mean = torch.full((1, n_replicates, 1), 0.2).double().requires_grad_()
    log_var = torch.zeros_like(mean)
    theta = torch.full((1, 1, n_replicates, 1), 0.1).double().requires_grad_()
    noise = normal(1, n_draws, n_replicates, 1, seed=seed)
    terms = terms_of(mean, log_var, theta, noise)
    loss = objective(terms, torch.tensor(1.0), torch.ones(1, n_replicates))
    found = torch.autograd.grad(loss.sum() * n_replicates, [mean, theta])
    return torch.stack([g.flatten() for g in found], dim=1)


def test_doubly_reparameterised_gradients_have_the_same_mean():
    """Both parameters, 100 000 replicates: within 5 standard errors of each other."""
    n = 100_000
    plain, double = (gradients(o, 5, n) for o in (Iwae(), Dreg()))
    error = (plain - double).std(0) / math.sqrt(n)
    assert ((plain - double).mean(0).abs() < 5 * error + 1e-12).all()
    # that of the likelihood is untouched
    torch.testing.assert_close(plain[:, 1], double[:, 1])


def richer(kind):
    """A latent of three dimensions whose posterior is no plain Gaussian."""
    layout, spread = Layout(), 0.3
    if kind == "layers":
        latent = LayeredLatent(layout, (2, 1), "tanh")
    else:
        spread = 0.1  # beyond it a flow has tails in which a mean says little
        made = Flow(layout, 3, "tanh", n_context=2)
        latent = GaussianLatent(3, FlowPrior(layout, 3, "tanh"), made)
    flat = layout.initial(E, generator()).double()
    return latent, layout, flat + spread * normal(*flat.shape, seed=1)


@pytest.mark.parametrize("kind", ["layers", "flow"])
def test_so_have_those_of_layers_and_flows(kind):
    """Weights that prior and posterior share, and the encoder's outputs.

    100 batches of 400 rows: the difference of the means within 5 of its standard errors
    in each of some thousand places, of which chance takes one in a million beyond that.
    """
    latent, layout, start = richer(kind)
    seen = normal(E, 1, latent.n_encoded, seed=2)
    target = normal(1, 1, 1, 3, seed=3)

    def gradient(objective, seed):
        flat, encoded = start.clone().requires_grad_(), seen.clone().requires_grad_()
        w = layout.views(flat)
        posterior = latent.posterior(w, encoded.expand(-1, 400, -1), None)
        z = posterior.at(normal(1, 4, 400, 3, seed=seed))
        log_lik = -2.0 * (z - target).square().sum(-1)
        terms = Terms(log_lik, z, posterior, latent.prior(w, [], None))
        loss = objective(terms, torch.tensor(1.0), torch.ones(E, 400).double())
        found = torch.autograd.grad(loss.sum(), [flat, encoded])
        return torch.cat([g.flatten() for g in found])

    seeds = range(10, 110)
    plain, double = (
        torch.stack([gradient(o, s) for s in seeds]) for o in (Iwae(), Dreg())
    )
    error = (plain - double).std(0) / math.sqrt(len(seeds))
    assert (error > 1e-6).sum() > 100  # the encoder's, whose estimates differ
    assert ((plain - double).mean(0).abs() < 5 * error + 1e-12).all()
    moved = plain.mean(0).abs() > 5 * plain.std(0) / math.sqrt(len(seeds))
    assert moved.sum() > 100  # there is something to estimate


def signal_to_noise(objective, n_draws):
    g = gradients(objective, n_draws, 20_000)[:, 0]
    return (g.mean().abs() / g.std()).item()


def test_more_draws_drown_the_encoder_s_gradient_but_not_the_doubly_reparameterised():
    """Rainforth et al. (2018), Theorem 1: IWAE's falls as k^-1/2, DReG's rises.

    20 000 replicates: a ratio below 1 is known to 0.01.
    """
    plain = [signal_to_noise(Iwae(), k) for k in (1, 16, 256)]
    double = [signal_to_noise(Dreg(), k) for k in (1, 16, 256)]
    assert plain[0] > 1.5 * plain[1] > 2 * plain[2]
    assert double[2] > 1.5 * double[1] > 1.5 * double[0]


def test_doubly_reparameterised_loss_is_the_bound():
    mean = torch.full((1, 3, 1), 0.2).double()
    terms = terms_of(mean, torch.zeros_like(mean), 0.1, normal(1, S, 3, 1))
    weight = torch.tensor([[1.0, 2.0, 0.5]]).double()
    expected = -(weight * log_mean_exp(terms.log_weights(), 1)).mean(1)
    torch.testing.assert_close(Dreg()(terms, torch.tensor(1.0), weight), expected)


def test_the_bound_is_tighter_with_more_draws():
    """Burda et al. (2016), Theorem 1; the limit is log p(x), here in closed form.

    20 000 rows at each k: errors below 0.01.
    """
    n = 20_000
    mean = torch.full((1, n, 1), -0.8).double()
    exact = -0.25 * (1.0 - 0.1) ** 2 - 0.5 * math.log(2.0)
    bounds = []
    for k in (1, 4, 16, 256):
        terms = terms_of(mean, torch.zeros_like(mean), 0.1, normal(1, k, n, 1, seed=k))
        bounds.append(log_mean_exp(terms.log_weights(), 1).mean().item())
    assert bounds[0] + 0.1 < bounds[1] < bounds[2] - 0.02 < bounds[3]
    assert bounds[3] == pytest.approx(exact, abs=0.02)


def test_more_draws_lower_the_variance_of_the_gradient():
    """Of the evidence lower bound: by their number, within 10 % (20 000 replicates)."""
    one, ten = (gradients(Elbo(), k, 20_000)[:, 0].var().item() for k in (1, 10))
    assert one / ten == pytest.approx(10, rel=0.1)


# -- what a flow posterior is for --------------------------------------------------


def banana(z):
    """log p(x = 1, z) of z ~ N(0, I), x ~ N(z_2 + z_1^2, 0.2^2)."""
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    gap = (1.0 - z[..., 1] - z[..., 0].square()) / 0.2
    return log_prior - 0.5 * gap.square() - math.log(0.2 * math.sqrt(2 * math.pi))


def best_bound(density_of, weights):
    """Evidence lower bound after 800 steps of Adam, from 20 000 fresh draws."""
    weights = [w.requires_grad_() for w in weights]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for step in range(800):
        density = density_of(weights)
        z = density.at(normal(1, 256, 1, 2, seed=step))
        loss = -(banana(z) - density.log_prob(z)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        density = density_of(weights)
        z = density.at(normal(1, 20_000, 1, 2, seed=10_000))
        return (banana(z) - density.log_prob(z)).mean().item()


def test_a_flow_comes_closer_to_a_banana_than_a_gaussian():
    """log p(x) on a grid; the gap of the bound is KL(q || p(z | x))."""
    axis = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    grid = banana(torch.cartesian_prod(axis, axis))
    exact = (grid.logsumexp(0) + 2 * math.log(axis[1] - axis[0])).item()

    def gaussian(w):
        return Gaussian(w[0], w[1])

    layout = Layout()
    made = Flow(layout, 2, "tanh")
    start = layout.views(layout.initial(1, generator()).double())

    def flowing(w):
        return Transformed(Gaussian(w[0], w[1]), made, w[2:])

    zeros = [torch.zeros(1, 1, 2).double() for _ in range(2)]
    plain = best_bound(gaussian, [w.clone() for w in zeros])
    flexible = best_bound(flowing, [*zeros, *(w.clone() for w in start)])
    assert exact - plain > 0.3
    assert 0 < exact - flexible < 0.3 * (exact - plain)
