"""Tables, pages and EXPERIMENTS.md of finished runs."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "curves": "curves_html stride make_curves",
        "experiments_page": "Key canonical read_command command_line key_of load_yaml "
        "read_sections "
        "read_measured one_line paper_values sweep_of experiments_page",
        "fidelity": "Settings Difference Facts read_facts fidelity_page",
        "html": "Image report_page",
        "latex": "latex pages_of head tex",
        "sweep_callback": "SweepTable summarise",
        "tables": "RunTable make_table markdown absent_list csv_text to_markdown",
        "write": "write_report",
    },
)
