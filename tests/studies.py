"""The configs of studies, by name: all of ``configs/`` but the manifest of the suite."""

from pathlib import Path

MANIFEST = "reproduce"
NAMES = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "configs").glob("*.py")
    if path.stem not in ("__init__", MANIFEST)
)
