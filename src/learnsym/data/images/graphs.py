"""Random graphs of two blocks: is the graph connected? A question that no renumbering changes
(optimisation dynamics).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import Form, ImageData, Split
from learnsym.data.readers.arrays import find_named, read_npz
from learnsym.data.splits import classification_info, generator
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

CLASSES = ("disconnected", "connected")


class Graphs(ImageData):
    """Adjacency matrices as images, 1 x 10 x 10, 0/1, symmetric with a zero diagonal; class 1: the
    graph is connected.

    The stochastic block model: two blocks of equal size, an edge between two nodes of one block
    with one probability, of different blocks with another, the nodes in random order. `prepare`
    gives A - 0.5.
    """

    form = Form((1, 10, 10), 2)

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
        """Args:
            data_dir: folder where a relative `file` is looked for if it is not in the current one.
            file: .npz file of training graphs to read instead of making them: adjacency [N, n, n]
                and label [N], 0/1 both.
            relabel: compute the labels of `file` anew (those of the published file,
                stoch_block.npz, call 42 disconnected graphs connected). Labels of graphs made here
                are always exact.
            count: so many training graphs are made, or drawn at random from `file`.
            test_size: so many test graphs are made, with or without `file`.
            nodes: of a graph, an even number: half of them in each block.
            p_inside, p_across: probability of an edge inside a block and across.
            seed: of the graphs.

        Raises:
            DataError: an odd number of nodes; or the file is missing, not of this form, or has less
                than `count` graphs.
        """
        if nodes < 2 or nodes % 2:
            raise DataError(
                f"dataset.nodes={nodes}: two blocks of equal size take an even number of nodes, at least 2."
            )
        model = (
            f"the two-block model ({nodes} nodes, edges with probability {p_inside:g} inside and {p_across:g} across a block, "
            f"seed {seed})"
        )

        def make(part: str, size: int) -> Split:
            graphs = block_graphs(
                size, nodes, p_inside, p_across, generator(seed, f"{part} graphs")
            )
            return Split(graphs, connected(graphs[:, 0]).long())

        if file is None:
            train = make("train", count)
            source = f"Graphs of {model}, labelled by exact connectivity."
        else:
            path = find_named(file, data_dir)[0]
            train = draw(read_graphs(path, nodes), count, seed, path)
            exact = connected(train.inputs[:, 0]).long()
            wrong = int((train.targets != exact).sum())
            source = (
                f"Read from {path}; {wrong} of its {count} labels differ from the exact connectivity, and all are "
                f"{'computed anew' if relabel else 'kept as they are there'}. The test graphs are not from the file: they are "
                f"made, of {model}, and labelled exactly."
            )
            train = Split(train.inputs, exact) if relabel else train
        splits = {"train": train, "test": make("test", test_size)}
        super().__init__(
            classification_info("graphs", splits, CLASSES, (0.5,), (1.0,), source), splits
        )


def block_graphs(
    count: int, nodes: int, p_inside: float, p_across: float, draws: torch.Generator
) -> Tensor:
    """Adjacency matrices [count, 1, nodes, nodes] of the two-block model, float32 0/1, the nodes
    shuffled.
    """
    # A random order of the nodes of which the first half is one block: that is which block each
    # node of a shuffled graph is in.
    block = torch.rand(count, nodes, generator=draws).argsort(dim=1) < nodes // 2
    probability = torch.where(block[:, :, None] == block[:, None, :], p_inside, p_across)
    upper = (torch.rand(count, nodes, nodes, generator=draws) < probability).triu(1)
    return (upper | upper.mT).float()[:, None]


def connected(adjacency: Tensor) -> Tensor:
    """Whether each graph [N, n, n] (symmetric; an edge where it is not 0) is in one piece: bool
    [N], exact.

    (A + I)^k is positive where a path of at most k edges leads; squaring it until k >= n - 1
    reaches whatever can be reached.

    >>> connected(torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    tensor([ True, False])
    """
    nodes = adjacency.shape[-1]
    reach = ((adjacency != 0) | torch.eye(nodes, dtype=torch.bool, device=adjacency.device)).float()
    for _ in range((nodes - 1).bit_length()):
        reach = (
            reach @ reach > 0
        ).float()  # 0/1 again at once: the numbers of paths would overflow
    return (reach > 0).all(-1).all(-1)


def read_graphs(path: Path, nodes: int) -> Split:
    """The graphs of a file with arrays adjacency [N, n, n] and label [N], as `Graphs` holds them;
    DataError if they are not.
    """
    arrays = read_npz(path, ("adjacency", "label"))
    matrices, labels = arrays["adjacency"], arrays["label"]
    here = f"{path}: array 'adjacency' is {matrices.dtype} of shape {list(matrices.shape)}"
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise DataError(f"{here}; square matrices, [N, n, n], would be right.")
    if matrices.shape[1] != nodes:
        raise DataError(
            f"{here}, but the test graphs have dataset.nodes={nodes} nodes; as many, an even number, would be right."
        )
    symmetric = is_binary(matrices) and (matrices == matrices.transpose(0, 2, 1)).all()
    if not symmetric or np.diagonal(matrices, axis1=1, axis2=2).any():
        raise DataError(
            f"{here}, but not of simple graphs; 0 and 1, symmetric with a zero diagonal, would be right."
        )
    if labels.shape != (len(matrices),) or not is_binary(labels):
        raise DataError(
            f"{path}: array 'label' is {labels.dtype} of shape {list(labels.shape)}; {len(matrices)} numbers, 1 for a connected "
            "graph and 0 for another, would be right."
        )
    return Split(
        torch.from_numpy(matrices.astype(np.float32))[:, None],
        torch.from_numpy(labels.astype(np.int64)),
    )


def is_binary(array: np.ndarray) -> bool:
    """Whether it holds numbers, all of them 0 or 1."""
    return array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def draw(part: Split, count: int, seed: int, path: Path) -> Split:
    """`count` examples of a file, drawn at random and in their order; all of them as they are."""
    if count > len(part):
        raise DataError(
            f"dataset.count={count} asks for more examples than {path} has; at most {len(part)} is valid."
        )
    kept = torch.randperm(len(part), generator=generator(seed, "train"))[:count].sort().values
    return Split(part.inputs[kept], part.targets[kept])
