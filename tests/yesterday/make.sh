#!/bin/sh
# Make the files of yesterday: make.sh CHECKOUT PYTHON OUT, where CHECKOUT is the old commit, with its tests/own_parts.py.
set -e
CHECKOUT=$(realpath "$1") PYTHON=$2 OUT=$(realpath "$3") HERE=$(dirname "$(realpath "$0")")
export PYTHONPATH="$CHECKOUT"
cd "$OUT"
$PYTHON "$HERE/sounds.py" .
distill() { $PYTHON -m distill "$@"; }
CPU="--engine.workers 0 --engine.accelerator cpu"
TINY="--teacher spectral --student tests.own_parts.TinyConvolution --allow_import tests $CPU"

distill embed --teacher spectral --data sounds --out store
distill embed --teacher spectral --data sounds --out store_frames --frames true
distill cluster --store store --clusters 2
distill fit --teacher spectral --student mobilenet_v3 --student.width 0.1 --data sounds --epochs 2 --batch_size 4 \
    --out run $CPU
distill probe --model run --data sounds --out probe

$PYTHON - <<'P'
import signal, distill
from distill.training import KeepAlive

def fit(out):
    distill.fit(teacher="spectral", student="tests.own_parts.TinyConvolution", data="sounds", out=out, epochs=3,
                batch_size=4, validation=0.2, engine={"workers": 0, "accelerator": "cpu"})

fit("whole")
count = KeepAlive.on_train_batch_end

def stop(self, *args):
    if self.data.batches_done + 1 == 4:
        signal.raise_signal(signal.SIGINT)
    count(self, *args)

KeepAlive.on_train_batch_end = stop
try:
    fit("stopped")
except BaseException as error:
    print(type(error).__name__, error)
P

SMALL="hidden: 16, intermediate: 32, heads: 2, layers: 1"
write() { printf '%s\n' "engine: {workers: 0, accelerator: cpu}" "epochs: 1" "batch_size: 4" > "in_$1.yaml"; cat >> "in_$1.yaml"; }
write two_teachers <<'Y'
teacher:
- {class_path: spectral, init_args: {windows: {seconds: 0.2, hop: 0.1, pooling: max}}}
- {class_path: tests.own_parts.Loudness, init_args: {bands: 4}}
student: {class_path: mobilenet_v3, init_args: {width: 0.1}}
data: esc50
task: esc50
fold: '2'
live: true
init_from: run
seed: 7
crop: {seconds: 0.3, position: random}
objective:
  class_path: embedding
  init_args:
    loss: {class_path: distill.losses.contrastive.Contrastive, init_args: {temperature: 0.2}}
    targets: standardised
    augmentation: {mixup: 0.3, gain: 6.0, roll: true, noise: 0.1}
    teacher_hears: same
    projector: linear
    dropout: 0.0
    weights: {spectral: 0.7, Loudness: 0.3}
sampling: {policy: label, temper: 0.5, max_repeats: 3.0, draws: 8}
optimizer: {learning_rate: 0.002, weight_decay: 0.1, warmup: 0.1, schedule: efficientat, floor: 0.01, clip_norm: 1.0, betas: [0.9, 0.95], layer_decay: 0.9}
engine: {workers: 0, accelerator: cpu, devices: 1, strategy: auto, precision: bf16-mixed, checkpoint_minutes: 5.0}
Y
write hierarchical <<'Y'
teacher: {class_path: spectral}
student: {class_path: dymn, init_args: {width: 0.1}}
data: sounds
store: store_frames
validation: 0.3
objective: {class_path: embedding, init_args: {level: frame, alignment: pool_student, targets: whitened, hidden: 32}}
sampling: {policy: hierarchical, levels: [4, 2], temper: 0.8, duplicates: 0.99, draws: 12}
Y
write classification <<Y
student: {class_path: hear_classifier, init_args: {classes: 2, hidden: 8, intermediate: 8, heads: 2, layers: 1, task_hidden: 8, task_intermediate: 8, task_heads: 2, head_hidden: 8}}
data: sounds
objective: {class_path: classification, init_args: {loss: cross_entropy, smoothing: 0.1, augmentation: {mixup: 0.2}}}
Y
write tokenizer <<Y
teacher: {class_path: spectral}
student: {class_path: hear_tokenizer, init_args: {$SMALL, codes: 16}}
data: sounds
objective: {class_path: tokenizer, init_args: {$SMALL, code_dim: 4, weights: {diversity: 0.2}}}
Y
write masked_prediction <<Y
student: {class_path: hear, init_args: {$SMALL}}
data: sounds
objective: {class_path: masked_prediction, init_args: {tokenizer: run_tokenizer, share: 0.5, mask: spans, span: 4}}
Y
write utterance_frame <<Y
teacher: {class_path: spectral}
student: {class_path: patch_transformer, init_args: {hidden: 16, layers: 1, heads: 2, frames: 64}}
data: sounds
live: true
objective: {class_path: utterance_frame, init_args: {clones: 2, mask: {kind: time, share: 0.5}, decoder_layers: 1, decoder_groups: 4, targets: standardised, weights: {spectral: 0.5}}}
Y
write latent_prediction <<Y
student: {class_path: patch_transformer, init_args: {hidden: 16, layers: 1, heads: 2, frames: 64}}
data: sounds
objective: {class_path: latent_prediction, init_args: {mask: {kind: random, share: 0.6}, predictor_layers: 1, predictor_heads: 2, classes: 16, head_hidden: 16, hypotheses: 2}}
Y
mkdir -p configs
for name in two_teachers hierarchical classification tokenizer masked_prediction utterance_frame latent_prediction; do
    distill fit --config "in_$name.yaml" --allow_import tests --out "run_$name"
    cp "run_$name/config.yaml" "configs/$name.yaml"
done

$PYTHON - <<'P'
import distill, numpy, torch
from distill.data.store import EmbeddingStore
store, frames = EmbeddingStore("store"), EmbeddingStore("store_frames")
waveform = torch.arange(12_000).remainder(160).sub(80).div(320)
numbers = {"waveform": waveform, "store": store.read_all(), "store_frames": frames.read_all()}
numbers |= {"frames": numpy.concatenate(frames.frames(frames.ids)), "frame_times": frames.frame_times}
numbers["mobilenet_v3"] = distill.load("run").embed(waveform, 16_000).clip
numbers["hear_tokenizer"] = distill.load("run_tokenizer").embed(waveform, 16_000).frames
numpy.savez_compressed("expected.npz", **{name: numpy.asarray(value) for name, value in numbers.items()})
P

# Keep what the tests read: no sounds, which every test makes anew, no pictures, and one checkpoint.
mkdir files
cp -r store store_frames stopped configs expected.npz files
mkdir -p files/run files/run_tokenizer files/whole/student files/probe/linear
cp -r run/student run/config.yaml run/metrics.csv files/run
cp -r run_tokenizer/student files/run_tokenizer
cp whole/student/model.safetensors files/whole/student
cp probe/linear/result.json files/probe/linear
rm files/stopped/checkpoints/step_000000002.*
find files -name '*.png' -delete -o -name '.lock' -delete -o -name '.holder' -delete
