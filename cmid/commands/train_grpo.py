"""Train a vision-language model by rewards (GRPO); without arguments, on generated scenes.

usage: python tools/train_grpo.py [--config FILE] [--ckpt_path last] [--FIELD VALUE ...]

Train a multimodal model of this project, or an image-text-to-text model of Hugging Face, by group
relative policy optimisation: TRL's trainer, the rewards of cmid.vision_language.scoring.rewards.
Without --config: a small Qwen2-VL that is taught about generated scenes first, some minutes on two
cores. Checkpoints, the curve of the mean reward and the model go to --run_dir.
Needs the extra: pip install 'cmid[scoring]'

  --config FILE       a configuration, such as configs/scoring/*.yaml; may be repeated, the later
                      one wins
  --print_config      print the whole configuration with all defaults, and stop
  --run_dir DIR       where everything goes
  --ckpt_path last    go on with the last checkpoint of --run_dir
  --help_all          every field with its type and meaning
  --traceback         show where an error comes from, instead of its one line

  --model FOLDER|NAME|scenes   --data FILE|scenes   --image_root DIR   --num_scenes N
  --form thought|plain         what earns; plain is that of a model of this project
  --trained "[adapter]"        its parts that learn, of tower, perceiver, adapter, language
  --scorer FOLDER              rewards of questions of type open; without it they are left out
  --trainer.FIELD VALUE        any field of TRL's GRPOConfig: learning_rate, max_steps, beta,
                               num_generations, temperature, max_completion_length, use_cpu ...

The configuration used by default:

@DEFAULT@
"""

from __future__ import annotations

from functools import partial

from cmid.launch import launch

main = partial(
    launch,
    command="cmid.multimodal.rewarding.training:train_grpo",
    default="configs/scoring/grpo_scenes.yaml",
    usage=__doc__,
    memory="--trainer.per_device_train_batch_size or --trainer.max_completion_length",
)
