"""LearnSym's launchers, in the one place where Hydra looks for plugins: the jobs of a sweep with
joblib, Slurm or Ray.

hydra-joblib-launcher, hydra-submitit-launcher and hydra-ray-launcher end a sweep as soon as one of
its processes dies, and nobody learns of the other jobs then. Here such a job is named at the end
like any other that failed.
"""
