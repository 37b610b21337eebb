"""What `make reproduce` and `make reproduce-full` run; no study, but the manifest of them (docs/reproduce.md).

    python -m experiments.reproduce --config=configs/reproduce.py --workdir=runs/reproduce

Hardware: 2 CPU cores. Time: five hours by the estimates below. Those of the demo, the generator and arithmetic come
from runs on an AMD EPYC and an Intel Xeon beside other programs; the others are guesses until they have run.
"""

from ml_collections import ConfigDict

from configs import ablations

REWARDS = "scorer,attribution,frozen,shuffled_scorer,random,privileged,outcome,rejection,solve"
DOMAINS = ("countdown", "grid", "programs", "agent")
"""Domains without a measured run; beside them the demo's and arithmetic."""
ANY_GATE = ("--config.gate.oracle_gain=-1.0", "--config.gate.strict_gain=-1.0")
"""A domain without headroom gets its numbers, too."""


def get_config() -> ConfigDict:
    """All entries; the shortest run first, those of `full` last."""
    config = ConfigDict()
    config.seeds = (0, 1, 2, 3, 4)
    config.entries = ConfigDict()

    # What fits into a night.
    config.entries.demo = _study("configs/demo.py", 20.0)
    config.entries.generator = {
        "program": "experiments.benchmarks.generator",
        "config": "configs/demo.py",
        "flags": ("--split=test", "--seeds=0,1,2,3,4", f"--rows={REWARDS}"),
        "minutes": 75.0,
        "by_seed": False,  # its seeds share one base
    }
    config.entries.arithmetic = _study("configs/arithmetic.py", 25.0)

    # The rest.
    config.entries.exactness = {
        "program": "experiments.benchmarks.exactness",
        "config": "configs/demo.py",
        "flags": ("--config.generator.examples=6",),
        "minutes": 120.0,
        "by_seed": False,
        "full": True,
    }
    for group, arms in ablations.ARMS.items():
        config.entries[f"ablation_{group}"] = _study(f"configs/ablations.py:{group}", 10.0 + 5.0 * len(arms), full=True)
    for domain in DOMAINS:
        config.entries[domain] = _study(f"configs/{domain}.py", 30.0, ANY_GATE, full=True)
    return config


def _study(config: str, minutes: float, flags: tuple[str, ...] = (), full: bool = False) -> dict[str, object]:
    """A whole study, once a seed."""
    return {"program": "experiments.demo", "config": config, "flags": flags, "minutes": minutes, "full": full}
