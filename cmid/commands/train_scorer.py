"""Train a scorer of image-text pairs on preferences between texts (ScoreRS).

usage: python tools/train_scorer.py [--config FILE] [--ckpt_path last] [--FIELD VALUE ...]

Without --config: a small CLIP with a head, on generated scenes with true and corrupted captions,
some minutes on two cores. Checkpoints, logs, pictures and the scorer (a folder) go to --run_dir.
Needs the extra: pip install 'cmid[vision-language]', and for --model.lora 'cmid[scoring]'

@RUN configs/scoring/*.yaml@

Frequent fields (each key of a configuration file is an option of the same name)
  --model.start.clip FOLDER|NAME[:TAG]     a new head on a CLIP, such as that of train_clip
  --model.start.language_model FOLDER|NAME a new head on a vision-language model of Hugging Face
  --model.start.scorer FOLDER              go on with a scorer, such as that of the stage before
  --model.start.patches true               a head on a CLIP that sees patches
  --model.trained [head,vision,language]   what is trained
  --model.lora.rank N                      adapters in place of whole towers
  --model.rates.{head,vision,language} F   factors of the learning rate
  --model.loss.name ranking|pairs          Plackett-Luce, or Bradley-Terry with --model.loss.margin
  --model.grad_checkpointing true          less memory, more time
  --data.source.class_path PreferenceFiles|ScenePreferences
  --data.source.init_args.on_error skip    count and skip faulty preferences
  --data.on_error skip                     the same for unreadable images
  --held_out.source.class_path ...         preferences to measure on; --held_out.every_n_steps N
  --trainer.max_epochs N  --trainer.devices N  --trainer.precision 32-true|bf16-mixed

The configuration used by default:

@DEFAULT@
"""

from __future__ import annotations

from functools import partial

from cmid.launch import launch

main = partial(
    launch,
    command="cmid.vision_language.scoring.training:train_scorer",
    default="configs/scoring/dual_encoder_scenes.yaml",
    usage=__doc__,
    skip="--data.source.init_args.on_error skip",
)
