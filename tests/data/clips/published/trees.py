"""Each published data set as a small folder in its exact layout, and other folders of audio."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile


def sound(path: Path, seconds: float = 0.1, rate: int = 8_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".mp3": "MP3", ".ogg": "OGG", ".opus": "OGG", ".au": "AU", ".flac": "FLAC"}.get(path.suffix, "WAV")
    subtype = "OPUS" if path.suffix == ".opus" else None
    soundfile.write(path, np.zeros(int(seconds * rate)), rate, format=kind, subtype=subtype)


def sounds(root: Path, *names: str) -> None:
    for name in names:
        sound(root / name)


def table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def esc50(root: Path) -> None:
    table(root / "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take", "1-9-A-0.wav,1,0,dog,True,9,A")
    sound(root / "audio/1-9-A-0.wav")


def speech_commands(root: Path, words: tuple[str, ...] = ("yes", "zero")) -> None:
    for word in words:
        for speaker in ("a", "b", "c"):
            sound(root / word / f"{speaker}_nohash_0.wav")
    sound(root / "_background_noise_/pink.wav", seconds=10)
    table(root / "validation_list.txt", "yes/b_nohash_0.wav")
    table(root / "testing_list.txt", "yes/c_nohash_0.wav", "zero/c_nohash_0.wav")


def voxceleb1(root: Path) -> None:
    table(root / "iden_split.txt", "1 id10001/x/00001.wav", "3 id10002/y/00001.wav", "2 id10002/y/00002.wav")
    sound(root / "wav/id10001/x/00001.wav")
    sound(root / "wav/id10002/y/00001.wav")  # the third clip has no file


def audioset(root: Path) -> None:
    head = ("# Segments csv", "# num_ytids=1", "# YTID, start_seconds, end_seconds, positive_labels")
    table(
        root / "class_labels_indices.csv",
        "index,mid,display_name",
        '0,/m/09x0r,"Speech"',
        '137,/m/04rlf,"Music"',
        '506,/t/dd00088,"Gush"',
    )
    table(root / "balanced_train_segments.csv", *head, '-A, 30.000, 40.000, "/m/09x0r,/t/dd00088"')
    table(root / "unbalanced_train_segments.csv", *head, 'B, 0.000, 10.000, "/m/09x0r"')
    table(root / "eval_segments.csv", *head, 'C, 5.000, 15.000, "/m/04rlf"', 'D, 0.000, 10.000, "/m/04rlf"')
    for name in ("balanced/Y-A.wav", "audio/B.flac", "eval/C_5_15.wav"):
        sound(root / name)


def fsd50k(root: Path) -> None:
    truth = root / "FSD50K.ground_truth"
    table(truth / "dev.csv", "fname,labels,mids,split", '1,"Bark,Dog","/a,/b",train', "2,Rain,/c,val")
    table(truth / "eval.csv", "fname,labels,mids", "3,Rain,/c")
    table(truth / "vocabulary.csv", "0,Bark,/a", "1,Dog,/b", "2,Rain,/c")
    for name in ("FSD50K.dev_audio/1.wav", "FSD50K.dev_audio/2.wav", "FSD50K.eval_audio/3.wav"):
        sound(root / name)


def urbansound8k(root: Path) -> None:
    head = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    table(root / "metadata/UrbanSound8K.csv", head, "1-3-0-0.wav,1,0,4,1,10,3,dog_bark")
    sound(root / "audio/fold10/1-3-0-0.wav")


def gtzan(root: Path) -> None:
    for name in ("blues/blues.00029.wav", "jazz/jazz.00026.au", "jazz/jazz.00054.wav", "rock/rock.99999.wav"):
        sound(root / "genres" / name)


def openmic2018(root: Path) -> None:
    relevances = ("000046_3840,accordion,0.9,3", "000046_3840,banjo,0.1,3", "001000_0,bass,0.8,4")
    table(root / "openmic-2018-aggregated-labels.csv", "sample_key,instrument,relevance,num_responses", *relevances)
    table(root / "partitions/split01_train.csv", "000046_3840")
    table(root / "partitions/split01_test.csv", "001000_0")
    for key in ("000046_3840", "001000_0"):
        sound(root / "audio" / key[:3] / f"{key}.ogg")


def nsynth(root: Path) -> None:
    for part in ("train", "valid", "test"):
        name = f"bass_{part}_000-030-050"
        sound(root / f"nsynth-{part}/audio/{name}.wav")
        note = {"instrument_family_str": "bass", "pitch": 30}
        (root / f"nsynth-{part}/examples.json").write_text(json.dumps({name: note}))


def magnatagatune(root: Path) -> None:
    table(
        root / "annotations_final.csv",
        "clip_id\tguitar\tslow\tmp3_path",
        "2\t1\t0\tf/x.mp3",
        "6\t1\t1\t0/y.mp3",
        "7\t0\t0\tc/z.mp3",
    )
    for name in ("f/x.mp3", "0/y.mp3", "c/z.mp3"):
        sound(root / "mp3" / name)


_FIRST = "bed bird cat dog down eight five four go happy house left marvin nine no off on one right seven sheila six"
WORDS_V1 = tuple(f"{_FIRST} stop three tree two up wow yes zero".split())
WORDS_V2 = (*WORDS_V1, "backward", "follow", "forward", "learn", "visual")


def first_speech_commands(root: Path) -> None:
    speech_commands(root, WORDS_V1)


def tau2020(root: Path, part: str = "") -> None:
    head, clip, other = (
        "filename\tscene_label",
        f"audio/airport-oslo-0-0{part}-a.wav",
        f"audio/bus-rome-1-1{part}-b.wav",
    )
    table(root / "evaluation_setup/fold1_train.csv", head, f"{clip}\tairport")
    table(root / "evaluation_setup/fold1_evaluate.csv", head, f"{other}\tbus")
    table(root / "meta.csv", head, f"{clip}\tairport", f"{other}\tbus")
    sounds(root, clip, other)


def tau2022(root: Path) -> None:
    tau2020(root, part="-7")
