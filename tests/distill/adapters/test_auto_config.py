from __future__ import annotations

from distill.adapters.auto_config import StudentConfig
from distill.students.student import Student


def test_the_values_of_the_folder_are_attributes(folder: str, student: Student) -> None:
    config = StudentConfig.from_pretrained(folder)
    assert (config.student, config.sample_rate, config.clip_dim) == ("bc_resnet", 32_000, student.clip_dim)
    assert config.model_type == "audio_distill_student"
