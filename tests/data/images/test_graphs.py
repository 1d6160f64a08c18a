"""Graphs of two blocks: what connected means, how often edges are, the published labels, files that
are not of the form."""

import math
from collections import deque

import numpy as np
import pytest
import torch

from learnsym.data.images.graphs import Graphs, block_graphs, connected
from learnsym.errors import DataError


def reached_from_node_0(matrix):
    """Oracle: breadth-first search over lists."""
    seen, waiting = {0}, deque([0])
    while waiting:
        row = matrix[waiting.popleft()]
        new = [node for node, edge in enumerate(row) if edge and node not in seen]
        seen.update(new)
        waiting.extend(new)
    return len(seen)


def pieces(matrix):
    """A second oracle: the number of connected components, by union-find."""
    parent = list(range(len(matrix)))

    def root(node):
        while parent[node] != node:
            node = parent[node]
        return node

    for i, row in enumerate(matrix):
        for j, edge in enumerate(row):
            if edge:
                parent[root(i)] = root(j)
    return sum(parent[node] == node for node in range(len(matrix)))


# --- connectivity


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 8, 9, 10, 17])
def test_connectivity_is_that_of_a_search(nodes):
    draws = torch.Generator().manual_seed(nodes)
    for probability in (0.05, 1.5 / nodes, 0.5):
        upper = (torch.rand(60, nodes, nodes, generator=draws) < probability).triu(1)
        graphs = (upper | upper.mT).float()
        found = connected(graphs).tolist()
        assert found == [reached_from_node_0(graph) == nodes for graph in graphs.tolist()]
        assert found == [pieces(graph) == 1 for graph in graphs.tolist()]


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 9, 10, 33])
def test_a_path_is_the_longest_way_and_cut_it_is_in_two(nodes):
    order = torch.randperm(nodes, generator=torch.Generator().manual_seed(0))
    path = torch.zeros(nodes, nodes)
    path[order[:-1], order[1:]] = path[order[1:], order[:-1]] = 1
    cut = path.clone()
    cut[order[0], order[1]] = cut[order[1], order[0]] = 0
    assert connected(torch.stack([path, cut])).tolist() == [True, False]


def test_numbers_of_paths_do_not_overflow():
    assert connected(torch.ones(1, 200, 200)).item()


def test_renumbering_the_nodes_changes_nothing():
    data = Graphs(count=50, test_size=1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    renumbered = data.splits["train"].inputs[:, 0][:, order][:, :, order]
    assert torch.equal(connected(renumbered).long(), data.splits["train"].targets)


# --- the model


@pytest.mark.parametrize("arguments", [{}, {"nodes": 6, "p_inside": 0.7, "p_across": 0.1}])
def test_graphs_are_simple_and_labelled_exactly(arguments):
    data = Graphs(count=80, test_size=60, **arguments)
    nodes = arguments.get("nodes", 10)
    assert data.info.input_shape == (1, nodes, nodes)
    assert (data.info.task, data.info.num_outputs, data.info.output_shape) == (
        "classification",
        2,
        (2,),
    )
    assert dict(data.info.sizes) == {"train": 80, "test": 60}
    for split in data.splits.values():
        graphs = split.inputs[:, 0]
        assert graphs.dtype == torch.float32
        assert set(graphs.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(graphs, graphs.mT)
        assert not graphs.diagonal(dim1=1, dim2=2).any()
        assert split.targets.tolist() == [int(pieces(graph) == 1) for graph in graphs.tolist()]
    assert "exact connectivity" in data.info.provenance


def test_a_network_sees_the_matrix_less_one_half():
    data = Graphs(count=3, test_size=3)
    inputs = data.splits["train"].inputs
    assert torch.equal(data.prepare(inputs, train=True), inputs - 0.5)


def test_edges_come_with_the_probabilities_of_the_model():
    """Blocks are not stored; with p = 1 inside and 0 across they can be seen."""
    blocks = block_graphs(500, 10, 1.0, 0.0, torch.Generator().manual_seed(0))[:, 0]
    assert (blocks.sum(2) == 4).all(), "two complete graphs of five nodes"
    assert not connected(blocks).any()
    across = block_graphs(500, 10, 0.0, 1.0, torch.Generator().manual_seed(0))[:, 0]
    assert torch.equal(across, 1 - blocks - torch.eye(10)), "the same blocks, all that was left out"
    # Which node is in which block is even: every pair is together in 4 of 9 graphs (4.5 standard
    # deviations allowed).
    many = block_graphs(20_000, 10, 1.0, 0.0, torch.Generator().manual_seed(1))[:, 0].mean(0)
    pairs = many[~torch.eye(10, dtype=torch.bool)]
    assert (pairs - 4 / 9).abs().max() < 4.5 * math.sqrt(4 / 9 * 5 / 9 / 20_000)


@pytest.mark.parametrize(("inside", "across"), [(0.5, 0.05), (0.2, 0.6)])
def test_the_number_of_edges_is_as_expected(inside, across):
    """20 pairs inside, 25 across: mean and variance of a sum of Bernoulli variables, within 5
    standard errors."""
    count = 20_000
    edges = (
        block_graphs(count, 10, inside, across, torch.Generator().manual_seed(2))
        .sum((1, 2, 3))
        .double()
        / 2
    )
    mean = 20 * inside + 25 * across
    variance = 20 * inside * (1 - inside) + 25 * across * (1 - across)
    assert abs(float(edges.mean()) - mean) < 5 * math.sqrt(variance / count)
    assert abs(float(edges.var()) / variance - 1) < 5 * math.sqrt(2 / count) + 0.01


def test_about_as_many_are_connected_as_of_the_published_ones():
    """432 of 1 000 published graphs are; the standard error of that is 0.016."""
    data = Graphs(count=4000, test_size=1)
    assert abs(float(data.splits["train"].targets.double().mean()) - 0.432) < 0.05


def test_seeds():
    first, again, other = (
        Graphs(count=40, test_size=40),
        Graphs(count=40, test_size=40),
        Graphs(count=40, test_size=40, seed=1),
    )
    for name in ("train", "test"):
        assert torch.equal(first.splits[name].inputs, again.splits[name].inputs)
        assert torch.equal(first.splits[name].targets, again.splits[name].targets)
        assert not torch.equal(first.splits[name].inputs, other.splits[name].inputs)
    assert not torch.equal(first.splits["train"].inputs, first.splits["test"].inputs)
    longer = Graphs(count=70, test_size=40)
    assert torch.equal(longer.splits["test"].inputs, first.splits["test"].inputs), (
        "the test set is its own affair"
    )


def test_the_global_random_numbers_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Graphs(count=5, test_size=5)
    assert torch.equal(torch.get_rng_state(), before)


# --- files


@pytest.fixture
def mine(npz):
    """30 graphs of 10 nodes in a file, every label wrong."""
    graphs = block_graphs(30, 10, 0.5, 0.05, torch.Generator().manual_seed(5))[:, 0]
    arrays = {
        "adjacency": graphs.numpy().astype(np.float64),
        "label": 1.0 - connected(graphs).double().numpy(),
    }
    return arrays, npz(arrays)


def test_a_file_is_read_as_it_is_or_with_its_labels_made_anew(tmp_path, mine):
    arrays, _ = mine
    kept, anew = (
        Graphs(str(tmp_path), file="mine.npz", count=30, test_size=8, relabel=r)
        for r in (False, True)
    )
    for data in (kept, anew):
        np.testing.assert_array_equal(data.splits["train"].inputs[:, 0], arrays["adjacency"])
        assert "30 of its 30 labels differ" in data.info.provenance
        assert torch.equal(
            data.splits["test"].inputs, Graphs(count=1, test_size=8).splits["test"].inputs
        )
    assert kept.splits["train"].targets.tolist() == arrays["label"].tolist()
    assert anew.splits["train"].targets.tolist() == (1 - arrays["label"]).tolist()
    assert "kept as they are there" in kept.info.provenance
    assert "computed anew" in anew.info.provenance


def test_fewer_of_a_file_are_drawn_by_the_seed(tmp_path, mine):
    arrays, _ = mine
    some = [
        Graphs(str(tmp_path), file="mine.npz", count=12, test_size=1, seed=s) for s in (0, 0, 1)
    ]
    drawn = [{graph.numpy().tobytes() for graph in data.splits["train"].inputs} for data in some]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] <= {graph.astype(np.float32).tobytes() for graph in arrays["adjacency"]}
    for data in some:
        assert torch.equal(
            data.splits["train"].targets, 1 - connected(data.splits["train"].inputs[:, 0]).long()
        )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": None}, r"mine\.npz has the arrays adjacency but not label"),
        (
            {"adjacency": np.zeros((30, 10, 9))},
            r"'adjacency' is float64 of shape \[30, 10, 9\]. Expected square matrices",
        ),
        ({"adjacency": np.zeros((30, 100))}, "square matrices"),
        ({"adjacency": np.zeros((0, 10, 10)), "label": np.zeros(0)}, "square matrices"),
        ({"adjacency": np.zeros((30, 8, 8))}, r"dataset\.nodes=10 nodes"),
        (
            {"adjacency": np.full((30, 10, 10), 0.5)},
            "not of simple graphs. Expected 0 and 1, symmetric",
        ),
        ({"adjacency": np.full((30, 10, 10), np.nan)}, "not of simple graphs"),
        ({"adjacency": np.ones((30, 10, 10))}, "zero diagonal"),
        ({"adjacency": np.triu(np.ones((30, 10, 10)), 1)}, "symmetric"),
        ({"label": np.zeros(29)}, r"array 'label' is float64 of shape \[29\]. Expected 30 numbers"),
        ({"label": np.full(30, 2)}, "1 for a connected graph and 0 for another"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, mine, changed, said):
    mine[1](**changed)
    with pytest.raises(DataError, match=said) as caught:
        Graphs(str(tmp_path), file="mine.npz", count=30)
    assert str(tmp_path / "mine.npz") in str(caught.value)


def test_what_cannot_be_had_is_refused(tmp_path, mine):
    with pytest.raises(DataError, match=r"dataset\.count=31 asks for more .* at most 30 is valid"):
        Graphs(str(tmp_path), file="mine.npz", count=31)
    with pytest.raises(DataError, match=r"dataset\.file: there is no file other\.npz"):
        Graphs(str(tmp_path), file="other.npz")
    for nodes in (1, 7):
        with pytest.raises(DataError, match=rf"dataset\.nodes={nodes}: .* even number"):
            Graphs(nodes=nodes)


def test_the_published_labels(real_data):
    """42 of the 474 graphs that are called connected are not; all others are right."""
    published, anew = (
        Graphs(real_data, file="stoch_block.npz", relabel=r).splits["train"] for r in (False, True)
    )
    assert torch.equal(published.inputs, anew.inputs)
    exact = torch.tensor(
        [int(reached_from_node_0(graph) == 10) for graph in published.inputs[:, 0].tolist()]
    )
    assert torch.equal(anew.targets, exact)
    assert (int(published.targets.sum()), int(exact.sum())) == (474, 432)
    wrong = published.targets != exact
    assert int(wrong.sum()) == 42
    assert (published.targets[wrong] == 1).all()
    assert (
        "42 of its 1000 labels differ" in Graphs(real_data, file="stoch_block.npz").info.provenance
    )
    # The made ones are of the published model: 22.5 ones in a matrix on average, within 3 standard
    # errors of 1 000 graphs.
    made = Graphs(count=4000, test_size=1).splits["train"].inputs.sum((1, 2, 3))
    assert abs(float(published.inputs.sum((1, 2, 3)).mean() - made.mean())) < 3 * float(
        made.std()
    ) / math.sqrt(1000)
