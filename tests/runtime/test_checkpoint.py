"""What is saved comes back bitwise; what is damaged or foreign is said so."""

import errno
import functools
import gc
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mass_jax import records
from mass_jax.runtime import array_tree, checkpoint
from mass_jax.runtime.checkpoint import Checkpointer, CheckpointError
from tests import programs

# Nothing is left to the garbage collector to complain of.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(checkpoint, "PAUSE", 0.0)


def make_state(seed):
    return jax.tree.map(lambda leaf: leaf, _make_state(seed))  # tests change the containers


@functools.cache
def _make_state(seed):
    key = jax.random.key(seed)
    params = {
        "w": jax.random.normal(key, (64, 32)),
        "layers": [{"b": jnp.full(3, seed, jnp.bfloat16)}, {"b": jnp.full(3, jnp.nan)}],
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.warmup_constant_schedule(0.0, 1e-3, 5)))
    _, opt_state = optimizer.update(params, optimizer.init(params), params)
    return {
        "params": params,
        "opt_state": opt_state,
        "keys": jax.random.split(key, 3),
        "rbg": jax.random.key(seed, impl="rbg"),
        "host": np.arange(5.0) + seed,  # float64, which JAX would not hold
        "step": seed,
        "rate": 0.1 * seed,
        "seen": np.int64(seed + 2**40),
        "none": None,
        "empty": {},
    }


def assert_bitwise_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y), path
        assert getattr(x, "dtype", None) == getattr(y, "dtype", None), path
    for (path, x), (_, y) in zip(array_tree.encode(a).items(), array_tree.encode(b).items(), strict=True):
        assert np.asarray(x).shape == np.asarray(y).shape and np.asarray(x).tobytes() == np.asarray(y).tobytes(), path


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """Checkpoints of steps 1 and 2; tests work on copies."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpointer(directory) as checkpointer:
        for step in (1, 2):
            assert checkpointer.save(step, make_state(step), data={"next": step}, extra={"best": [step, 0.5]})
    return directory


@pytest.fixture
def checkpoints(two_checkpoints, tmp_path):
    return Path(shutil.copytree(two_checkpoints, tmp_path / "checkpoints"))


@pytest.mark.parametrize("template", ["arrays", "abstract"])
def test_round_trip_is_bitwise(checkpoints, template):
    state = make_state(0)
    if template == "abstract":
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, jax.Array) else x, state)
    restored = Checkpointer(checkpoints).restore(state)
    assert (restored.step, restored.data, restored.extra) == (2, {"next": 2}, {"best": [2, 0.5]})
    assert_bitwise_equal(restored.state, make_state(2))
    np.testing.assert_array_equal(
        jax.random.normal(restored.state["keys"][1]), jax.random.normal(make_state(2)["keys"][1])
    )


def test_a_step_can_be_chosen(checkpoints):
    assert_bitwise_equal(Checkpointer(checkpoints).restore(make_state(0), step=1).state, make_state(1))
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 in .*There are: \[1, 2\]"):
        Checkpointer(checkpoints).restore(make_state(0), step=7)


def test_parts_come_back_alone_and_bitwise(checkpoints):
    template = {name: make_state(0)[name] for name in ("params", "rbg")}
    restored = Checkpointer(checkpoints).restore(template, parts=("params", "rbg"))
    assert (restored.step, restored.data) == (2, {"next": 2})
    assert_bitwise_equal(restored.state, {name: make_state(2)[name] for name in template})
    with pytest.raises(CheckpointError, match=r"host: float64\[5\] \(saved\), absent \(expected\)"):
        Checkpointer(checkpoints).restore(template)
    del template["params"]["w"], template["rbg"]
    with pytest.raises(CheckpointError) as e:
        Checkpointer(checkpoints).restore(template, parts=("params", "rbg"))
    assert "params/w: float32[64, 32] (saved), absent (expected)" in str(e.value), "a part is whole"
    assert "rbg: key<rbg>[] (saved), absent (expected)" in str(e.value) and "opt_state" not in str(e.value)


@pytest.mark.parametrize(("damaged", "step"), [("params/w", 1), ("host", 2)])
def test_of_parts_only_what_is_read_can_be_damaged(checkpoints, caplog, damaged, step):
    file = checkpoints / "2" / "manifest" / "metadata"
    manifest = records.unsealed(json.loads(file.read_text()))
    manifest["checksums"][damaged] = "another"
    file.write_text(json.dumps(records.sealed(manifest)))
    params = make_state(0)["params"]
    assert Checkpointer(checkpoints).restore({"params": params}, parts=("params",)).step == step
    assert (f"the saved values differ in {damaged}" in caplog.text) == (step == 1)


def test_arrays_may_be_donated_and_changed_right_after_save(tmp_path):
    advance = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)
    x, host = jnp.arange(2_000_000.0), np.arange(2_000_000.0)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": x, "host": host})
        for _ in range(3):
            x = advance(x)
        host += 1
        state = checkpointer.restore({"x": x, "host": host}).state
    np.testing.assert_array_equal(state["x"], np.arange(2_000_000, dtype=np.float32))
    np.testing.assert_array_equal(state["host"], np.arange(2_000_000.0))


def test_the_template_says_where_arrays_go(checkpoints):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    template = make_state(0)
    for name in ("keys", "rbg"):
        spec = sharding if name == "keys" else NamedSharding(mesh, PartitionSpec())
        template[name] = jax.ShapeDtypeStruct(template[name].shape, template[name].dtype, sharding=spec)
    template["params"]["w"] = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=sharding)
    state = Checkpointer(checkpoints).restore(template).state
    assert state["params"]["w"].sharding == state["keys"].sharding == sharding
    assert_bitwise_equal(state, make_state(2))


def test_only_the_newest_are_kept_and_a_step_is_saved_once(tmp_path):
    with Checkpointer(tmp_path / "c", keep=2) as checkpointer:
        assert checkpointer.latest_step() is None and not (tmp_path / "c").exists()
        for step in (3, 5, 8):
            assert checkpointer.save(step, {"x": jnp.full(2, float(step))})
        assert not checkpointer.save(8, {"x": jnp.zeros(2)})
        assert checkpointer.steps() == [5, 8]
        with pytest.raises(CheckpointError, match="Step 6 cannot be saved.*step 8 is there already"):
            checkpointer.save(6, {"x": jnp.zeros(2)})
        assert checkpointer.restore({"x": jnp.zeros(2)}).state["x"][0] == 8


DAMAGED = [
    ("manifest/metadata", "remove"),
    ("manifest/metadata", "half"),
    ("state/manifest.ocdbt", "half"),
    ("state/_METADATA", "empty"),
    ("largest", "remove"),
    ("largest", "half"),
    ("largest", "empty"),
]


def damage(step_directory, name, how):
    files = [p for p in step_directory.rglob("*") if p.is_file()]
    file = max(files, key=lambda p: p.stat().st_size) if name == "largest" else step_directory / name
    content = file.read_bytes()
    file.unlink() if how == "remove" else file.write_bytes(content[: len(content) // 2] if how == "half" else b"")


@pytest.mark.parametrize(("name", "how"), DAMAGED)
def test_a_damaged_checkpoint_falls_back_and_is_moved_aside(checkpoints, caplog, name, how):
    damage(checkpoints / "2", name, how)
    with Checkpointer(checkpoints) as checkpointer, caplog.at_level(logging.WARNING, "absl"):
        restored = checkpointer.restore(make_state(0))
        assert restored.step == 1 and restored.data == {"next": 1}
        assert_bitwise_equal(restored.state, make_state(1))
        lines = [r.getMessage() for r in caplog.records if "Damaged" in r.getMessage()]
        assert len(lines) == 1 and str(checkpoints) in lines[0] and "Continuing from step 1" in lines[0]
        assert (checkpoints / "2").exists()  # reading changes nothing
        assert checkpointer.save(2, make_state(9))
    assert_bitwise_equal(Checkpointer(checkpoints).restore(make_state(0)).state, make_state(9))
    assert (checkpoints.parent / "checkpoints-damaged" / "2").exists()


def test_every_file_cut_in_half_is_noticed_or_harmless(checkpoints, tmp_path):
    files = [p.relative_to(checkpoints / "2") for p in (checkpoints / "2").rglob("*") if p.is_file()]
    outcomes = set()
    for i, file in enumerate(files):
        copy = shutil.copytree(checkpoints, tmp_path / f"copy{i}")
        damage(copy / "2", file, "half")
        restored = Checkpointer(copy).restore(make_state(0))
        assert_bitwise_equal(restored.state, make_state(restored.step))
        outcomes.add(restored.step)
    assert outcomes == {1, 2}


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)


def test_a_flipped_byte_in_any_file_is_noticed_or_harmless(checkpoints, caplog):
    files = sorted(p for p in (checkpoints / "2").rglob("*") if p.is_file() and p.stat().st_size)
    largest = max(files, key=lambda p: p.stat().st_size)
    rng = np.random.default_rng(0)
    places = [(file, int(rng.integers(file.stat().st_size))) for file in files]
    places += [(largest, int(place)) for place in rng.integers(largest.stat().st_size, size=10)]
    outcomes = {}
    for file, place in places:
        flip(file, place)
        restored = Checkpointer(checkpoints).restore(make_state(0))
        assert_bitwise_equal(restored.state, make_state(restored.step))
        assert (restored.data, restored.extra) == ({"next": restored.step}, {"best": [restored.step, 0.5]})
        outcomes.setdefault(file, []).append(restored.step)
        flip(file, place)
    assert outcomes[largest].count(1) >= 8, "hardly a byte of the arrays' own file that nothing depends on"
    assert outcomes[checkpoints / "2" / "manifest" / "metadata"] == [1]
    assert "the saved values differ in" in caplog.text
    gc.collect()
    assert "never retrieved" not in caplog.text, "a sentence, and no tracebacks"


def test_a_checkpoint_from_before_there_were_checksums(checkpoints, caplog):
    file = checkpoints / "2" / "manifest" / "metadata"
    manifest = json.loads(file.read_text())
    for name in ("checksum", "checksums", "config"):
        del manifest[name]
    file.write_text(json.dumps(manifest | {"format": 1}))
    assert_bitwise_equal(Checkpointer(checkpoints).restore(make_state(0)).state, make_state(2))
    assert "is an old one without checksums: used unchecked" in caplog.text
    file.write_text(json.dumps(records.sealed(manifest | {"format": 3})))
    assert Checkpointer(checkpoints).restore(make_state(0)).step == 1, "of a later program"


def test_an_error_that_passes_costs_nothing(checkpoints, monkeypatch, caplog):
    read, failures = Checkpointer._read, iter([OSError("the file server is away"), OSError("still")])

    def fail_at_first(self, *given):
        for failure in failures:
            raise failure
        return read(self, *given)

    monkeypatch.setattr(Checkpointer, "_read", fail_at_first)
    assert Checkpointer(checkpoints).restore(make_state(0)).step == 2
    assert "Damaged" not in caplog.text


@pytest.mark.parametrize("fault", ["unreadable", "other values"])
def test_all_processes_fall_back_together(checkpoints, monkeypatch, caplog, fault):
    """What this process reads well is not used where another one could not: it votes as the other one would."""
    votes = []

    def largest(number):
        # A restore asks: which step, (refused, unreadable, changed) of it, which step, ...
        votes.append(number)
        objection = 4 if fault == "unreadable" else 5
        return max(number, len(votes) == objection)

    monkeypatch.setattr(checkpoint.hosts, "largest", largest)
    restored = Checkpointer(checkpoints).restore(make_state(0))
    assert restored.step == 1
    assert_bitwise_equal(restored.state, make_state(1))
    words = "unreadable elsewhere" if fault == "unreadable" else "what another process read"
    assert words in caplog.text and "Continuing from step 1" in caplog.text


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    with Checkpointer(tmp_path, config={"steps": 2, "model": {"width": 8}}) as checkpointer:
        checkpointer.save(1, {"x": jnp.ones(2)})
    assert Checkpointer(tmp_path, config={"model": {"width": 8}, "steps": 2}).restore({"x": jnp.ones(2)}).step == 1
    with pytest.raises(CheckpointError, match=r"another config, differing in:\n  steps: 2 \(there\), 3 \(now\)\n"):
        Checkpointer(tmp_path, config={"steps": 3, "model": {"width": 8}}).restore({"x": jnp.ones(3)})


def test_nothing_left_to_fall_back_to(checkpoints):
    damage(checkpoints / "2", "largest", "half")
    with pytest.raises(
        CheckpointError, match=r"No checkpoint can be read.*experiments.train: it goes on from .*, of \[1\]"
    ):
        Checkpointer(checkpoints).restore(make_state(0), step=2)
    damage(checkpoints / "1", "manifest/metadata", "half")
    with pytest.raises(CheckpointError, match=f"No checkpoint can be read in '{checkpoints}'.*another directory"):
        Checkpointer(checkpoints).restore(make_state(0))


def test_a_checkpoint_under_another_name_is_no_later_one(checkpoints):
    (checkpoints / "2").rename(checkpoints / "999")
    with pytest.raises(CheckpointError, match=r"{999: 'its manifest is of step 2: give the folder that name back'}"):
        Checkpointer(checkpoints).restore(make_state(0), step=999)
    assert Checkpointer(checkpoints).restore(make_state(0)).step == 1


def test_a_missing_checkpoint_is_a_sentence_and_makes_nothing(tmp_path):
    with pytest.raises(CheckpointError, match=f"no checkpoint in '{tmp_path}/none'.*start anew"):
        Checkpointer(tmp_path / "none").restore(make_state(0))
    assert not (tmp_path / "none").exists()


def test_a_foreign_checkpoint_names_the_leaves_that_differ(checkpoints):
    template = make_state(0)
    template["params"]["w"] = jnp.zeros((64, 33))
    template["scorer"] = jnp.zeros(2)
    template["rbg"] = jax.random.key(0)
    del template["host"]
    with pytest.raises(CheckpointError) as e:
        Checkpointer(checkpoints).restore(template)
    for part in (
        f"Checkpoint 2 in '{checkpoints}'",
        "params/w: float32[64, 32] (saved), float32[64, 33] (expected)",
        "scorer: absent (saved), float32[2] (expected)",
        "rbg: key<rbg>[] (saved), key<fry>[] (expected)",
        "host: float64[5] (saved), absent (expected)",
        "Give the config it was saved with",
    ):
        assert part in str(e.value), str(e.value)
    assert "opt_state" not in str(e.value)


def test_a_checkpoint_of_another_program(tmp_path):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(4, args=ocp.args.StandardSave({"x": jnp.ones(2)}))
    with pytest.raises(CheckpointError, match="damaged or of another program.*another directory"):
        Checkpointer(tmp_path).restore({"x": jnp.ones(2)})


def test_what_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/c', where .*Not a directory.*no earlier one"):
        Checkpointer(tmp_path / "file" / "c").save(1, {"x": jnp.ones(2)})
    with pytest.raises(CheckpointError, match="step 1 must be JSON-able"):
        Checkpointer(tmp_path / "c").save(1, {"x": jnp.ones(2)}, extra={"x": jnp.ones(2)})
    with pytest.raises(ValueError, match="same path"):
        Checkpointer(tmp_path / "c").save(1, {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}})
    with pytest.raises(CheckpointError, match="keep=0"):
        Checkpointer(tmp_path / "c", keep=0)


def test_a_full_disk_loses_nothing(tmp_path):
    state = {"x": jnp.arange(1e5)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpointer(tmp_path / "c") as checkpointer:
        checkpointer.save(1, state)
        checkpointer.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # no file of this process may grow beyond
        try:
            words = r"0\.4 MB of arrays .*, where .* MB are free \(File too large\)\. Step 1 is the last good one"
            with pytest.raises(CheckpointError, match=words):
                checkpointer.save(2, jax.tree.map(jnp.negative, state))
                checkpointer.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Checkpointer(tmp_path / "c") as checkpointer:
        assert checkpointer.restore(state).step == 1
        assert checkpointer.save(2, jax.tree.map(jnp.negative, state))
    assert np.array_equal(Checkpointer(tmp_path / "c").restore(state).state["x"], -np.asarray(state["x"]))


def test_a_disk_without_room_for_a_directory_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Orbax's own threads would wait for it for 20 minutes, and the process for them."""
    mkdir = os.mkdir

    def full(path: str, *more: int, **rest: int) -> None:
        if "state.orbax-checkpoint-tmp" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        mkdir(path, *more, **rest)

    before = set(threading.enumerate())
    monkeypatch.setattr(os, "mkdir", full)
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(CheckpointError, match="No space left on device.*There is no earlier one"):
        checkpointer.save(1, {"x": jnp.ones(2)})
        checkpointer.wait()
    checkpointer.close()
    started = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    for thread in started:
        thread.join(300)  # a busy machine ends them late, orbax not before 1,200 s
    assert [thread.name for thread in started if thread.is_alive()] == []


def make_iterator():
    dataset = grain.MapDataset.source(list(range(50))).shuffle(seed=3).repeat().to_iter_dataset()
    return iter(dataset.map(lambda x: np.array(x)).batch(4))


def test_the_data_iterator_continues_its_sequence(tmp_path):
    undisturbed = make_iterator()
    expected = [next(undisturbed) for _ in range(30)]  # past the end of the first epoch
    first = make_iterator()
    seen = [next(first) for _ in range(9)]
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(9, {"x": jnp.ones(1)}, data=first.get_state())
    second = make_iterator()
    second.set_state(Checkpointer(tmp_path).restore({"x": jnp.ones(1)}).data)
    seen += [next(second) for _ in range(21)]
    np.testing.assert_array_equal(seen, expected)


def test_bytes_as_iterator_state(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": jnp.ones(1)}, data=b"\x00\xff{")
    assert Checkpointer(tmp_path).restore({"x": jnp.ones(1)}).data == b"\x00\xff{"


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    newest = 0
    for extra_seconds in (0.0, 0.02):
        process = subprocess.Popen(
            programs.command("runtime.program_saves", str(tmp_path / "c")),
            env=programs.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4):  # each save starts when the one before is on disk
            announced = int(process.stdout.readline())
        time.sleep(extra_seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        restored = Checkpointer(tmp_path / "c").restore({"x": np.zeros(200_000)})
        assert restored.step >= announced - 1 > newest
        np.testing.assert_array_equal(restored.state["x"], np.random.default_rng(restored.step).normal(size=200_000))
        newest = restored.step


def test_the_leftover_of_a_kill_is_no_checkpoint_and_is_cleared(checkpoints):
    leftover = checkpoints / "7.orbax-checkpoint-tmp"
    shutil.copytree(checkpoints / "2", leftover)
    with Checkpointer(checkpoints) as checkpointer:
        assert checkpointer.restore(make_state(0)).step == 2
        assert leftover.exists()  # it may be the unfinished save of a run that this process only looks at
        checkpointer.save(3, make_state(3))
    assert sorted(p.name for p in checkpoints.iterdir()) == ["1", "2", "3"]


def test_what_could_not_be_written_is_a_sentence_when_it_is_closed_too(tmp_path: Path):
    class Full:
        """What orbax does on a full disk: it says so, and says so again."""

        def wait_until_finished(self) -> None:
            raise OSError(28, "No space left on device")

        close = wait_until_finished

    checkpointer = Checkpointer(tmp_path)
    checkpointer._writer = Full()
    with pytest.raises(CheckpointError, match="could not be written .*No space left on device.* no earlier one"):
        checkpointer.close()
    checkpointer.close()
