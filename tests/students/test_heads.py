"""Classifiers of students: a head beside the weights, and how logits become probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.data.fingerprint import weights_digest
from distill.students.decisions import MANY, ONE_OF, probabilities_of
from distill.students.heads import Classifier, Head
from distill.students.saved import load_student, save_student
from distill.students.student import Student


def with_classifier(classifier: Classifier, classes: int = 3) -> Student:
    student = distill.create_student("tests.own_parts.TinyConvolution").eval()
    student.labels, student.classifier = tuple("abcdefgh"[:classes]), classifier
    return student


def test_a_head_standardises_or_normalises_and_is_linear() -> None:
    clip, mean, deviation = torch.randn(4, 8) * 3, torch.randn(8), torch.rand(8) + 0.5
    head = Head(8, 3, mean, deviation)
    expected = ((clip - mean) / deviation) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(clip), expected)
    layered = Head(8, 3)
    unit = (clip - clip.mean(1, keepdim=True)) / (clip.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layered(clip), unit @ layered.linear.weight.T + layered.linear.bias)


def test_probabilities_are_those_of_the_kind_and_of_the_temperature() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    embeddings = Embeddings.of_clip(torch.zeros(1, 8))._replace(logits=logits)
    for kind, function in ((ONE_OF, lambda x: x.softmax(1)), (MANY, torch.sigmoid)):
        classifier = Classifier(kind, temperature=2.0)
        found = torch.from_numpy(probabilities_of(classifier.logits(embeddings).numpy(), kind))
        torch.testing.assert_close(found.float(), function(logits / 2))
    assert Classifier(MANY).threshold(2) == 0.5
    assert Classifier(MANY, thresholds=(0.1, 0.2)).threshold(1) == 0.2


@pytest.mark.parametrize("standardised", [False, True])
def test_a_classifier_is_saved_beside_the_weights(standardised: bool, tmp_path: Path) -> None:
    statistics = (torch.randn(8), torch.rand(8)) if standardised else ()
    student = with_classifier(Classifier(MANY, Head(8, 3, *statistics), 1.7, (0.1, 0.5, 0.9), 4.0))
    save_student(student, tmp_path, "card")
    loaded, waveform = load_student(tmp_path), torch.randn(2, 4000)
    assert loaded.classifier is not None
    assert loaded.classifier.as_config() == student.classifier.as_config()  # type: ignore[union-attr]
    assert loaded.labels == ("a", "b", "c")
    found = loaded.embed(waveform, 16_000)
    assert found.logits.equal(student.embed(waveform, 16_000).logits)
    head = loaded.classifier.head
    assert head is not None
    with torch.inference_mode():
        torch.testing.assert_close(found.logits, head(found.clip) / 1.7)
    plain = distill.create_student("tests.own_parts.TinyConvolution")
    plain.load_state_dict(student.state_dict())
    assert weights_digest(student) == weights_digest(plain)  # stores of embeddings stay valid
    student.classifier = None
    save_student(student, tmp_path, "card")
    assert not (tmp_path / "head.safetensors").exists()
    assert load_student(tmp_path).embed(waveform, 16_000).logits.shape == (2, 0)


def test_a_damaged_head_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_student(with_classifier(Classifier(ONE_OF, Head(8, 3))), tmp_path, "card")
    state = load_file(path)
    other = {"linear.weight": torch.zeros(2, 8), "linear.bias": torch.zeros(2)}
    norm = {name: tensor for name, tensor in state.items() if name.startswith("normalise")}
    for damaged in ({"linear.bias": torch.zeros(3)}, {**state, "more": torch.zeros(1)}, {**norm, **other}):
        save_file(damaged, path)
        with pytest.raises(UserError, match=r"head\.safetensors is damaged"):
            load_student(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="head"):
        load_student(tmp_path)


def test_all_ways_to_encode_a_clip_give_logits(tmp_path: Path) -> None:
    import soundfile

    student = with_classifier(Classifier(ONE_OF, Head(8, 3), temperature=0.5))
    waveform = torch.randn(3 * 16_000) * 0.1
    soundfile.write(tmp_path / "clip.wav", waveform.numpy(), 16_000, subtype="FLOAT")
    expected = student.embed(waveform, 16_000).logits
    assert expected.shape == (1, 3)
    torch.testing.assert_close(student.embed_file(tmp_path / "clip.wav", frames=False).logits, expected)
    batch = AudioBatch.of(waveform, 16_000)
    torch.testing.assert_close(distill.Frozen(student)(batch).logits, expected)
    (window,) = student.windows_of(tmp_path / "clip.wav")
    torch.testing.assert_close(window.embeddings.logits, expected)
    student.whole_seconds = 1.0  # the pieces of a recording, whose logits are those of its mean embedding
    pieces = student.encode_pieces(lambda: iter(waveform.split(9000)), frames=False)
    assert student.classifier is not None
    torch.testing.assert_close(pieces.logits, student.classifier.logits(pieces))
