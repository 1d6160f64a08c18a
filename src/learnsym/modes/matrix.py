"""`mode=matrix`: which combinations of network, convolution, group, data set and recipe are valid.

Each refusal is the message of the command line (`learnsym.modes.combinations`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from pandas import DataFrame

from learnsym.config.search_path import choices_of
from learnsym.errors import ConfigError
from learnsym.modes.combinations import Combination, Combinations
from learnsym.run.mode import ResultsMode
from learnsym.schema import Size
from learnsym.utils.files import write_atomically

_COLUMNS = ["net", "conv", "base_group", "dataset"]


@dataclass
class Matrix(ResultsMode):
    """Print a table of the valid combinations, and of the reasons why the others are refused."""

    nets: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    narrow: Mapping[str, Size] | None = None

    def __call__(self, cfg: DictConfig) -> Path:
        """Write matrix.md and matrix.csv; return the path of the first."""
        _check_names("datasets", self.datasets, choices_of("dataset"))
        _check_names("nets", [net.partition("/")[0] for net in self.nets], choices_of("net"))
        combinations = Combinations(self.narrow or {})
        _check_names("nets", self.nets, combinations.nets)
        nets, datasets = self.nets or combinations.nets, self.datasets or combinations.datasets
        wanted = [c for c in combinations if c.net in nets and c.dataset in datasets]
        reasons = [combinations.refusal(combination) or "" for combination in wanted]
        valid = ["no" if reason else "yes" for reason in reasons]
        table = DataFrame(wanted)[_COLUMNS].fillna("").assign(valid=valid, reason=reasons)
        text = _report(combinations, table)
        folder = Path(cfg.paths.out).absolute() / "matrix"
        write_atomically(folder / "matrix.md", text)
        write_atomically(folder / "matrix.csv", table.to_csv(index=False))
        print(text)
        return folder / "matrix.md"


def _check_names(key: str, names: Iterable[str], valid: list[str]) -> None:
    if unknown := [name for name in names if name not in valid]:
        raise ConfigError(f"mode.{key}: there is no {unknown[0]}; valid: {', '.join(valid)}.")


def _report(combinations: Combinations, table: DataFrame) -> str:
    """Return Markdown that can be read on a console."""
    valid, refused = table[table.valid == "yes"], table[table.valid == "no"]
    tables = (_counts(table), _valid_choices(valid), _reasons(refused))
    counts, choices, reasons = (t.to_markdown(index=False, disable_numparse=True) for t in tables)
    default = (combinations.nets[0], combinations.datasets[0], None, None)
    recipes = {p: combinations.refusal(Combination(*default, *p)) for p in combinations.recipes}
    unfit = [f"{' with '.join(pair)}: {message}" for pair, message in recipes.items() if message]
    blocks = [
        "# Combinations",
        f"{len(valid)} of {len(table)} combinations of net, conv, base_group and dataset are valid "
        f"with their default settings, each of them with {len(recipes) - len(unfit)} of "
        f"{len(recipes)} recipes (train/optimizer, train/schedule). What a network does not take "
        "is refused if it is typed, and counted so.",
        *unfit,
        "## Valid: how many choices of conv and base_group",
        counts,
        f"What fits {' and '.join(combinations.from_files)}, only the file can tell: here it is "
        "what fits images of the shape of some data set.",
        "## Valid: which",
        choices,
        "## Refused: why",
        reasons,
    ]
    return "\n\n".join(blocks) + "\n"


def _counts(table: DataFrame) -> DataFrame:
    """Count valid choices; a row for every network, a column for data sets that count the same."""
    counts = table.assign(valid=table.valid == "yes").pivot_table(
        "valid", "net", "dataset", aggfunc="sum", sort=False
    )
    alike: dict[tuple[str, ...], list[str]] = {}
    for dataset, column in counts.items():
        alike.setdefault(tuple(str(n or ".") for n in column), []).append(str(dataset))
    columns = {" ".join(datasets): numbers for numbers, datasets in alike.items()}
    return DataFrame({"net": counts.index, **columns})


def _valid_choices(valid: DataFrame) -> DataFrame:
    """Join the data sets of equal choices, then the groups that go with the same data sets."""
    table = valid[_COLUMNS].replace("", "-")
    for column in ("dataset", "base_group"):
        others = [c for c in _COLUMNS if c != column]
        table = table.groupby(others, sort=False)[column].agg(", ".join).reset_index()
    return table[_COLUMNS]


def _reasons(refused: DataFrame) -> DataFrame:
    """Count refusals; those that differ in names and numbers alone have one reason."""
    columns = {
        "combinations": ("net", "size"),
        "net": ("net", lambda nets: ", ".join(nets.unique())),
        "sentence (of one of them)": ("reason", "first"),
    }
    table = refused.groupby(refused.reason.map(_pattern), sort=False).agg(**columns)
    return table.sort_values("combinations", ascending=False, kind="stable")


def _pattern(message: str) -> str:
    """Return a message without its advice and the names and numbers of one combination.

    >>> _pattern("conv=full would have no effect: Conv5 takes no conv. Try a net that does.")
    'conv= would have no effect: X takes no conv'
    """
    reason = re.split(r"; | \(|\. Try ", message)[0]
    reason = re.sub(r"\b(base_group|conv|dataset)=\w+", r"\1=", reason)
    reason = re.sub(r"\b[A-Z]\w*", "X", reason)  # classes
    return re.sub(r"[\d.]+(?: x [\d.]+)*|'\w+'", "0", reason)
