"""LearnSym: `python main.py` trains the default experiment; `python main.py --help` says what can be changed."""

import hydra
from omegaconf import DictConfig

from learnsym import cli


@hydra.main(version_base="1.3", config_path="cfg", config_name="config")
def job(cfg: DictConfig) -> None:
    """One run: of a command, or of a sweep."""
    cli.job(cfg)


if __name__ == "__main__":
    cli.main(job)
