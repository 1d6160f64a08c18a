"""Random graphs of two blocks: is a graph connected, however numbered? (optimisation dynamics)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.readers.arrays import describe, find_named, is_binary, read_npz
from learnsym.data.splits import draw_examples
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size
from learnsym.utils.rng import generator

CLASSES = ("disconnected", "connected")


class Graphs(ImageData):
    """Adjacency matrices as images, 1 x 10 x 10, 0/1; class 1: the graph is connected.

    The stochastic block model: two blocks of equal size, an edge between two nodes of one block
    with one probability, of different blocks with another, the nodes in random order. `prepare`
    gives A - 0.5. A `file` has adjacency [N, n, n] and label [N], 0/1 both; 42 labels of the
    published one call disconnected graphs connected.
    """

    redrawn = True

    spec = ExampleSpec((1, 10, 10), 2)

    def __init__(
        self,
        data_dir: str = "data",
        file: str | None = None,
        relabel: bool = False,
        count: Size = 1000,
        test_size: Size = 1000,
        nodes: Size = 10,
        p_inside: Fraction = 0.5,
        p_across: Fraction = 0.05,
        seed: Count = 0,
    ) -> None:
        if nodes < 2 or nodes % 2:
            raise DataError(
                f"dataset.nodes={nodes}: two equal blocks take an even number, 2 or more."
            )
        model = (
            f"the two-block model ({nodes} nodes, edges with probability {p_inside:g} inside and "
            f"{p_across:g} across a block, seed {seed})"
        )

        def generate(split: str, size: int) -> Split:
            draws = generator(seed, f"{split} graphs")
            return _label(block_graphs(size, nodes, p_inside, p_across, draws))

        if file is None:
            train = generate("train", count)
            source = f"Graphs of {model}, labelled by exact connectivity."
        else:
            path = find_named(file, data_dir)[0]
            train = draw_examples(_read_graphs(path, nodes), count, seed)
            exact = _label(train.tensor)
            wrong = int((train.targets != exact.targets).sum())
            labels = "computed anew" if relabel else "kept as they are there"
            source = (
                f"Read from {path}; {wrong} of its {count} labels differ from the exact "
                f"connectivity, and all are {labels}. The test graphs are not from the file: they "
                f"are made, of {model}, and labelled exactly."
            )
            train = exact if relabel else train
        splits = {"train": train, "test": generate("test", test_size)}
        info = DataInfo.of("graphs", splits, source, class_names=CLASSES, mean=(0.5,), std=(1.0,))
        super().__init__(info, splits)


def block_graphs(
    count: int, nodes: int, p_inside: float, p_across: float, draws: torch.Generator
) -> Tensor:
    """Draw shuffled adjacency matrices [count, 1, nodes, nodes], float32, of two blocks."""
    # In a random order of the nodes the first half is one block.
    block = torch.rand(count, nodes, generator=draws).argsort(dim=1) < nodes // 2
    probability = torch.where(block[:, :, None] == block[:, None, :], p_inside, p_across)
    upper = (torch.rand(count, nodes, nodes, generator=draws) < probability).triu(1)
    return (upper | upper.mT).float()[:, None]


def connected(adjacency: Tensor) -> Tensor:
    """Tell which graphs [N, n, n] (edges are not 0) are connected: bool [N].

    Exact: (A + I)^k is positive where a path of at most k edges leads; squaring it until k >= n - 1
    reaches all that can be reached.

    >>> connected(torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    tensor([ True, False])
    """
    nodes = adjacency.shape[-1]
    reach = ((adjacency != 0) | torch.eye(nodes, dtype=torch.bool, device=adjacency.device)).float()
    for _ in range((nodes - 1).bit_length()):
        reach = (reach @ reach > 0).float()  # 0/1 at once: the numbers of paths would overflow
    return (reach > 0).all(-1).all(-1)


def _label(graphs: Tensor) -> Split:
    """Label graphs [N, 1, n, n] by connectivity."""
    return Split(graphs, connected(graphs[:, 0]).long())


def _read_graphs(path: Path, nodes: int) -> Split:
    """Read arrays adjacency [N, n, n] and label [N] as `Graphs` holds them."""
    arrays = read_npz(path, ("adjacency", "label"))
    matrices, labels = arrays["adjacency"], arrays["label"]
    got = f"{path}: array 'adjacency' is {describe(matrices)}"
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise DataError(f"{got}. Expected square matrices, [N, n, n].")
    if matrices.shape[1] != nodes:
        raise DataError(f"{got}, but the test graphs have dataset.nodes={nodes} nodes.")
    symmetric = is_binary(matrices) and (matrices == matrices.transpose(0, 2, 1)).all()
    if not symmetric or np.diagonal(matrices, axis1=1, axis2=2).any():
        raise DataError(f"{got}, not of simple graphs. Expected 0 and 1, symmetric, zero diagonal.")
    if labels.shape != (len(matrices),) or not is_binary(labels):
        raise DataError(
            f"{path}: array 'label' is {describe(labels)}. Expected {len(matrices)} numbers, 1 for "
            "a connected graph and 0 for another."
        )
    graphs = torch.from_numpy(matrices.astype(np.float32))[:, None]
    return Split(graphs, torch.from_numpy(labels.astype(np.int64)))
