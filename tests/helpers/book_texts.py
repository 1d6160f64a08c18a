"""A table of results/ and an entry of it, as tests of the book begin with."""

SECTION = """\
# a remark of somebody's
title: Two arms
presets: {augerino/mario_iggy/low: '', augerino/mario_iggy/high: lambda 0.1}
aliases: {augerino/mario_iggy: augerino/mario_iggy/low}
columns:
  - {metric: learned_rotation_width_rad, name: width}   # rad
  - {metric: test_accuracy, name: accuracy, percent: true}
"""
ENTRY = """\
runs:
  - command: python main.py experiment=augerino/mario_iggy/low scale=cpu paths.data=DIR
    n: 3
    seeds: [0, 1, 2]
    metrics:
      learned_rotation_width_rad: {mean: 1.500, sd: 0.087}
      test_accuracy: {mean: 1.000, note: in all}
    seconds: 57
    hardware: cpu (X, 2 threads)
    date: 2026-11-20
    commit: d7efeda
"""
