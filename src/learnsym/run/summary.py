"""A run's result: what result.json holds, and how the console shows it beside the paper's."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from learnsym.run.directory import RunDirectory
from learnsym.run.mode import Outcome
from learnsym.schema import PlainDict, PlainMapping

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from learnsym.run.context import RunContext

STATUS = {
    "V": "read in a primary source",
    "S": "quoted by another paper",
    "F": "measured from a published figure",
    "C": "counted from the released configuration",
    "R": "recalled, unchecked",
}
"""How a value of a paper is known."""


def result_of(
    context: "RunContext", outcome: Outcome, seconds: float, made_by: PlainMapping
) -> PlainDict:
    """Return the content of result.json; `made_by`: command, versions, configuration's hash."""
    from learnsym.distributions.base import learned_symmetry

    cfg, info = context.cfg, context.data.info
    return {
        "status": "finished",
        "metrics": outcome.metrics,
        "learned_symmetry": learned_symmetry(context.net),
        "paper": published(cfg),
        "seconds": round(seconds, 3),
        "seconds_of_training": round(context.training.progress.seconds, 3),
        "device": device_name(context.fabric),
        "processes": context.fabric.world_size,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **made_by,
        "scale": cfg.scale,
        "seed": cfg.seed,
        "parameters": sum(p.numel() for p in context.net.parameters()),
        "data": {
            "provenance": info.provenance,
            "sizes": dict(info.sizes),
            "fingerprint": context.data.fingerprint,
            "remarks": list(context.data.remarks),
        },
        "true_widths": dict(info.true_widths),
        "figures": outcome.figures,
    }


def published(config: PlainMapping) -> list[PlainDict]:
    """Return what the preset's paper reports for this run's target and class of data."""
    dataset = config["dataset"]
    wanted = {"target": dataset.get("target"), "dataset": dataset["_target_"].rpartition(".")[2]}
    entries = [dict(entry) for entry in config.get("paper") or []]
    return [e for e in entries if all(e.get(key, value) == value for key, value in wanted.items())]


def device_name(fabric: "Fabric") -> str:
    """Return the GPU's name, or the processor's and the number of threads."""
    import torch

    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE) or [platform.processor()]
    return f"{fabric.device.type} ({names[0]}, {torch.get_num_threads()} threads)"


def show(
    result: PlainMapping, directory: RunDirectory | None, is_new: bool, same_code: bool
) -> None:
    """Print metrics beside the paper's values, and the paths of the figures."""
    if not is_new:
        print("this run is finished; fresh=true starts over")
    if not same_code:
        print("remark: this result was made by another version of the code")
    print(f"data: {result['data']['provenance']}")
    for remark in [] if is_new else result["data"].get("remarks", []):
        print(f"remark: {remark}")
    values: dict[str, list[str]] = {}
    for entry in result.get("paper") or []:
        where = f", {entry['where']}" if entry.get("where") else ""
        shown = f"{entry['value']} [{STATUS.get(entry['status'], entry['status'])}{where}]"
        values.setdefault(entry["metric"], []).append(shown)
    width = max((len(name) for name in result["metrics"]), default=0)
    for name, value in result["metrics"].items():
        number = str(value) if isinstance(value, int) else f"{value:.5g}"
        paper = f"   paper: {'; '.join(values[name])}" if name in values else ""
        print(f"  {name:<{width}}  {number:>10}{paper}")
    if directory is not None:
        for figure in result.get("figures", []):
            print(f"figure: {directory.path / figure}")
