"""Where the files of a data set come from: its public address, the Hugging Face hub, or a folder of the user's."""

import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from mass_jax.tasks.download import Address, download

SPLITS = ("train", "test")
DATASETS = ("gsm8k", "math", "svamp", "jsonl")
SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
"""The folders of MATH."""

Files = dict[str, list[Path]]
"""The files of each split."""


_GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data"
_SVAMP = "https://huggingface.co/datasets/ChilleD/SVAMP/resolve/main/data"
PUBLIC = {
    "gsm8k": (
        Address(f"{_GSM8K}/train.jsonl", "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"),
        Address(f"{_GSM8K}/test.jsonl", "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"),
    ),
    "math": (Address("https://people.eecs.berkeley.edu/~hendrycks/MATH.tar"),),
    # The release of Patel et al., 2021 (https://arxiv.org/abs/2103.07191) has no split; this is the one in use.
    "svamp": (
        Address(f"{_SVAMP}/train-00000-of-00001.parquet"),
        Address(f"{_SVAMP}/test-00000-of-00001.parquet"),
    ),
}
HUB = {
    "gsm8k": ("openai/gsm8k", ("main/{split}-00000-of-00001.parquet",)),
    "math": ("EleutherAI/hendrycks_math", tuple(f"{each}/{{split}}-00000-of-00001.parquet" for each in SUBJECTS)),
    "svamp": ("ChilleD/SVAMP", ("data/{split}-00000-of-00001.parquet",)),
}
MATH_500 = ("HuggingFaceH4/MATH-500", "test.jsonl")
"""The 500 test problems of Lightman et al., 2023 (https://arxiv.org/abs/2305.20050)."""

_FILE = re.compile(r"(?:.*[_.-])?(?P<split>train|test)(?P<part>-\d+-of-\d+)?\.(?:json|jsonl|parquet)")


def files(dataset: str, source: str, downloads: Path) -> Files:
    """The files of a data set, downloaded if need be.

    Args:
      dataset: one of `DATASETS`.
      source: ``public``, ``hub``, or a folder (for ``jsonl`` also a single file: it counts as the test split).
      downloads: where files of the public address are kept.

    Raises:
      ValueError: if the source lacks what the data set needs, or a download is not the file that it should be.
      ConnectionError: if a file cannot be fetched.
    """
    if source in ("public", "hub") and dataset not in PUBLIC:
        raise ValueError(f"the data set {dataset!r} has no {source} source: give a file or folder as its source.")
    if source == "public":
        return _public(dataset, downloads / dataset)
    if source == "hub":
        repository, patterns = HUB[dataset]
        names = {split: [pattern.format(split=split) for pattern in patterns] for split in SPLITS}
        return {split: [from_hub(repository, name) for name in names[split]] for split in SPLITS}
    return local(dataset, Path(source).expanduser())


def local(dataset: str, path: Path) -> Files:
    """The files of a data set in a folder of the user's.

    A split is a folder ``train`` or ``test`` of JSON files (MATH), or a file whose name ends with the split's, such as
    ``gsm8k_train.jsonl`` or ``test-00000-of-00001.parquet``.
    """
    if path.is_file() and dataset == "jsonl":
        return {"test": [path]}
    if not path.is_dir():
        else_ = "one file of them" if dataset == "jsonl" else "'public' or 'hub'"
        raise ValueError(f"there is no folder {path}: give the {dataset} data's folder, or {else_}.")
    found: Files = {}
    for split in SPLITS:
        if (path / split).is_dir():
            names = sorted((path / split).rglob("*.json"))
        else:
            matches = [(file, _FILE.fullmatch(file.name)) for file in sorted(path.iterdir())]
            whole = [file for file, match in matches if match and match["split"] == split and not match["part"]]
            names = [file for file, match in matches if match and match["split"] == split]
            if whole and len(names) > 1:
                listed = ", ".join(file.name for file in names)
                raise ValueError(f"{path} has the split {split!r} more than once ({listed}): keep one of these files.")
        if names:
            found[split] = names
    needed = ("test",) if dataset == "jsonl" else SPLITS
    if missing := [split for split in needed if split not in found]:
        raise ValueError(
            f"{path} has no {' and no '.join(missing)} split of {dataset}: it needs files such as {missing[0]}.jsonl, "
            f"{missing[0]}.json or {missing[0]}.parquet, or a folder {missing[0]} of .json files."
        )
    return found


def from_hub(repository: str, name: str) -> Path:
    """One file of a data set on the Hugging Face hub, from its cache where it is there."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ConnectionError(
            "the hub needs huggingface_hub: pip install huggingface_hub, or give a folder."
        ) from error
    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except Exception as error:  # its own, those of the HTTP client beneath, and the system's
        raise ConnectionError(
            f"{name} of the data set {repository} cannot be fetched from the hub ({type(error).__name__}): set "
            "HF_TOKEN if it is gated, or download it elsewhere and give its folder as the source."
        ) from error


def forget(dataset: str, downloads: Path) -> None:
    """Remove the downloads of a data set that no SHA-256 vouches for, so that they are fetched anew."""
    folder = downloads / dataset
    for address in PUBLIC[dataset]:
        if address.sha256 is None:
            (folder / address.url.rpartition("/")[2]).unlink(missing_ok=True)
            shutil.rmtree(folder / "MATH", ignore_errors=True)


def _public(dataset: str, folder: Path) -> Files:
    paths = [download(address, folder) for address in PUBLIC[dataset]]
    if dataset != "math":
        return local(dataset, folder)
    extracted = folder / "MATH"
    if not extracted.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            try:
                with tarfile.open(paths[0]) as archive:
                    archive.extractall(temporary, filter="data")
                (Path(temporary) / "MATH").rename(extracted)
            except (tarfile.TarError, EOFError, zlib.error, FileNotFoundError) as error:
                paths[0].unlink()
                raise ValueError(f"{PUBLIC[dataset][0].url} is not the archive of MATH: try again.") from error
    return local(dataset, extracted)
