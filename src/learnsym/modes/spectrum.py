"""`mode=spectrum`: leading eigenvalues of the training loss's Hessian, density of all of them,
effective dimension.

Augerino compares networks by N_eff(z) = sum_i lambda_i / (lambda_i + z) over the leading
eigenvalues on transformed inputs.
"""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from learnsym.analysis.curvature import Curvature, Matrix, Restriction, Subspace
from learnsym.analysis.density import (
    Quadrature,
    converged,
    effective_dimension,
    log_range,
    quadrature,
)
from learnsym.analysis.lanczos import Lanczos, Ritz
from learnsym.analysis.spectrum_runner import (
    SpectrumRunner,
    TrainingExamples,
    in_evaluation,
    project_own_weights,
)
from learnsym.config.allowed_classes import get_class
from learnsym.distributions.base import penalty
from learnsym.dynamics.ensemble import EnsembleNet
from learnsym.errors import ConfigError
from learnsym.figures.spectrum import draw_spectrum
from learnsym.nets.augerino import Augerino
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count, Positive, Size
from learnsym.utils.files import write_atomically

GRID = 1024


class Spectrum(Mode):
    """Train (or read a checkpoint), then find the spectrum of the Hessian, or of the Gauss-Newton
    matrix, by Lanczos.

    The loss is that of the training on some of its examples: transformed as in training, with draws
    that belong to the examples and are the same in every product, whatever the batch size; batch
    norm in evaluation mode, without dropout.
    """

    reads_checkpoint = True
    seconds_between_writes = 20.0

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Refuse what does not go together, before anything is built."""
        mode, net = cfg.mode, cfg.net._target_.rpartition(".")[2]
        kind = get_class("net", cfg.net._target_)
        for key in ("devices", "nodes"):
            if cfg.trainer[key] > 1:
                raise ConfigError(
                    f"trainer.{key}={cfg.trainer[key]}: mode=spectrum works in one process; 1 would be right."
                )
        if mode.copies is not None and not issubclass(kind, Augerino):
            raise ConfigError(
                f"mode.copies={mode.copies} would have no effect: {net} draws no copies; null would be right."
            )
        for key, value in (
            ("restrict", mode.restrict != "none"),
            ("project_weights", mode.project_weights),
        ):
            if not value:
                continue
            if not issubclass(kind, EnsembleNet):
                raise ConfigError(
                    f"mode.{key}={mode[key]}: {net} knows no projection onto equivariant weights; net=projected_linear or "
                    "net=c4_conv would be right."
                )
            if cfg.net.get("basis") == "random":
                raise ConfigError(
                    f"mode.{key}={mode[key]}: in the coordinates of net.basis=random E has no orthogonal projection; "
                    "net.basis=orthonormal would be right."
                )

    def __init__(
        self,
        matrix: Matrix = "hessian",
        order: Size = 50,
        probes: Count = 8,
        probe_order: Size = 10,
        images: Size | None = 2000,
        batch_size: Size = 50,
        copies: Size | None = None,
        penalty: bool = True,
        restrict: Restriction = "none",
        project_weights: bool = False,
        z: tuple[Positive, ...] = (0.1, 1.0, 10.0),
        broadening: Positive = 0.01,
    ) -> None:
        """Args:
        matrix: "hessian", or "ggn", the generalised Gauss-Newton matrix.
        order: Lanczos steps, each a product over all examples, and so many vectors of the
            network's size in memory.
        probes: random vectors for the density; 0: only the first run's own, which leaves much
            to chance.
        probe_order: Lanczos steps for each of them.
        images: training examples at most, drawn by the run's seed; None: all.
        batch_size: examples at a time; bounds the memory and changes nothing else but rounding.
        copies: transformations of an image of an Augerino network; None: as in training.
        penalty: with the network's penalty (Augerino's reward for wide distributions); never in
            a Gauss-Newton matrix.
        restrict: to the equivariant weights of an `EnsembleNet`, or to their orthogonal
            complement.
        project_weights: put the weights of an `EnsembleNet` onto the equivariant ones first.
        z: where N_eff is reported.
        broadening: standard deviation of the Gaussians of the density, as a fraction of the
            range of eigenvalues.
        """
        if not z:
            raise ValueError("z=[]: at least one z is needed")
        self.matrix, self.order, self.probes, self.probe_order = matrix, order, probes, probe_order
        self.images, self.batch_size, self.copies, self.penalty = (
            images,
            batch_size,
            copies,
            penalty,
        )
        self.restrict, self.project_weights, self.z, self.broadening = (
            restrict,
            project_weights,
            list(z),
            broadening,
        )

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics n_eff_at_<z>, largest_eigenvalue and others; spectrum.npz, curves.json; a
        figure.
        """
        metrics: dict[str, float] = {}
        if context.cfg.checkpoint is not None:
            context.load(Path(context.cfg.checkpoint))
        else:
            context.training.fit()
            metrics = {f"test_{k}": v for k, v in context.training.evaluate("test").items()}
        net = context.net
        net.to(context.fabric.device)
        with in_evaluation(net, self.copies):
            if self.project_weights:
                project_own_weights(net)
            examples = TrainingExamples(context, self.images, self.batch_size)
            curvature = self.curvature(context, examples)
            space = None if self.restrict == "none" else Subspace(curvature, self.restrict)
            leading, found = self.solve(context, curvature, space, len(examples))
        return self.report(context, leading, found, metrics)

    def curvature(self, context: RunContext, examples: TrainingExamples) -> Curvature:
        """The operator; vectors live on the device where that knows float64 (a GPU of CUDA's), on
        the CPU otherwise.
        """
        device, net = context.fabric.device, context.net
        home = device if device.type == "cuda" else torch.device("cpu")
        reward = (lambda: penalty(net)) if self.penalty else None
        return Curvature(net, context.training.task.loss, examples, self.matrix, reward, home)

    def solve(
        self, context: RunContext, curvature: Curvature, space: Subspace | None, batches: int
    ) -> tuple[Ritz, Quadrature]:
        """The run for leading eigenvalues and those of the probes, each from where an interrupted
        command was.
        """
        folder = context.directory.checkpoints / "spectrum"
        order, probes = (
            (min(self.order, 3), min(self.probes, 1))
            if context.debug
            else (self.order, self.probes)
        )
        dimension = curvature.size if space is None else space.dimension
        settings = {
            "seed": context.cfg.seed,
            "project": space,
            "precision": curvature.precision,
            "home": curvature.home,
        }
        work = SpectrumRunner(
            context, curvature, folder, 1 + probes, batches, self.seconds_between_writes
        )
        leading = Lanczos(curvature.size, order, name="leading", dimension=dimension, **settings)
        work(leading, 1)
        ritz = leading.ritz()
        found = leading.basis[: len(leading.alphas)]
        room, runs = dimension - len(found), []
        for number in range(probes if room else 0):
            probe = Lanczos(
                curvature.size,
                self.probe_order,
                name=f"probe{number}",
                deflated=found,
                dimension=room,
                restarts=False,
                **settings,
            )
            work(probe, 2 + number)
            runs.append(probe.ritz())
        return ritz, quadrature(ritz, leading.betas[-1], runs, dimension)

    def report(
        self, context: RunContext, ritz: Ritz, found: Quadrature, metrics: dict[str, float]
    ) -> dict[str, Any]:
        """Files, figure and metrics."""
        grid, density = found.density(self.broadening, GRID)
        z = log_range(1e-3, 1e3, 121)
        n_eff = effective_dimension(ritz.values, z)
        at = effective_dimension(ritz.values, torch.tensor(self.z, dtype=torch.float64)).tolist()
        arrays = {
            "eigenvalues": ritz.values,
            "bounds": ritz.bounds,
            "nodes": found.nodes,
            "weights": found.weights,
            "grid": grid,
            "density": density,
            "z": z,
            "n_eff": n_eff,
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{key: value.numpy() for key, value in arrays.items()})
        folder = context.directory
        write_atomically(folder.path / "spectrum.npz", buffer.getvalue())
        drawn = {
            key: value.tolist() for key, value in arrays.items() if key not in ("nodes", "weights")
        } | {
            "matrix": self.matrix,
            "least_weight": float(found.weights[found.weights > 0].min()),
            "n_eff_at": {f"{where:g}": value for where, value in zip(self.z, at, strict=True)},
            "regularisation": context.cfg.net.get("regularisation"),
        }
        write_atomically(folder.path / "curves.json", json.dumps({"spectrum": drawn}))
        draw_spectrum(folder.figures / "spectrum.png", drawn)
        shutil.rmtree(folder.checkpoints / "spectrum", ignore_errors=True)
        metrics |= {f"n_eff_at_{where}": value for where, value in drawn["n_eff_at"].items()}
        metrics |= {
            "largest_eigenvalue": float(ritz.values[0]),
            "smallest_eigenvalue": float(ritz.values[-1]),
            "eigenvalues_converged": int(converged(ritz).sum()),
            "trace": found.trace,
            "squared_frobenius_norm": found.squared_norm,
            "trace_standard_error": found.trace_error,
            "squared_frobenius_norm_standard_error": found.squared_norm_error,
            "dimension": found.dimension,
        }
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        return Outcome(metrics | context.training.extents(), ["figures/spectrum.png"])
