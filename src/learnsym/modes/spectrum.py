"""`mode=spectrum`: eigenvalues of the training loss's Hessian, their density, effective dimension.

Augerino compares networks by N_eff(z) = sum_i lambda_i / (lambda_i + z) over the leading
eigenvalues on transformed inputs.
"""

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import ClassVar

import numpy as np
import torch
from omegaconf import DictConfig

from learnsym.analysis.curvature import Curvature, CurvatureMatrix, TrainingExamples
from learnsym.analysis.density import Quadrature, converged, effective_dimension, quadrature
from learnsym.analysis.evaluation import evaluating
from learnsym.analysis.lanczos import Lanczos, Ritz
from learnsym.config.allowed_classes import get_class
from learnsym.distributions.base import penalty
from learnsym.dynamics import equivariant_projection as onto_e
from learnsym.dynamics.ensemble import EnsembleNet
from learnsym.dynamics.records import ProgressLines
from learnsym.errors import ConfigError, RunError
from learnsym.figures.spectrum import draw_spectra
from learnsym.modes.ensemble_mode import check_one_process
from learnsym.nets.augerino import Augerino
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count, Positive, Size
from learnsym.utils.files import to_json, write_atomically


@dataclass
class Spectrum(Mode):
    """Train (or read a checkpoint), then find the spectrum of the curvature by Lanczos.

    The loss is that of the training on some of its examples: transformed as in training, with draws
    that belong to the examples and are the same in every product, whatever the batch size; batch
    norm in evaluation mode, without dropout.
    """

    reads_checkpoint = True
    seconds_between_writes: ClassVar[float] = 20.0

    matrix: CurvatureMatrix = "hessian"
    order: Size = 50
    probes: Count = 8
    probe_order: Size = 10
    images: Size | None = 2000
    batch_size: Size = 50
    copies: Size | None = None
    penalty: bool = True
    restrict: onto_e.Restriction = "none"
    project_weights: bool = False
    z: tuple[Positive, ...] = (0.1, 1.0, 10.0)
    broadening: Positive = 0.01

    def __post_init__(self) -> None:
        if not self.z:
            raise ValueError("z=[]: at least one z is needed")

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Check trainer and network before anything is built."""
        check_one_process(cfg, "spectrum")
        mode, net = cfg.mode, get_class("net", cfg.net._target_)
        if mode.copies is not None and not issubclass(net, Augerino):
            raise ConfigError(
                f"mode.copies={mode.copies} would have no effect: {net.__name__} draws no copies. "
                "Try null."
            )
        for key, idle in (("restrict", "none"), ("project_weights", False)):
            if mode[key] != idle:
                onto_e.check_projection(net, cfg.net.get("basis"), f"mode.{key}={mode[key]}")

    def __call__(self, context: RunContext) -> Outcome:
        """Compute n_eff_at_<z>, largest_eigenvalue and others; write spectrum.npz and figure."""
        net, training, cfg = context.net, context.training, context.cfg
        metrics: dict[str, float] = {}
        if cfg.checkpoint is not None:
            context.load(Path(cfg.checkpoint))
        else:
            training.fit()
            metrics = {f"test_{k}": v for k, v in training.evaluate("test").items()}
        device = context.fabric.device
        net.to(device)
        most = min(self.images or 64, 64) if context.debug else self.images
        examples = TrainingExamples(
            context.data, most, self.batch_size, cfg.seed, device, training.dtype, training.layout
        )
        with evaluating(net, copies=lambda augerino: self.copies or augerino.train_copies):
            if self.project_weights:
                assert isinstance(net, EnsembleNet)
                onto_e.project_module(net)
            # Vectors live on a GPU of CUDA's, or on the CPU, which know float64.
            vectors = device if device.type == "cuda" else torch.device("cpu")
            reward = partial(penalty, net) if self.penalty else None
            curvature = Curvature(net, training.task.loss, examples, self.matrix, reward, vectors)
            leading, density = self._solve(context, curvature, len(examples))
        return self._report(context, leading, density, metrics)

    def _solve(
        self, context: RunContext, curvature: Curvature, batches: int
    ) -> tuple[Ritz, Quadrature]:
        """Run Lanczos for leading eigenvalues and probes, from where an interrupted run was."""
        order, probes, recorder = self.order, self.probes, context.training.recorder
        if context.debug:
            order, probes = min(order, 3), min(probes, 1)

        def run(number: int, lanczos: Lanczos) -> Ritz:
            """Do the steps that are not done, and keep them in a folder of the run's name."""
            folder = context.directory.checkpoints / "spectrum" / lanczos.name
            lanczos.load(folder)
            if lanczos.alphas and not lanczos.done:
                print(f"continuing {lanczos.name} after product {len(lanczos.alphas)}", flush=True)
            seconds, written = self.seconds_between_writes, monotonic()
            lines = ProgressLines(lanczos.name, lanczos.order)
            steps = (lanczos.order - len(lanczos.alphas)) * batches
            with recorder.progress(number, 1 + probes, steps) as tick:
                while not lanczos.done:
                    lanczos.step(lambda vector: curvature(vector, tick))
                    if not math.isfinite(lanczos.betas[-1]):
                        raise RunError(
                            "a product with the curvature is not finite: the weights of this "
                            "network, or its loss, have overflowed."
                        )
                    lines(len(lanczos.alphas))
                    now = monotonic()
                    if lanczos.done or now - written >= seconds:
                        lanczos.save(folder)
                        written = monotonic()
                        # Most of the time is not for writing, however long that takes.
                        seconds = max(seconds, 10 * (written - now)) if seconds else 0.0
            return lanczos.ritz()

        net, size, seed = context.net, curvature.size, context.cfg.seed
        dtype, device, restrict = curvature.precision, curvature.device, self.restrict
        space = None if restrict == "none" else onto_e.EquivariantSubspace(net, restrict)
        dimension = size if space is None else space.dimension
        lanczos = partial(Lanczos, size, seed=seed, project=space, precision=dtype, device=device)
        leading = lanczos(order=order, name="leading", dimension=dimension)
        ritz, densities = run(1, leading), []
        basis = leading.basis[: len(leading.alphas)]
        rest = dimension - len(basis)
        probe = partial(lanczos, deflated=basis, dimension=rest, restarts=False)
        for number in range(probes if rest > 0 else 0):
            drawn = probe(order=self.probe_order, name=f"probe{number}")
            densities.append(run(2 + number, drawn))
        return ritz, quadrature(ritz, leading.betas[-1], densities, dimension)

    def _report(
        self, context: RunContext, ritz: Ritz, spectrum: Quadrature, metrics: dict[str, float]
    ) -> Outcome:
        """Write files and figure, and name the metrics."""
        folder = context.directory
        grid, density = spectrum.density(self.broadening, 1024)
        z = torch.from_numpy(np.geomspace(1e-3, 1e3, 121))
        reported = torch.tensor(self.z, dtype=torch.float64)
        n_eff_at = effective_dimension(ritz.values, reported).tolist()
        tensors = {"eigenvalues": ritz.values, "bounds": ritz.bounds}
        tensors |= {"nodes": spectrum.nodes, "weights": spectrum.weights}
        tensors |= {"grid": grid, "density": density}
        tensors |= {"z": z, "n_eff": effective_dimension(ritz.values, z)}
        arrays = {key: value.numpy() for key, value in tensors.items()}
        write_atomically(
            folder.path / "spectrum.npz",
            lambda file: np.savez_compressed(file, allow_pickle=False, **arrays),
        )
        by_z = {f"{z_at:g}": value for z_at, value in zip(self.z, n_eff_at, strict=True)}
        curve = {k: v.tolist() for k, v in arrays.items() if k not in ("nodes", "weights")} | {
            "matrix": self.matrix,
            "least_weight": float(spectrum.weights[spectrum.weights > 0].min()),
            "n_eff_at": by_z,
            "regularisation": context.cfg.net.get("regularisation"),
        }
        write_atomically(folder.path / "curves.json", to_json({"spectrum": curve}))
        draw_spectra(folder.figures / "spectrum.png", {"": [curve]})
        shutil.rmtree(folder.checkpoints / "spectrum", ignore_errors=True)
        metrics |= {f"n_eff_at_{z_at}": value for z_at, value in by_z.items()}
        metrics |= {
            "largest_eigenvalue": float(ritz.values[0]),
            "smallest_eigenvalue": float(ritz.values[-1]),
            "eigenvalues_converged": int(converged(ritz).sum()),
            "trace": spectrum.trace,
            "squared_frobenius_norm": spectrum.squared_norm,
            "trace_standard_error": spectrum.trace_error,
            "squared_frobenius_norm_standard_error": spectrum.squared_norm_error,
            "dimension": spectrum.dimension,
        }
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        return Outcome(metrics | context.training.learned_ranges(), ["figures/spectrum.png"])
