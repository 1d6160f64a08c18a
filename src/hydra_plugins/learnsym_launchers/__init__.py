"""Start the jobs of a sweep with joblib, Slurm or Ray; Hydra looks for plugins here.

Hydra's own launchers end a sweep as soon as one of its processes dies, and lose the other jobs.
"""
