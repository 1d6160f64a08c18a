"""One run: composing, checking, launching, its directory, and reading what it has trained."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "mode": "Outcome Mode ResultsMode",
        "context": "RunContext build_context build_network dry_forward seed_everything",
        "directory": "RunDirectory lock_folder read_json read_rows",
        "loggers": "Logger Jsonl Wandb TensorBoard",
        "run_id": "with_checkpoint_config resolved config_hash run_name",
        "trained": "TrainedModel load",
        "versions": "code_hash commit",
    },
)
