"""Files come from an address, the hub or a folder; what is not what it should be is refused and leaves nothing."""

import tarfile

import pytest

from mass_jax.tasks.download import Address
from mass_jax.tasks.mathematics import fetch
from mass_jax.tasks.mathematics.fetch import files, from_hub, local
from tests.tasks.mathematics import miniature
from tests.tasks.mathematics.miniature import write


def names(found):
    return {split: [path.name for path in paths] for split, paths in found.items()}


def test_the_public_files_of_gsm8k_are_pinned():
    assert [len(address.sha256) for address in fetch.PUBLIC["gsm8k"]] == [64, 64]


def test_the_public_address(tmp_path, monkeypatch):
    folder = miniature.gsm8k(tmp_path / "web")
    addresses = tuple(Address((folder / name).as_uri()) for name in ("train.jsonl", "test.jsonl"))
    monkeypatch.setitem(fetch.PUBLIC, "gsm8k", addresses)
    found = files("gsm8k", "public", tmp_path / "downloads")
    assert found["train"] == [tmp_path / "downloads/gsm8k/train.jsonl"] and set(found) == {"train", "test"}


def test_the_public_archive_of_math(tmp_path, monkeypatch):
    folder = miniature.math(tmp_path / "web/MATH")
    with tarfile.open(tmp_path / "MATH.tar", "w") as archive:
        archive.add(folder, "MATH")
    monkeypatch.setitem(fetch.PUBLIC, "math", (Address((tmp_path / "MATH.tar").as_uri()),))
    for _ in range(2):
        found = files("math", "public", tmp_path / "downloads")
        assert [len(found[split]) for split in ("train", "test")] == [14, 14]
    assert sorted(path.name for path in (tmp_path / "downloads/math").iterdir()) == ["MATH", "MATH.tar"]


def test_a_broken_archive_is_refused_and_fetched_anew(tmp_path, monkeypatch):
    broken = write(tmp_path / "MATH.tar", "not an archive")
    monkeypatch.setitem(fetch.PUBLIC, "math", (Address(broken.as_uri()),))
    with pytest.raises(ValueError, match="MATH.tar is not the archive of MATH: try again"):
        files("math", "public", tmp_path / "downloads")
    assert list((tmp_path / "downloads/math").iterdir()) == []


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "evil", "x")
    with tarfile.open(tmp_path / "MATH.tar", "w") as archive:
        archive.add(tmp_path / "evil", "../../evil2")
    monkeypatch.setitem(fetch.PUBLIC, "math", (Address((tmp_path / "MATH.tar").as_uri()),))
    with pytest.raises(ValueError, match="is not the archive of MATH"):
        files("math", "public", tmp_path / "downloads")
    assert not list(tmp_path.rglob("evil2"))


@pytest.mark.parametrize(
    ("dataset", "create"), [("gsm8k", miniature.gsm8k), ("math", miniature.math), ("svamp", miniature.svamp)]
)
def test_a_local_folder(tmp_path, dataset, create):
    found = files(dataset, str(create(tmp_path / "data")), tmp_path / "downloads")
    assert set(found) == {"train", "test"} and not (tmp_path / "downloads").exists()


def test_files_of_a_local_folder_are_known_by_the_ends_of_their_names(tmp_path):
    for name in (
        "gsm8k_train.jsonl",
        "train_socratic.jsonl",
        "README.md",
        "gsm8k_test.jsonl",
        "pretrain.jsonl",
        "latest.json",
    ):
        write(tmp_path / name, "")
    assert names(local("gsm8k", tmp_path)) == {"train": ["gsm8k_train.jsonl"], "test": ["gsm8k_test.jsonl"]}


def test_parts_of_a_split(tmp_path):
    for name in ("train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "test.json"):
        write(tmp_path / name, "")
    assert names(local("svamp", tmp_path))["train"] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


def test_one_file_is_the_test_split_of_ones_own_problems(tmp_path):
    path = write(tmp_path / "mine.jsonl", "")
    assert local("jsonl", path) == {"test": [path]}
    write(tmp_path / "test.jsonl", "")
    assert names(local("jsonl", tmp_path)) == {"test": ["test.jsonl"]}


def test_bad_local_folders(tmp_path):
    with pytest.raises(
        ValueError, match="there is no folder .*nowhere: give the gsm8k data's folder, or 'public' or 'hub'"
    ):
        local("gsm8k", tmp_path / "nowhere")
    write(tmp_path / "train.jsonl", "")
    with pytest.raises(ValueError, match="has no test split of gsm8k: it needs files such as test.jsonl"):
        local("gsm8k", tmp_path)
    write(tmp_path / "test.jsonl", "")
    write(tmp_path / "my_train.json", "")
    with pytest.raises(ValueError, match=r"'train' more than once \(my_train.json, train.jsonl\)"):
        local("gsm8k", tmp_path)


@pytest.mark.parametrize("source", ["public", "hub"])
def test_ones_own_problems_have_no_address(tmp_path, source):
    with pytest.raises(ValueError, match=f"'jsonl' has no {source} source"):
        files("jsonl", source, tmp_path)


@pytest.mark.parametrize(("dataset", "count"), [("gsm8k", 1), ("math", 7), ("svamp", 1)])
def test_the_hub(tmp_path, monkeypatch, dataset, count):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fake(repository, name, *, repo_type):
        asked.append((repository, name, repo_type))
        return str(tmp_path / name)

    monkeypatch.setattr(hub, "hf_hub_download", fake)
    found = files(dataset, "hub", tmp_path)
    assert [len(found[split]) for split in ("train", "test")] == [count, count]
    assert len(set(asked)) == 2 * count and {kind for *_, kind in asked} == {"dataset"}
    assert all("test-00000" in path.name for path in found["test"])


def test_what_the_hub_refuses_is_said_in_a_sentence(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def refused(*arguments, **options):
        raise OSError("401")

    monkeypatch.setattr(hub, "hf_hub_download", refused)
    with pytest.raises(
        ConnectionError, match=r"a.parquet of the data set own/er cannot be fetched .*OSError.*HF_TOKEN"
    ):
        from_hub("own/er", "a.parquet")
