"""Density of MNIST: nats of the test images under the family's variants.

Run ``python -m benchmarks.mnist --data DIR`` (see ``--help``). The networks of Burda et
al. (2016), sec. 5: 784-200-200-50 (there with tanh, here with the library's SiLU unless
``--activation`` says otherwise, and with its linear map beside the hidden layers),
Bernoulli pixels; images are binarised anew each time that they are drawn
(``--static``: the fixed binarisation of Larochelle & Murray 2011), test images once.
The figure is the importance-weighted estimate over 5000 draws on the standard test set.
The table goes to standard output and to ``benchmarks/results/mnist.json`` and ``.md``;
rows of earlier runs are kept, but for those of the same model.
"""

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import command, report
from benchmarks.data import data_folder
from benchmarks.environment import describe
from skvae._engine import door, runtime, train
from skvae._engine.config import ACTIVATIONS, HeadConfig, ModelConfig, TrainConfig
from skvae._engine.model import Batch, LatentModel

N_PIXELS, N_LABELS = 784, 10
BOUND_DRAWS = 64  # of z, the same for all images: of one alone nats hang on it
COLLAPSED = 0.01  # variance of the posterior mean under which a unit is not active
Array = NDArray[np.float32]

# what is trained: changes to the model and to the training
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vae": ({}, {"objective": "elbo"}),
    # as many latents and the same warm-up as the hierarchical one
    "wide": ({"n_components": 70}, {"objective": "elbo", "kl_warmup": 0.3}),
    "iwae": ({}, {"objective": "iwae"}),
    "dreg": ({}, {"objective": "dreg"}),
    "vamp": ({"prior": "vamp"}, {"objective": "elbo"}),
    "flow-prior": ({"prior": "flow"}, {"objective": "elbo"}),
    "flow-posterior": ({"posterior": "flow"}, {"objective": "elbo"}),
    "hierarchical": (
        {"latent": "hierarchical", "layer_sizes": (50, 20), "n_components": 70},
        {"objective": "elbo", "kl_warmup": 0.3},
    ),
    "vq": ({"latent": "vq"}, {"objective": "elbo"}),
    "conditional": (
        {"prior": "conditional", "n_conditions": 1, "condition_codes": (N_LABELS,)},
        {"objective": "elbo"},
    ),
}


@dataclass(frozen=True)
class Row:
    """One model: what it was and how well it did; nats per image."""

    variant: str
    activation: str
    k: int  # draws in training
    binarisation: str
    nll: float
    standard_error: float  # over the test images
    bound: float  # evidence lower bound of the test images
    active_units: int
    epochs: int
    batch_size: int
    learning_rate: float
    train_seconds: float
    test_seconds: float
    test_images: int
    draws: int
    threads: int
    date: str
    commit: str
    # of a hierarchical latent, from the layer next to the pixels up
    active_by_layer: tuple[int, ...] = ()
    train_cpu_seconds: float | None = None  # of the processor, which others share
    bound_draws: int = 1
    seed: int = 0

    @property
    def model(self) -> tuple[Any, ...]:
        """What was trained, how long, and on how many images it was tested."""
        training = self.epochs, self.batch_size, self.learning_rate
        kind = self.variant, self.activation, self.k, self.binarisation
        return *kind, *training, self.test_images, self.draws, self.seed


@dataclass(frozen=True)
class Greys(train.Rows):
    """Images in grey, from 0 to 1, that are binarised when they are taken."""

    generator: torch.Generator | None = None

    def take(self, index: torch.Tensor) -> Batch:
        """Rows ``index`` (E, N), each pixel 1 with the probability of its grey."""
        batch = super().take(index)
        # a third of the time of torch.bernoulli
        uniform = torch.empty_like(batch.x).uniform_(generator=self.generator)
        return replace(batch, x=(uniform < batch.x).to(batch.x.dtype))


@dataclass(frozen=True)
class Images:
    """Training images in [0, 1], binary test images, and their labels."""

    train: Array
    test: Array
    train_labels: NDArray[np.integer]
    test_labels: NDArray[np.integer]


def load(folder: Path, static: bool, seed: int) -> Images:
    """Read MNIST; of the static binarisation labels are unknown."""
    if static:
        with np.load(folder / "mnist" / "binarized_mnist.npz") as stored:
            part = {
                name: np.unpackbits(stored[f"x_{name}"], axis=1)[:, :N_PIXELS]
                for name in ("train", "valid", "test")
            }
        rows = np.concatenate([part["train"], part["valid"]]).astype(np.float32)
        # in the file they are sorted by digit: the first so many are zeros and ones
        order = np.random.default_rng(seed).permutation(len(part["test"]))
        test = part["test"][order].astype(np.float32)
        return Images(rows, test, np.zeros(len(rows), int), np.zeros(len(test), int))
    with np.load(folder / "mnist" / "mnist.npz") as stored:
        greys, test = (
            stored[name].reshape(-1, N_PIXELS).astype(np.float32) / 255
            for name in ("x_train", "x_test")
        )
        labels = stored["y_train"].astype(int), stored["y_test"].astype(int)
    rng = np.random.default_rng(seed)
    binary = (rng.random(test.shape, dtype=np.float32) < test).astype(np.float32)
    order = rng.permutation(len(test))  # the first half is the easier one
    return Images(greys, binary[order], labels[0], labels[1][order])


def configure(
    variant: str, k: int, options: argparse.Namespace
) -> tuple[ModelConfig, TrainConfig]:
    """Make the settings of the model and of its training."""
    shape, training = VARIANTS[variant]
    model = {
        "n_columns": N_PIXELS,
        "n_conditions": 0,
        "heads": (HeadConfig("bernoulli", tuple(range(N_PIXELS))),),
        "n_components": 50,
        "hidden_layer_sizes": (200, 200),
        "activation": options.activation,
    }
    settings = {
        "n_draws": k,
        "kl_warmup": 0.0,
        "max_iter": options.epochs,
        "max_steps": 10**9,
        "batch_size": options.batch_size,
        "learning_rate_init": options.learning_rate,
        "alpha": 0.0,
        "early_stopping": False,
    }
    return ModelConfig(**model | shape), TrainConfig(**settings | training)


def fit(
    images: Images,
    model_config: ModelConfig,
    config: TrainConfig,
    options: argparse.Namespace,
) -> door.Learned:
    """Train on all training images, in the loop of every estimator."""
    where = runtime.resolve_device(options.device)
    generator = torch.Generator(where)
    generator.manual_seed(options.seed)
    model = LatentModel(model_config, where, torch.float32)
    x = torch.tensor(images.train, device=where)
    labels = torch.tensor(images.train_labels, device=where).float().unsqueeze(1)
    c = labels if model_config.n_conditions else labels[:, :0]
    rows = train.Rows.pack(x, None, c, None, torch.ones_like(x[:, 0]))
    if not options.static:
        rows = Greys(rows.packed, rows.widths, generator)
    whole = torch.arange(len(x), device=where).unsqueeze(0)
    split = train.Split(whole, whole[:, :0])

    def tell(epoch: int, loss: torch.Tensor) -> bool:
        if epoch % max(1, options.epochs // 50) == 0:
            print(f"  epoch {epoch}  loss {float(loss.mean()):.2f}", flush=True)
        return False

    trained = train.fit_weights(
        model, rows, split, rows, config, generator, on_epoch=tell
    )
    draws = door.normal_draws(options.draws, model_config.n_components, options.seed)
    learned = door.Learned(
        model_config,
        trained.weights.cpu().numpy(),
        draws,
        trained.bound.cpu().numpy(),
        np.empty(0),
        np.empty(0),
    )
    if model_config.fits_prior:
        data = encoded(images.train[:10_000], images.train_labels[:10_000], learned)
        prior = door.Engine(learned, options.device).fit_prior(data, options.seed)
        learned = replace(learned, prior=prior)
    return learned


def encoded(x: Array, labels: NDArray[Any], learned: door.Learned) -> door.Encoded:
    """Put images to the engine."""
    condition = labels[:, None].astype(float)
    return door.Encoded.of(
        x.astype(float), condition if learned.config.n_conditions else None
    )


def run(variant: str, k: int, images: Images, options: argparse.Namespace) -> Row:
    """Train and test one variant."""
    model_config, config = configure(variant, k, options)
    started, busy = time.perf_counter(), time.process_time()
    learned = fit(images, model_config, config, options)
    trained, busy = time.perf_counter(), time.process_time() - busy
    engine = door.Engine(learned, options.device)
    n = options.test_images
    test = encoded(images.test[:n], images.test_labels[:n], learned)
    log_prob, _ = engine.log_prob(test)
    tested = time.perf_counter()
    some = replace(learned, draws=learned.draws[:BOUND_DRAWS])
    few = door.Engine(some, options.device)
    bound = few.lower_bound(test)
    active = active_units(few, test)
    sizes = model_config.layer_sizes
    about = describe()
    if options.figure:
        draw(options.figure, few, images, options.seed)
    return Row(
        variant=variant,
        activation=options.activation,
        k=k,
        binarisation="static" if options.static else "dynamic",
        nll=-float(log_prob.mean()),
        standard_error=float(log_prob.std() / np.sqrt(n)),
        bound=float(bound.mean()),
        bound_draws=BOUND_DRAWS,
        seed=options.seed,
        active_units=int(active.sum()),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        train_seconds=trained - started,
        train_cpu_seconds=busy,
        test_seconds=tested - trained,
        test_images=n,
        draws=options.draws,
        threads=torch.get_num_threads(),
        date=str(about["date"]),
        commit=about["versions"]["commit"],  # type: ignore[index]
        active_by_layer=tuple(
            int(part.sum()) for part in np.split(active, np.cumsum(sizes)[:-1])
        )
        if sizes
        else (),
    )


def active_units(engine: door.Engine, data: door.Encoded) -> NDArray[np.bool_]:
    """Whether a latent dimension tells images apart: (L,).

    By the variance of the posterior's mean over the images (Burda et al. 2016, sec.
    5.2), or by the KL in nats where the mean takes draws.
    """
    if engine.model.latent.closed_mean:
        return engine.posterior_mean(data).var(axis=0) > COLLAPSED
    return engine.mean_kl(data)[0] > COLLAPSED


def draw(path: str, engine: door.Engine, images: Images, seed: int) -> None:
    """Picture of new images, of reconstructions, and of two latents of the test set."""
    import matplotlib.pyplot as plt

    n = 10
    data = encoded(images.test[:2000], images.test_labels[:2000], engine.learned)
    z = engine.posterior_mean(data)
    condition = data.c[:n] if engine.learned.config.n_conditions else None
    again = engine.decode_mean(z[:n], condition)
    new = engine.sample(n, condition, 1, seed)[0]
    widest = np.argsort(engine.mean_kl(data)[0])[-2:]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[2, 1])
    strips = [images.test[:n], again, new]
    tiles = [np.hstack([row.reshape(28, 28) for row in strip]) for strip in strips]
    axes[0].imshow(1 - np.vstack(tiles), cmap="gray")
    axes[0].set_yticks([14, 42, 70], ["test", "reconstructed", "new"])
    axes[0].set_xticks([])
    points = axes[1].scatter(
        *z[:, widest].T, c=images.test_labels[:2000], s=4, cmap="tab10"
    )
    axes[1].set_xlabel("latent of the largest KL")
    axes[1].set_ylabel("of the second largest")
    figure.colorbar(points, label="digit")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def table_of(rows: list[Row]) -> str:
    """One line a model, best first."""
    header = ["variant", "activation", "k", "binarisation", "NLL", "lower bound"]
    header += ["active units", "epochs", "batch", "training, min", "CPU, min"]
    header += ["threads", "test images", "draws", "commit"]
    lines = [
        [
            *(row.variant, row.activation, str(row.k), row.binarisation),
            f"{row.nll:.2f} ± {row.standard_error:.2f}",
            f"{-row.bound:.2f}" if row.bound_draws > 1 else "",
            " + ".join(str(n) for n in row.active_by_layer) or str(row.active_units),
            *(str(row.epochs), str(row.batch_size)),
            f"{row.train_seconds / 60:.1f}",
            f"{row.train_cpu_seconds / 60:.1f}" if row.train_cpu_seconds else "",
            str(row.threads),
            *(str(row.test_images), str(row.draws), row.commit),
        ]
        for row in sorted(rows, key=lambda row: (row.binarisation, row.nll))
    ]
    return report.markdown(header, lines)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the table, published figures, then how it came about."""
    return f"""# MNIST

{table_of(rows)}

Nats per test image, lower is better; ± standard error over the images. "Lower bound" is
minus the evidence lower bound, by {BOUND_DRAWS} draws, left out where an older run took
one. Active units of a hierarchical latent: by layer, pixels first. "wide": one layer of
as many latents as "hierarchical", with the same warm-up. Rows were added run by run;
below is the last. Published with dynamic binarisation, k = 1 / 5 / 50: VAE 86.76 /
86.47 / 86.35 and IWAE 86.76 / 85.54 / 84.78 after 3280 epochs (Burda et al. 2016, table
1), with tanh and without the linear map that the networks here have beside their hidden
layers.

{report.provenance(about)}"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("mnist", __doc__)
    command.add_data(parser)
    parser.add_argument("--variants", nargs="+", default=["vae"], choices=VARIANTS)
    parser.add_argument("--k", type=int, nargs="+", default=[1], help="training draws")
    parser.add_argument("--static", action="store_true", help="fixed binarisation")
    parser.add_argument("--activation", default="silu", choices=ACTIVATIONS)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--draws", type=int, default=5000, help="in the test")
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", metavar="PATH", help="draw a picture, too")
    parser.add_argument("--name", default="mnist", help="of the result files")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    if options.static and "conditional" in options.variants:
        sys.exit("--static has no labels: leave out the variant conditional.")
    folder = data_folder(options.data, "mnist")
    images = load(folder, options.static, options.seed)
    hidden = {"DIR": options.data, "PATH": options.figure}
    about: dict[str, Any] = {
        "command": command.shown_command("mnist", arguments, hidden),
        "seed": options.seed,
        "parameters": {},
        "jobs": 1,
        **describe(),
    }
    rows = report.earlier(options.name, Row)
    for variant in options.variants:
        for k in options.k:
            print(f"{variant}, k = {k}", flush=True)
            row = run(variant, k, images, options)
            rows = [other for other in rows if other.model != row.model] + [row]
            print(asdict(row), flush=True)
            report.write(options.name, about, rows, page(rows, about))
    print(f"\n{table_of(rows)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
