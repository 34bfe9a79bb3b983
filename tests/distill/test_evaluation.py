"""Scores against slow and obvious versions, splits that never leak, protocols that read what is there and no more."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import distill
from distill.cli.shell import _gather, main
from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Manifest, Row
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.evaluation.cost import cost_of
from distill.evaluation.metrics import accuracy, class_scores, coarse_accuracy, confusion, d_prime, f1, overall
from distill.evaluation.protocols import STRENGTHS, Clips, knn, linear
from distill.evaluation.scoring import Labels, labels_of, score_embeddings
from distill.evaluation.splits import splits_of
from distill.objectives.classification import Classification
from distill.run.embeddings import identity
from distill.students.saved import save_student
from tests.conftest import GOLDEN, tone
from tests.distill.test_fit import fit

RANDOM = np.random.default_rng(0)


def slow_average_precision(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """By its definition: at each threshold, precision times the gain of recall."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = truth[chosen].sum() / truth.sum()
        total += (recall - recall_before) * truth[chosen].mean()
        recall_before = recall
    return total


def slow_auc(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The share of pairs in the right order; equal scores count half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth == 1] for b in scores[truth == 0]]
    return float(np.mean(pairs))


@pytest.mark.parametrize("ties", [False, True])
def test_precision_and_area_equal_their_definitions(ties: bool) -> None:
    scores = RANDOM.standard_normal((60, 5))
    scores = scores.round(1) if ties else scores
    truth = (RANDOM.random((60, 5)) < 0.3).astype(np.float32)
    known = RANDOM.random((60, 5)) < 0.7
    measured = class_scores(scores, truth, known)
    for column in range(5):
        rows = known[:, column]
        expected = slow_average_precision(scores[rows, column], truth[rows, column])
        assert measured.average_precision[column] == pytest.approx(expected)
        assert measured.auc[column] == pytest.approx(slow_auc(scores[rows, column], truth[rows, column]))
        assert measured.clips[column] == truth[rows, column].sum()


def test_a_class_that_cannot_be_ranked_counts_nowhere() -> None:
    scores, truth = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]]), np.array([[1, 0, 1], [0, 0, 1]])
    measured = class_scores(scores, truth)
    assert np.isnan(measured.average_precision[1])
    assert np.isnan(measured.auc[1:]).all()
    assert overall(scores, truth)["mAP"] == 1.0
    assert overall(scores, truth)["AUC"] == 1.0


def test_accuracy_and_confusion() -> None:
    scores, truth = np.eye(3)[[0, 1, 1, 2]], np.eye(3)[[0, 1, 2, 2]]
    assert accuracy(scores, truth) == 0.75
    assert confusion(scores, truth).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def slow_f1(said: NDArray[np.bool_], present: NDArray[np.bool_]) -> float:
    precision, recall = present[said].mean() if said.any() else 0.0, said[present].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_f1_is_the_harmonic_mean_of_precision_and_recall_where_somebody_asked() -> None:
    scores, truth = RANDOM.random((60, 5)), RANDOM.random((60, 5)) < 0.3
    truth[:, 4] = False  # counts nowhere
    known = RANDOM.random((60, 5)) < 0.7
    expected = [slow_f1(scores[known[:, c], c] > 0.5, truth[known[:, c], c]) for c in range(4)]
    assert f1(scores, truth, known, 0.5) == pytest.approx(np.mean(expected))


def test_d_prime_is_the_distance_of_two_normal_distributions() -> None:
    random = np.random.default_rng(0)
    scores = random.standard_normal((200_000, 1)) + (truth := (np.arange(200_000) % 2).reshape(-1, 1)) * 1.5
    assert overall(scores, truth)["d_prime"] == pytest.approx(1.5, abs=0.02)
    assert d_prime(0.5) == pytest.approx(0)
    assert np.isfinite(d_prime(1.0))


def test_chroma_is_the_pitch_without_its_octave() -> None:
    truth, scores = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[1, 1, 0, 2]]
    chroma = LAYOUTS["nsynth_pitch"].coarser["chroma"]
    assert coarse_accuracy(scores, truth, [chroma(pitch) for pitch in ("30", "42", "43")]) == 0.75
    embeddings = RANDOM.standard_normal((60, 8)).astype(np.float32)
    labels = labels_of(
        [Row(str(i), Path("x"), labels=(str(30 + i % 3),), split=str(i % 2)) for i in range(60)], ["30", "31", "32"]
    )
    assert "chroma" in score_embeddings(embeddings, labels, task="nsynth_pitch").result.metrics
    assert "chroma" not in score_embeddings(embeddings, labels).result.metrics


PARTS = {
    "folds": [str(i % 4) for i in range(40)],
    "none": [""] * 40,
    "lists": ["training"] * 20 + ["validation"] * 10 + ["test"] * 10,
    "no validation": ["training"] * 30 + ["test"] * 10,
    "no test": ["training"] * 30 + ["validation"] * 10,
    "two folds": ["a", "b"] * 20,
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_what_is_scored_is_neither_learned_from_nor_chosen_on(parts: list[str]) -> None:
    classes = np.arange(40) // 4 % 4
    splits = splits_of(parts, classes)
    scored = np.concatenate([split.test for split in splits])
    assert len(set(scored.tolist())) == len(scored)
    for split in splits:
        assert split.inner
        for train, held_out in split.inner:
            rows = [set(part.tolist()) for part in (train, held_out, split.test)]
            assert not rows[0] & rows[1]
            assert not (rows[0] | rows[1]) & rows[2]
            assert len(set(classes[train].tolist())) == 4  # made folds are stratified
        assert not set(split.train.tolist()) & set(split.test.tolist())


def test_named_validation_is_not_learned_from() -> None:
    (split,) = splits_of(PARTS["lists"], np.zeros(40, dtype=np.int64))
    assert split.train.tolist() == list(range(20))
    assert split.inner[0][1].tolist() == list(range(20, 30))


def test_a_validation_part_alone_is_scored_and_never_learned_from() -> None:
    (split,) = splits_of(PARTS["no test"], np.zeros(40, dtype=np.int64))
    assert split.name == "validation"
    assert split.test.tolist() == list(range(30, 40))


def blobs(clips: int = 200, noise: float = 0.3, parts: str = "") -> tuple[NDArray[np.float32], Labels]:
    classes = np.arange(clips) % 4
    embeddings = (np.eye(4, 8)[classes] + noise * RANDOM.standard_normal((clips, 8))).astype(np.float32)
    truth = np.eye(4, dtype=np.float32)[classes]
    return embeddings, Labels(("a", "b", "c", "d"), truth, None, (parts,) * clips)


@pytest.mark.parametrize("protocol", ["linear", "mlp", "knn"])
def test_protocols_read_what_is_there_and_no_more(protocol: str) -> None:
    embeddings, labels = blobs()
    scored = score_embeddings(embeddings, labels, protocol)
    assert scored.result.score > 0.95
    assert scored.result.metric == "accuracy"
    assert scored.result.protocol == protocol
    assert scored.confusion is not None
    assert scored.confusion.sum() == 200
    noise = RANDOM.standard_normal(embeddings.shape).astype(np.float32)
    assert score_embeddings(noise, labels, protocol).result.score < 0.4


def test_the_official_habit_flatters_and_says_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more epochs the best on the test part can only be better, also where there is nothing to learn."""
    _, labels = blobs(80)
    noise = np.random.default_rng(1).standard_normal((80, 8)).astype(np.float32)
    scores = []
    for epochs in (1, 50):
        monkeypatch.setattr("distill.evaluation.protocols._OFFICIAL_EPOCHS", epochs)
        result = score_embeddings(noise, labels, "linear_best_test_epoch").result
        assert result.protocol == "linear_best_test_epoch"
        scores.append(result.score)
    assert scores[1] > scores[0]


def test_the_linear_probe_finds_the_minimum() -> None:
    """Its hand-written gradient against autograd, at every strength, for one label, several and unknown ones."""
    embeddings, labels = blobs(noise=1.0)
    known = RANDOM.random(labels.truth.shape) < 0.8
    several = np.maximum(labels.truth, np.roll(labels.truth, 1, 1) * (RANDOM.random((200, 1)) < 0.5))
    for clips in (Clips(embeddings, labels.truth, None, True), Clips(embeddings, several, known, False)):
        x = torch.from_numpy((embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-6))
        for strength, predict in zip(STRENGTHS, linear(clips, 0), strict=True):
            weight, bias = predict.weight.clone().requires_grad_(), predict.bias.clone().requires_grad_()
            logits, truth = x @ weight + bias, torch.from_numpy(clips.truth)
            if clips.single:
                loss = torch.nn.functional.cross_entropy(logits, truth)
            else:
                each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
                loss = each[torch.from_numpy(known)].mean()
            (loss + strength / 2 * weight.square().sum()).backward()
            assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 2e-3


def test_hyper_parameters_are_chosen_without_the_clips_that_are_scored() -> None:
    """Labels of the test part are swapped: the score changes, the candidate and its predictions do not."""
    embeddings, labels = blobs(160, noise=1.0)
    parts = tuple("test" if i % 4 == 0 else "training" for i in range(160))
    seen = []
    for shift in (0, 1):
        truth = labels.truth.copy()
        truth[::4] = np.roll(truth[::4], shift, axis=1)
        scored = score_embeddings(embeddings, Labels(labels.names, truth, None, parts), "linear")
        assert scored.confusion is not None
        seen.append(scored.confusion.sum(0).tolist())
    assert seen[0] == seen[1]


def test_unknown_labels_are_left_out_of_learning_and_scoring() -> None:
    rows = [
        Row(f"{i}", Path(f"{i}"), labels=("x",) * (i % 2), split=str(i % 3), asked=("x", "y") if i % 5 else ("x",))
        for i in range(60)
    ]
    labels = labels_of(rows, ("x", "y"))
    assert labels.known is not None
    assert labels.known.sum() == 120 - 12
    assert not labels.single
    embeddings = np.stack([labels.truth[:, 0], RANDOM.standard_normal(60)], 1).astype(np.float32)
    scored = score_embeddings(embeddings, labels)
    assert scored.result.metric == "mAP"
    assert scored.result.score == 1.0  # of x; nobody has y
    assert np.isnan(scored.by_class.average_precision[1])


def test_seeds_give_a_mean_and_a_spread() -> None:
    embeddings, labels = blobs(80, noise=0.8)
    whole = replace(labels, parts=("training", "training", "validation", "test") * 20)
    result = score_embeddings(embeddings[RANDOM.permutation(80)], whole, "mlp", seeds=3).result
    assert len(result.seeds) == 3
    assert result.score == pytest.approx(np.mean(result.seeds))
    assert result.spread == pytest.approx(np.std(result.seeds, ddof=1))


def test_folds_spread_though_seeds_change_nothing() -> None:
    embeddings, labels = blobs(80, noise=0.8)
    folds = replace(labels, parts=tuple(str(number // 4 % 4 + 1) for number in range(80)))
    once, thrice = (score_embeddings(embeddings, folds, "linear", seeds=seeds).result for seeds in (1, 3))
    assert once.spread == pytest.approx(np.std(list(once.folds.values()), ddof=1))
    assert thrice.spread == pytest.approx(np.std(list(thrice.folds.values()) * 3, ddof=1))
    assert thrice.spread > 0


def test_neighbours_vote_only_on_what_is_known_of_them() -> None:
    embeddings = np.ones((11, 2), dtype=np.float32)
    truth, known = np.zeros((11, 2), dtype=np.float32), np.zeros((11, 2), dtype=bool)
    truth[0, 0] = known[0, 0] = True  # ten neighbours of which nobody knows
    *_, many = knn(Clips(embeddings, truth, known, False), 0)
    assert many(embeddings[:1])[0].tolist() == pytest.approx([1.0, 0.0])


def test_what_cannot_be_measured_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    embeddings, labels = blobs(40)
    with pytest.raises(UserError, match="one of linear, mlp, knn"):
        score_embeddings(embeddings, labels, "forest")
    with pytest.raises(UserError, match="--metric F1"):
        score_embeddings(embeddings, labels, metric="F1")
    with pytest.raises(UserError, match="several labels"):
        score_embeddings(
            embeddings, Labels(labels.names, np.ones((40, 4), np.float32), None, labels.parts), metric="accuracy"
        )
    with pytest.raises(UserError, match="'cow', which is none of the 2 classes"):
        labels_of([Row("1", Path("1"), labels=("cow",))], ("cat", "dog"))
    with pytest.raises(UserError, match="leaves 0 clips"):
        score_embeddings(embeddings, Labels(labels.names, labels.truth, None, ("test",) * 40))
    capsys.readouterr()
    parts = tuple("test" if i % 4 == 0 else "training" for i in range(40))  # class a is never learned
    score_embeddings(embeddings, Labels(labels.names, labels.truth, None, parts))
    assert "no training clip has 'a'" in capsys.readouterr().out


def test_identical_embeddings_are_read_at_chance_and_not_refused() -> None:
    _, labels = blobs(40)
    same = np.ones((40, 8), dtype=np.float32)
    for protocol in ("linear", "knn"):
        assert score_embeddings(same, labels, protocol).result.score <= 0.5


class Multiplication(distill.Teacher):
    """One matrix product on a clip, of known cost."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(8_000, 16, bias=False)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        waveform = torch.nn.functional.pad(batch.waveform, (0, 16_000))[:, :8_000]
        return distill.Embeddings.of_clip(self.network(waveform))


class Attention(distill.Teacher):
    """Multi-head attention over 100 tokens of 32 numbers."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(self.network(batch.waveform[:, :3_200].unflatten(1, (100, 32))).mean(1))


def test_operations_of_fused_attention_are_counted_too() -> None:
    projections, products, forward = 4 * 32 * 32, 2 * 100 * 32, 2 * 32 * 64
    assert cost_of(Attention(), 1.0).flops == 2 * 100 * (projections + products + forward)
    assert torch.backends.mha.get_fastpath_enabled()


def test_operations_are_counted_as_operations() -> None:
    encoder: Encoder = Multiplication()
    cost = cost_of(encoder, 1.0)
    assert cost.flops == 2 * 8_000 * 16
    assert cost.parameters == 8_000 * 16
    assert 24_000 * 4 <= cost.memory < 60_000 * 4
    assert cost.latency > 0


def esc50(folder: Path, clips: int = 20) -> Path:
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    rows = ["filename,fold,target,category"]
    for index in range(clips):
        name, label = f"{index % 5 + 1}-{index}-A-{index // (clips // 2)}.wav", index // (clips // 2)
        soundfile.write(folder / "audio" / name, tone(300 + 900 * label, 0.3, seed=index), 16_000)
        rows.append(f"{name},{index % 5 + 1},{label},{'cat' if label else 'dog'}")
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_probes_are_written_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(esc50(tmp_path / "ESC-50"))
    student, spectral = distill.create_student("mobilenet_v3", width=0.1), distill.create_teacher("spectral")
    student.teachers = {"spectral": identity(spectral)}
    save_student(student.eval(), tmp_path / "runs" / "small" / "student", "card")
    distill.probe(data, model=str(tmp_path / "runs" / "small"), workers=0)
    teacher = distill.probe(data, teacher="spectral", workers=0, out=str(tmp_path / "runs" / "spectral"))
    assert teacher.task == "esc50"
    assert teacher.cost["parameters"] == 0
    folder = tmp_path / "runs" / "small" / "probe" / "ESC-50" / "linear"
    result = json.loads((folder / "result.json").read_text())
    assert result["teachers"] == {"spectral": teacher.identity}
    assert (folder / "confusion.png").stat().st_size > 1000
    with open(folder / "by_class.csv") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["cat", "dog"]
    capsys.readouterr()
    main(["report", "--compare", *map(str, sorted((tmp_path / "runs").iterdir())), "--out", str(tmp_path / "c")])
    table = (tmp_path / "c" / "comparison.md").read_text()
    assert f"{result['score'] / teacher.score:.1%}" in table
    assert "43,384" in table
    assert (tmp_path / "c" / "ESC-50_esc50_linear_accuracy.png").stat().st_size > 1000
    other = {"class_path": "spectral", "init_args": {"windows": {"seconds": 0.2}}}  # whom the student never heard
    distill.probe(data, teacher=other, workers=0, out=str(tmp_path / "others" / "windows"))
    distill.report(
        compare=[str(tmp_path / "runs" / "small"), str(tmp_path / "others" / "windows")], out=str(tmp_path / "d")
    )
    assert "%" not in (tmp_path / "d" / "comparison.md").read_text()
    with pytest.raises(UserError, match=r"no result\.json"):
        distill.report(compare=[str(tmp_path)])


def test_a_store_and_a_frozen_student_are_those_who_speak_through_them(tmp_path: Path) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    spectral = distill.create_teacher("spectral")
    distill.embed(str(data / "audio"), str(tmp_path / "store"), teacher=spectral, workers=0)
    stored = distill.create_teacher("precomputed", store=str(tmp_path / "store"))
    assert identity(stored) == identity(spectral) != identity(distill.create_teacher("spectral", windows=Windows(1.0)))
    student = fit(data / "audio", tmp_path / "run", teacher=stored, crop=distill.Crop())
    assert student.teachers == {"precomputed": identity(spectral)}
    assert identity(distill.create_teacher("frozen", student=str(tmp_path / "run"))) == identity(student)
    assert distill.load(str(tmp_path / "run")).teachers == student.teachers


def test_temporal_supports_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(esc50(tmp_path / "ESC-50", 10))
    main(["probe", "--teacher", "spectral", "--data", data, "--support", "0.1,0.3", "--out", str(tmp_path / "p"),
          "--workers=0"])  # fmt: skip
    results = json.loads((tmp_path / "p" / "support.json").read_text())
    assert list(results) == ["0.1", "0.3"]
    assert (tmp_path / "p" / "support.png").stat().st_size > 1000
    first, second = (distill.probe(data, teacher="spectral", support=[s], out=str(tmp_path / f"{s}"), workers=0)
                     for s in (0.1, 0.3))  # fmt: skip
    assert [first.score, second.score] == [results["0.1"]["score"], results["0.3"]["score"]]
    assert 2.5 < results["0.3"]["cost"]["memory"] / results["0.1"]["cost"]["memory"] < 3.5  # of a window


def test_a_support_that_the_network_would_cut_is_refused(tmp_path: Path) -> None:
    data = str(esc50(tmp_path / "ESC-50", 2))
    teacher = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
    with pytest.raises(UserError, match=r"--support 20: must be at most 10\.2\d+ s"):
        distill.probe(data, teacher=teacher, support=[1.0, 20.0], out=str(tmp_path / "p"), workers=0)
    assert not list(tmp_path.glob("p/embeddings*"))


def test_a_metric_that_does_not_fit_is_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    data = str(esc50(tmp_path / "ESC-50", 10))
    for wrong in ({"metric": "accuracy2"}, {"metric": "F1"}, {"support": [0.001]}, {"support": [float("inf")]}):
        with pytest.raises(UserError, match=r"--metric|--support"):
            distill.probe(data, teacher="spectral", out=str(tmp_path / "p"), workers=0, **wrong)
    assert not (tmp_path / "p").exists()


def test_a_part_without_any_label_is_refused() -> None:
    truth = np.eye(2, dtype=np.float32)[np.arange(12) % 2]
    truth[8:] = 0
    labels = Labels(("a", "b"), truth, None, ("training",) * 8 + ("test",) * 4)
    with pytest.raises(UserError, match="no clip of the part 'test' has a label"):
        score_embeddings(RANDOM.standard_normal((12, 3)).astype(np.float32), labels)


def test_folds_that_some_clips_lack_are_refused() -> None:
    classes = np.arange(20) % 2
    with pytest.raises(UserError, match="1 of 20 clips have no fold"):
        splits_of([*"12345" * 3, *"1234", ""], classes)


def test_words_after_an_option_that_takes_several() -> None:
    assert _gather(["--sampling.levels", "100,20", "--x"]) == ["--sampling.levels", "[100, 20]", "--x"]
    assert _gather(["--compare", "a", "b", "--out", "c"]) == ["--compare", '["a", "b"]', "--out", "c"]
    assert _gather(["--support=0.5,1", "--data", "x"]) == ["--support", "[0.5, 1]", "--data", "x"]
    assert _gather(["--data", "x", "--support", "[1,2]"]) == ["--data", "x", "--support", "[1, 2]"]


def test_fine_tuning_learns_on_some_folds_and_is_scored_on_others(tmp_path: Path) -> None:
    data = esc50(tmp_path / "ESC-50", 10)
    sizes = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1, "dropout": 0.0}
    save_student(distill.create_student("hear", **sizes).eval(), tmp_path / "run" / "student", "card")
    before = {key: tensor.clone() for key, tensor in distill.load(str(tmp_path / "run")).state_dict().items()}
    from distill.evaluation.protocols import FineTuning

    broken = sorted(data.glob("audio/*.wav"))[0]
    broken.write_bytes(b"no sound")
    result = distill.probe(
        str(data), model=str(tmp_path / "run"), protocol="finetune", finetuning=FineTuning(30, 3e-3, 8), workers=0,
        device="cpu",
    )  # fmt: skip
    assert result.protocol == "finetune"
    assert result.clips == len(list(data.glob("audio/*.wav"))) - 1
    with open(tmp_path / "run" / "probe" / "ESC-50" / "set_aside.csv") as file:
        assert file.read().count(broken.name) == 2  # id and path
    assert result.score >= 0.9
    after = distill.load(str(tmp_path / "run")).state_dict()
    assert all(after[key].equal(before[key]) for key in before)
    with pytest.raises(UserError, match="trains students"):
        distill.probe(str(data), teacher="spectral", protocol="finetune", out=str(tmp_path / "t"))


def test_fine_tuning_leaves_out_labels_that_nobody_asked_about(sounds: Callable[..., Path]) -> None:
    from distill.data.clips.dataset import ClipDataset, Crop
    from distill.data.sampling.orders import Draws

    rows = tuple(
        Row(path.name, path, labels=("x",), asked=("x", "y") if number else ("x",))
        for number, path in enumerate(sorted(sounds(2, seconds=0.2).rglob("*.wav")))
    )
    student = distill.create_student("hear_classifier", classes=2, hidden=8, intermediate=8, heads=2, layers=1,
                                     task_hidden=8, task_intermediate=8, task_heads=2, head_hidden=8)  # fmt: skip
    loaded = ClipDataset(Manifest(Path(), rows), 16_000, Crop(), ("x", "y")).__getitems__(Draws([0, 1], [0, 1]))
    assert loaded.batch is not None
    assert loaded.batch.labels.isnan().tolist() == [[False, True], [False, False]]
    loss = Classification(student)(loaded.batch)["classification"]
    assert loss.isfinite()
