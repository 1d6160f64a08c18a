"""A run's result on the console: its metrics beside the paper's, and where the figures are."""

from collections.abc import Mapping
from typing import Any

from learnsym.run.directory import RunDirectory

STATUS = {
    "V": "read in a primary source",
    "S": "quoted by another paper",
    "F": "measured from a published figure",
    "C": "counted from the released configuration",
    "R": "recalled, unchecked",
}


def show(
    result: Mapping[str, Any], directory: RunDirectory | None, is_new: bool, same_code: bool
) -> None:
    """Print a table of metrics beside the paper's values, and the paths of the figures."""
    if not is_new:
        print("this run is finished; fresh=true starts over")
    if not same_code:
        print("remark: this result was made by another version of the code")
    print(f"data: {result['data']['provenance']}")
    published: dict[str, list[Mapping[str, Any]]] = {}
    for entry in result.get("paper") or []:
        published.setdefault(entry["metric"], []).append(entry)
    rows = [
        (name, number(value), "; ".join(_published(e) for e in published.get(name, [])))
        for name, value in result["metrics"].items()
    ]
    width = max((len(name) for name, *_ in rows), default=0)
    for name, value, paper in rows:
        print(f"  {name:<{width}}  {value:>10}" + (f"   paper: {paper}" if paper else ""))
    if directory is not None:
        for figure in result.get("figures", []):
            print(f"figure: {directory.path / figure}")


def number(value: float) -> str:
    """Five significant digits; whole numbers as they are."""
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def _published(entry: Mapping[str, Any]) -> str:
    where = f", {entry['where']}" if entry.get("where") else ""
    return f"{entry['value']} [{STATUS.get(entry['status'], entry['status'])}{where}]"
