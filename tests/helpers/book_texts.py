"""A folder results/ as tests of mode=book begin with: one table, without or with an entry."""

from pathlib import Path

MARIO = "augerino/mario_iggy"
BOOK = "about: All.\nparts: [{title: One, sections: [t]}]\n"
SECTION = """\
# a remark of somebody's
title: Two arms
presets: {augerino/mario_iggy/low: '', augerino/mario_iggy/high: lambda 0.1}
aliases: {augerino/mario_iggy: augerino/mario_iggy/low}
columns:
  - {metric: learned_rotation_width_rad, name: width}   # rad
  - {metric: test_accuracy, name: accuracy, percent: true}
"""
HEAD = "command,metric,mean,sd,n,note,seeds,seconds,hardware,torch,date,commit\n"
COMMAND = f"python main.py experiment={MARIO}/low scale=cpu paths.data=DIR"
CIRCUMSTANCES = '0 1 2,57,"cpu (X, 2 threads)",,2026-11-20,d7efeda'
ENTRY = f"""\
{COMMAND},learned_rotation_width_rad,1.500,0.087,3,,{CIRCUMSTANCES}
{COMMAND},test_accuracy,1.000,,3,in all,{CIRCUMSTANCES}
"""


def make_results(folder: Path, entry: str = "", section: str = SECTION) -> Path:
    """Write book.yaml, t.yaml and measured.csv."""
    folder.mkdir(exist_ok=True)
    (folder / "book.yaml").write_text(BOOK)
    (folder / "t.yaml").write_text(section)
    (folder / "measured.csv").write_text(HEAD + entry)
    return folder
