"""`mode=book`: record finished runs under results/, and write EXPERIMENTS.md and docs/fidelity.md
from what is there.
"""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from learnsym.config.search_path import CONFIG_DIR
from learnsym.errors import ConfigError
from learnsym.report.book_page import page
from learnsym.report.fidelity import fidelity_page, read_facts
from learnsym.report.measured import FACTS, Section, put, read_outline, read_sections, write_runs
from learnsym.report.presets import preset_path
from learnsym.report.recording import Finished, entry_of, grouped, read_finished
from learnsym.results.collect import collect
from learnsym.run.mode import ResultsMode
from learnsym.utils.files import write_atomically


class Book(ResultsMode):
    """The page of all experiments.

    Attributes:
        works_on_results: needs neither network nor data.
        takes_runs: `runs=` may be given: these are recorded first.
    """

    takes_runs = True

    def __init__(self, folder: str | None = None) -> None:
        """Args:
        folder: where results/, EXPERIMENTS.md and docs/ are; null: this checkout.
        """
        self.folder = CONFIG_DIR.parent if folder is None else Path(folder).absolute()

    def __call__(self, cfg: DictConfig) -> Path:
        """Record `cfg.runs`, if any, and write the page.

        Returns:
            The page.

        Raises:
            ConfigError: a file of results/ is not as it should be, or none of the runs can be
                recorded.
        """
        results = self.folder / "results"
        if not (results / "book.yaml").is_file():
            raise ConfigError(
                f"mode.folder: there is no results/book.yaml in {self.folder}; a checkout of LearnSym is wanted."
            )
        outline = read_outline(results)
        sections = read_sections(results, outline)
        check_presets(results, sections)
        if cfg.runs:
            for name in record(sections, cfg.runs if isinstance(cfg.runs, str) else list(cfg.runs)):
                write_runs(results / f"{name}.yaml", sections[name])
        if (results / f"{FACTS}.yaml").is_file():
            (self.folder / "docs").mkdir(exist_ok=True)
            write_atomically(
                self.folder / "docs" / "fidelity.md", fidelity_page(read_facts(results))
            )
        path = self.folder / "EXPERIMENTS.md"
        write_atomically(path, page(outline, sections))
        return path


def check_presets(results: Path, sections: dict[str, Section]) -> None:
    """Every preset that is listed exists, and is listed once.

    Raises:
        ConfigError: one does not, or is not.
    """
    seen: dict[str, str] = {}
    for name, section in sections.items():
        for preset in (*section.presets, *section.aliases):
            if preset != "none" and not preset_path(preset).is_file():
                raise ConfigError(
                    f"{results / name}.yaml: {preset} is listed, but there is no such preset."
                )
            if preset in seen:
                raise ConfigError(
                    f"{results / name}.yaml: {preset} is listed in {seen[preset]}.yaml already."
                )
            seen[preset] = name
        if wrong := next((p for p in section.aliases.values() if p not in section.presets), None):
            raise ConfigError(
                f"{results / name}.yaml: {wrong} has another name under aliases, but is not listed under presets."
            )


def record(sections: dict[str, Section], patterns: str | list[str]) -> list[str]:
    """Put runs into the tables, and say of each what became of it.

    Args:
        sections: by name; those that change are replaced.
        patterns: of directories of runs.

    Returns:
        Names of the tables that have changed.

    Raises:
        ConfigError: none of the runs can be recorded.
    """
    finished, changed, told = [], {}, 0
    for run in collect(patterns):
        try:
            finished.append(by_its_listed_name(sections, read_finished(run)))
        except ValueError as error:
            print(f"left out: {run.path.name}: {error}.")
    for runs, left_out in grouped(finished):
        for run, why in left_out:
            print(f"left out: {run.name}: {why}.")
        try:
            name, line = record_group(sections, runs)
        except ValueError as error:
            print(f"left out: {', '.join(run.name for run in runs)}: {error}.")
            continue
        told += 1
        changed |= {name: None} if name else {}
        print(line)
    if not told:
        raise ConfigError(
            f"runs={patterns}: none of these runs can be recorded; the lines above say why."
        )
    return list(changed)


def record_group(sections: dict[str, Section], runs: list[Finished]) -> tuple[str | None, str]:
    """Put runs that differ in the seed alone into their table.

    Returns:
        The table's name, if it has changed, and a line that says what became of them.

    Raises:
        ValueError: they belong to no table, or have nothing to show.
    """
    command = runs[0].command
    name = next(
        (name for name, section in sections.items() if section.home(command.preset) is not None),
        None,
    )
    if name is None:
        raise ValueError(
            f"experiment={command.preset} is in no table of results/; list it in one, under presets"
        )
    entry = entry_of(runs, sections[name].metrics)
    sections[name], outcome, before = put(sections[name], entry)
    line = f"{outcome}: {entry.command} (n={entry.n}, {entry.date}, {entry.hardware}), in results/{name}.yaml"
    if outcome in ("replaced", "kept") and before is not None:
        line += f"; {'was' if outcome == 'replaced' else 'there is a newer one'}: n={before.n}, {before.date}, {before.commit}"
    return (name if outcome in ("new", "replaced") else None), f"{line}."


def by_its_listed_name(sections: dict[str, Section], run: Finished) -> Finished:
    """The same run, by the preset under which its table lists it: some are one preset under two
    names.
    """
    listed = next(
        (s.home(run.command.preset) for s in sections.values() if s.home(run.command.preset)), None
    )
    if run.command.preset is None or listed is None:
        return run
    return replace(run, command=replace(run.command, preset=listed))
