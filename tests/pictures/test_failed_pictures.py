"""Pictures that cannot be attacked, attacks that crash or cheat, interrupts and full disks: what is kept and said."""

import fakes
import pyarrow.parquet as pq
import pytest
from attacked_pictures import FILES, configured, files_below, white_among_others
from PIL import Image

from advbench.config.goals import GoalSpec
from advbench.errors import UserError
from advbench.pictures.attack import attack_pictures
from advbench.records.record import OK, UNKNOWN, Reason
from advbench.records.storage.tables import write_records

pytestmark = pytest.mark.usefixtures("fakes_registered")


@pytest.mark.parametrize("attack", fakes.CRASHES)
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_crash_costs_the_picture_at_fault_alone(without_panel, tmp_path, attack, batch_size):
    paths = white_among_others(tmp_path / "in")
    done = attack_pictures(configured(*paths, attack=attack, batch_size=batch_size, out=tmp_path / "out"))
    assert [outcome.path for outcome in done] == paths
    assert [outcome.record.status for outcome in done] == [OK, OK, UNKNOWN, OK]
    record = done[2].record
    assert record.error.startswith(f"attack '{attack}' failed on '{paths[2]}': ")
    error = {"crash": "RuntimeError", "crash_of_memory": "MemoryError", "crash_of_type": "TypeError"}[attack]
    assert record.error.endswith(f"': {error}: the white one is too much; try another attack or model")
    assert (record.met, record.linf, record.forwards) == (None, None, None)
    assert (record.reason, record.clean_class is None) == (Reason.CRASHED, False)
    assert record.sample_id
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "1", "3", "record.csv", "record.parquet"]
    rows = pq.read_table(tmp_path / "out" / "record.parquet").to_pylist()
    assert [row["status"] for row in rows] == [OK, OK, UNKNOWN, OK]


def test_an_attack_that_fails_on_some_is_not_run_again_for_the_others(without_panel, tmp_path):
    paths, passes = white_among_others(tmp_path / "in"), []
    config = configured(*paths, attack="fails", out=tmp_path / "out")
    done = attack_pictures(config, lambda what, *_: passes.append(what))
    assert [outcome.record.status for outcome in done] == [OK, OK, UNKNOWN, OK]
    assert done[2].record.error.endswith(": TimeoutError: the white one took too long; try another attack or model")
    assert not done[2].files
    assert passes == ["loading tiny", "4 pictures: pass 1"]


@pytest.mark.parametrize("attack", [name for name in fakes.CHEATS if name not in ("clean_returned", "keeps_graph")])
def test_of_an_attack_that_cheats_nothing_is_believed(without_panel, tmp_path, attack):
    paths = white_among_others(tmp_path / "in")[:2]
    done = attack_pictures(configured(*paths, attack=attack, out=tmp_path / "out"))
    for outcome in done:
        assert (outcome.record.status, outcome.record.met, outcome.record.linf) == (UNKNOWN, None, None)
        assert outcome.record.error.startswith(f"attack '{attack}' failed on '{outcome.path}': ")
        assert not outcome.files
    assert files_below(tmp_path / "out") == ["record.csv", "record.parquet"]


@pytest.mark.parametrize("attack", ["clean_returned", "keeps_graph"])
def test_an_attack_that_finds_nothing_is_honest(without_panel, tmp_path, attack):
    (outcome,) = attack_pictures(configured(fakes.picture(tmp_path / "a.png"), attack=attack, out=tmp_path / "out"))
    assert (outcome.record.status, outcome.record.met) == (OK, False)


@pytest.mark.parametrize(
    ("model", "reason", "why"),
    [
        ("probabilities", Reason.CRASHED, "expected logits, got probabilities"),
        ("not_finite", Reason.NO_ANSWER, "expected finite logits, got NaN or infinity"),
        ("not_finite_off_grid", Reason.NO_ANSWER, "the model's answers are not all finite"),
    ],
)
@pytest.mark.parametrize("attack", ["fgsm", "topk"])
def test_of_a_model_that_misbehaves_nothing_is_known(without_panel, tmp_path, model, attack, reason, why):
    path = fakes.picture(tmp_path / "a.png")
    (outcome,) = attack_pictures(configured(path, model=model, attack=attack, eps=0.3 / 255, out=tmp_path / "out"))
    assert (outcome.record.status, outcome.record.reason, outcome.record.met) == (UNKNOWN, reason, None)
    assert why in outcome.record.error


def test_a_lone_crash_leaves_no_folder_behind(tmp_path):
    white = fakes.picture(tmp_path / "in" / "white.png", contrast=0)
    (outcome,) = attack_pictures(configured(white, attack="crash", out=tmp_path / "out" / "deeper"))
    assert outcome.record.status == UNKNOWN
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def broken(folder):
    """A picture that is there and cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder / "broken.png"


def test_what_cannot_be_read_is_told_and_the_others_go_on(without_panel, tmp_path):
    good = [fakes.picture(tmp_path / f"{name}.png") for name in "ac"]
    long = tmp_path / "long.png"
    Image.new("RGB", (2_000_000, 1)).save(long)
    (tmp_path / "none").mkdir()
    paths = [good[0], tmp_path / "nix.png", broken(tmp_path), long, tmp_path / "none", good[1]]
    done = attack_pictures(configured(*paths, batch_size=2, out=tmp_path / "out"))
    failed = [outcome for outcome in done if outcome.record.status == UNKNOWN]
    assert {outcome.path for outcome in failed} == set(paths[1:5])
    assert [outcome.path for outcome in done if outcome.path.suffix and outcome.path.name != "nix.png"] == [
        good[0],
        paths[2],
        long,
        good[1],
    ]
    assert all(outcome.record.error.startswith(f"cannot read '{outcome.path}': ") for outcome in failed)
    assert "too long and thin" in next(outcome.record.error for outcome in failed if outcome.path == long)
    assert len(pq.read_table(tmp_path / "out" / "record.parquet")) == 6


@pytest.mark.parametrize("batch_size", [1, 16])
def test_if_nothing_can_be_read_that_is_an_error_and_nothing_is_left(tmp_path, batch_size):
    paths = [broken(tmp_path / "x"), broken(tmp_path / "y"), tmp_path / "nix.png"]
    for some in (paths, paths[:1], paths[2:]):
        with pytest.raises(UserError, match="cannot read") as error:
            attack_pictures(configured(*some, batch_size=batch_size, out=tmp_path / "out"))
        assert len(str(error.value).splitlines()) == len(some)
        assert not (tmp_path / "out").exists()


def test_no_pictures_at_all(tmp_path):
    with pytest.raises(UserError, match="no pictures were given"):
        attack_pictures(configured())


def test_an_interrupt_keeps_what_was_finished(without_panel, tmp_path):
    paths = white_among_others(tmp_path / "in")
    config = configured(*paths, attack="interrupt", batch_size=1, out=tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        attack_pictures(config)
    rows = pq.read_table(tmp_path / "out" / "record.parquet").to_pylist()
    assert [row["status"] for row in rows] == [OK, OK]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "1", "record.csv", "record.parquet"]
    assert set(files_below(tmp_path / "out" / "1")) == FILES


def test_an_interrupt_at_once_leaves_nothing(tmp_path):
    white = fakes.picture(tmp_path / "in" / "white.png", contrast=0)
    with pytest.raises(KeyboardInterrupt):
        attack_pictures(configured(white, attack="interrupt", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": GoalSpec("topk-exclusion", k=11)}, "k is at most 10 for the 20 classes of tiny"),
        ({"goal": GoalSpec("targeted", classes=("tigre",))}, r"no class 'tigre'\ndid you mean tiger"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
    ],
)
def test_what_cannot_work_is_refused_before_any_picture_is_attacked(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        attack_pictures(configured(fakes.picture(tmp_path / "a.png"), out=tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_a_wrong_place_for_results_is_refused_before_the_model_is_loaded(tmp_path):
    (tmp_path / "file").write_text("kept")
    picture = fakes.picture(tmp_path / "a.png")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"^cannot write to the folder {out}"):
            attack_pictures(configured(picture, model="no such model", out=out))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_ends_the_run_with_a_sentence(without_panel, tmp_path, monkeypatch):
    def full(path, *_):
        raise UserError(f"cannot write {path}: No space left on device", hint="choose another folder with --out")

    paths = white_among_others(tmp_path / "in")
    written = []

    def write(stem, records):
        if len(written) > 1:
            full(stem)
        written.append(stem)
        return write_records(stem, records)

    monkeypatch.setattr("advbench.pictures.files.write_records", write)
    with pytest.raises(UserError, match="No space left on device"):
        attack_pictures(configured(*paths, batch_size=1, out=tmp_path / "out"))
    assert len(pq.read_table(tmp_path / "out" / "record.parquet")) == 2
