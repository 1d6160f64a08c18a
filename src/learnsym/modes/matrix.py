"""`mode=matrix`: which combinations of network, convolution, group, data set and recipe are valid.

Each refusal is the message of the command line (`learnsym.modes.combinations`).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from learnsym.config.search_path import choices_of
from learnsym.errors import ConfigError
from learnsym.modes.combinations import Combination, Combinations
from learnsym.run.mode import ResultsMode
from learnsym.schema import Size
from learnsym.utils.files import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame


class Matrix(ResultsMode):
    """Print a table of the valid combinations, and of the reasons why the others are refused.

    Args:
        nets: only these networks, "conv5" or, inside another, "augerino/conv5"; empty: all.
        datasets: only these data sets; empty: all.
        narrow: settings of networks -> the size with which they are tried on an example.
    """

    def __init__(
        self,
        nets: tuple[str, ...] = (),
        datasets: tuple[str, ...] = (),
        narrow: Mapping[str, Size] | None = None,
    ) -> None:
        self.nets, self.datasets, self.narrow = nets, datasets, narrow or {}

    def __call__(self, cfg: DictConfig) -> Path:
        """Write matrix.md and matrix.csv; return the path of the first."""
        _check_names("datasets", self.datasets, choices_of("dataset"))
        _check_names("nets", [net.partition("/")[0] for net in self.nets], choices_of("net"))
        combinations = Combinations(self.narrow)
        _check_names("nets", self.nets, combinations.nets)
        table = self._table(combinations)
        text = _report(combinations, table)
        folder = Path(cfg.paths.out).absolute() / "matrix"
        write_atomically(folder / "matrix.md", text)
        write_atomically(folder / "matrix.csv", table.to_csv(index=False))
        print(text)
        return folder / "matrix.md"

    def _table(self, combinations: Combinations) -> "DataFrame":
        """Return a row for each combination: net, conv, base_group, dataset, valid, reason."""
        import pandas as pd

        nets, datasets = self.nets or combinations.nets, self.datasets or combinations.datasets
        wanted = [c for c in combinations if c.net in nets and c.dataset in datasets]
        table = pd.DataFrame(wanted)[["net", "conv", "base_group", "dataset"]].fillna("")
        reasons = [combinations.refusal(combination) or "" for combination in wanted]
        valid = ["no" if reason else "yes" for reason in reasons]
        return table.assign(valid=valid, reason=reasons)


def _check_names(key: str, names: Iterable[str], valid: list[str]) -> None:
    if unknown := [name for name in names if name not in valid]:
        raise ConfigError(f"mode.{key}: there is no {unknown[0]}; valid: {', '.join(valid)}.")


def _report(combinations: Combinations, table: "DataFrame") -> str:
    """Return Markdown that can be read on a console."""
    valid = table[table.valid == "yes"]
    default = (combinations.nets[0], combinations.datasets[0])
    recipes = {
        pair: combinations.refusal(Combination(*default, optimizer=pair[0], schedule=pair[1]))
        for pair in combinations.recipes
    }
    refused = {pair: message for pair, message in recipes.items() if message}
    blocks = [
        "# Combinations",
        f"{len(valid)} of {len(table)} combinations of net, conv, base_group and dataset are valid "
        f"with their default settings, each of them with {len(recipes) - len(refused)} of "
        f"{len(recipes)} recipes (train/optimizer, train/schedule). What a network does not take "
        "is refused if it is typed, and counted so.",
        *(f"{' with '.join(pair)}: {message}" for pair, message in refused.items()),
        "## Valid: how many choices of conv and base_group",
        _markdown(_counts(table)),
        f"What fits {' and '.join(combinations.from_files)}, only the file can tell: here it is "
        "what fits images of the shape of some data set.",
        "## Valid: which",
        _markdown(_valid_choices(valid)),
        "## Refused: why",
        _markdown(_reasons(table[table.valid == "no"])),
    ]
    return "\n\n".join(blocks) + "\n"


def _markdown(table: "DataFrame") -> str:
    return table.to_markdown(index=False, disable_numparse=True)


def _counts(table: "DataFrame") -> "DataFrame":
    """Count valid choices; a row for every network, a column for data sets that count the same."""
    import pandas as pd

    counts = table.assign(valid=table.valid == "yes").pivot_table(
        "valid", "net", "dataset", aggfunc="sum", sort=False
    )
    alike: dict[tuple[str, ...], list[str]] = {}
    for dataset, column in counts.items():
        alike.setdefault(tuple(str(n or ".") for n in column), []).append(str(dataset))
    columns = {" ".join(datasets): numbers for numbers, datasets in alike.items()}
    return pd.DataFrame({"net": counts.index, **columns})


def _valid_choices(valid: "DataFrame") -> "DataFrame":
    """Join the data sets of equal choices, then the groups that go with the same data sets."""
    columns = ["net", "conv", "base_group", "dataset"]
    table = valid[columns].replace("", "-")
    for column in ("dataset", "base_group"):
        others = [c for c in columns if c != column]
        table = table.groupby(others, sort=False)[column].agg(", ".join).reset_index()
    return table[columns]


def _reasons(refused: "DataFrame") -> "DataFrame":
    """Count refusals; those that differ in names and numbers alone have one reason."""
    groups = refused.groupby(refused.reason.map(_pattern), sort=False)
    table = groups.agg(
        combinations=("net", "size"),
        net=("net", lambda nets: ", ".join(nets.unique())),
        sentence=("reason", "first"),
    )
    return table.sort_values("combinations", ascending=False, kind="stable").rename(
        columns={"sentence": "sentence (of one of them)"}
    )


def _pattern(message: str) -> str:
    """Return a message without its advice and the names and numbers of one combination.

    >>> _pattern("conv=full would have no effect: Conv5 takes no conv. Try a net that does.")
    'conv= would have no effect: X takes no conv'
    """
    reason = re.split(r"; | \(|\. Try ", message)[0]
    reason = re.sub(r"\b(base_group|conv|dataset)=\w+", r"\1=", reason)
    reason = re.sub(r"\b[A-Z]\w*", "X", reason)  # classes
    return re.sub(r"[\d.]+(?: x [\d.]+)*|'\w+'", "0", reason)
