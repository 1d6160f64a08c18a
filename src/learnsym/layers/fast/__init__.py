"""Layers with a hand-written backward pass, each the same function as a plain one."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "batched_conv": "tap_conv tanh_pool_norm gather_taps sum_taps average_pool space_mean",
        "batched_mlp": "batched_mlp",
        "context": "Context",
        "fft_conv": "fft_conv fft_is_faster transforms",
        "per_image_conv": "per_image_conv patches",
        "scatter_taps": "tap_runs",
        "swish_linear": "column_sums",
    },
)
