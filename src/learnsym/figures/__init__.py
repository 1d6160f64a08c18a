"""Figures of runs; matplotlib is imported where it is used."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "compare": "draw_comparison",
        "distance": "draw_distance_to_equivariance",
        "dynamics": "draw_flows draw_drift case_of",
        "layers": "draw_layer_errors draw_kernels draw_features",
        "learned_symmetry": "layers_that_learn draw_learned_layers draw_circle draw_fractions "
        "final_fractions "
        "draw_final_fractions",
        "response": "draw_response draw_responses draw_augmented_images",
        "run": "draw_run draw_learned_symmetry",
        "spectrum": "draw_spectrum draw_spectra",
        "style": "new_figure colours label_axes add_legend draw_arc draw_band pi_ticks save render",
        "sweep": "draw_sweep",
        "width": "draw_bands draw_box draw_widths draw_width_sweep",
    },
)
