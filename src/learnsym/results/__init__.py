"""Finished runs: read, grouped, with statistics; without torch."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "collect": "Run collect jobs_of read_run",
        "grouping": "Group group_runs scale_of settings_of flatten differing_keys slug_of numbered "
        "remarks",
        "statistics": "is_number mean_and_sd",
        "symmetry": "Measurement with_errors named_by_experiment measurements "
        "fractions_over_training "
        "distances_over_training short_name",
    },
)
