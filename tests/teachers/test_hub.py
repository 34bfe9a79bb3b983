"""Any audio model of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import distill
from distill.data.errors import UserError
from tests.teachers.tiny import Options, TinyTeacher


def save_wav2vec2(folder: Path) -> str:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return str(folder)


def test_a_wav2vec2_without_its_mask_vector_is_loaded(options: Options, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(options["transformers"]["checkpoint"], tmp_path / "wav2vec2"))
    state = load_file(folder / "model.safetensors")
    del state["masked_spec_embed"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    waveform = torch.randn(16_000)
    left_out = distill.create_teacher("transformers", checkpoint=str(folder)).embed(waveform, 16_000).clip
    assert left_out.equal(
        distill.create_teacher("transformers", **options["transformers"]).embed(waveform, 16_000).clip
    )


@pytest.mark.parametrize("kind", ["Hubert", "WavLM", "Wav2Vec2Bert", "Data2VecAudio", "UniSpeechSat"])
def test_other_families_give_what_their_own_code_gives(kind: str, tmp_path: Path) -> None:
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind != "Wav2Vec2Bert":
        sizes |= {"num_conv_pos_embeddings": 3, "num_conv_pos_embedding_groups": 4}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    extractor_kind = "SeamlessM4TFeatureExtractor" if kind == "Wav2Vec2Bert" else "Wav2Vec2FeatureExtractor"
    extractor = getattr(transformers, extractor_kind)()
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for part in (model, extractor):
        part.save_pretrained(tmp_path)
    teacher = distill.create_teacher("transformers", checkpoint=str(tmp_path))
    waveform = torch.randn(2, 16_000) * 0.1
    inputs = extractor([clip.numpy() for clip in waveform], sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
    torch.testing.assert_close(teacher.embed(waveform, 16_000).frames, expected, atol=1e-4, rtol=0)
    assert teacher.frame_hop == pytest.approx(0.02, abs=1e-4)


def test_a_fixed_length_model_of_transformers_is_timed(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    teacher = distill.create_teacher("transformers", checkpoint=str(tmp_path))
    embeddings = teacher.embed(torch.randn(32_000), 16_000)
    assert teacher.frame_hop == pytest.approx(0.02, abs=1e-4)
    assert embeddings.frames.shape == (1, 1500, 32)
    assert int(embeddings.frame_mask.sum()) == 100
    batch = distill.AudioBatch.of(torch.randn(2, 32_000), 16_000)
    fewer_bits = distill.Arithmetic("bfloat16").apply(teacher)  # Whisper's extractor cannot compute in it
    torch.testing.assert_close(fewer_bits(batch).clip.float(), teacher(batch).clip, atol=0.05, rtol=0.05)


def test_a_classifier_without_a_decoder_is_read(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    config = WhisperConfig(
        vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0, num_labels=3,
    )  # fmt: skip
    WhisperForAudioClassification(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    assert distill.create_teacher("transformers", checkpoint=str(tmp_path)).clip_dim == 32


def test_a_model_that_needs_more_than_audio_is_refused(tmp_path: Path) -> None:
    from transformers import SpeechT5Config, SpeechT5FeatureExtractor, SpeechT5Model

    config = SpeechT5Config(
        vocab_size=20, hidden_size=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    SpeechT5Model(config).save_pretrained(tmp_path)
    SpeechT5FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="SpeechT5Model does not give hidden states from audio alone"):
        distill.create_teacher("transformers", checkpoint=str(tmp_path))


TINY = TinyTeacher(
    lambda folder: {"checkpoint": save_wav2vec2(folder / "wav2vec2")},
    span=0.025,
    blur=0.010,  # frame times are correct to half a frame
)
