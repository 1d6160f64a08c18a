"""From YAML to objects: what a configuration may name, whether it is valid, building it."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "allowed_classes": "allow_plugins plugins get_class",
        "build": "build to_plain dry_build dummy_data_spec",
        "explain": "explain",
        "former_names": "with_current_names with_former_names",
        "hydra_guard": "guard_hydra check_hydra",
        "resolvers": "register_resolvers",
        "search_path": "config_folders choices_of choice_file",
        "validate": "check check_top_level iter_targets check_target unknown_key",
    },
)
