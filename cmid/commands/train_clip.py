"""Train a CLIP on images, texts and regions, with FarSLIP's losses.

usage: python tools/train_clip.py [--config FILE] [--ckpt_path last] [--FIELD VALUE ...]

Without --config: a small vision transformer on generated scenes, 64 pixels, some minutes on two
cores. Checkpoints, logs, pictures and the CLIP (a folder that open_clip loads) go to --run_dir.
Needs the extra: pip install 'cmid[vision-language]'

@RUN configs/vision_language/*.yaml@

Frequent fields (each key of a configuration file is an option of the same name)
  --model.clip.name NAME               a model of open_clip, or the path of a JSON of its form
  --model.clip.weights TAG|FILE        its weights: a tag of open_clip, .safetensors or .pt
  --model.clip.backbone DIR            an exported CMID backbone as image tower
  --model.clip.context_length 248      longer texts
  --model.clip.dense_mode MODE         vanilla (the last block as it is), or another attention
                                       without residual and MLP: maskclip, sclip, clearclip,
                                       segearth; with both: maskclip_published, sclip_published
  --model.weights.{image_text,distillation,region_text} W     0 leaves a loss out
  --model.distillation.teacher shared|ema|frozen   --model.distillation.target patch|cls|both
  --model.similarity infonce|sigmoid   --model.class_balance true   --model.lock image|text
  --model.region_loss unique|published   --data.view.init_args.region_text both|category|caption
  --model.optimizer.{name,base_lr,weight_decay,warmup_epochs}
  --data.source.class_path CaptionTable|KarpathyCaptions|CaptionShards|RegionTexts|CocoRegions
  --data.on_error skip                 count unreadable images instead of stopping
  --data.source.init_args.on_error skip   the same for faulty annotations
  --data.batch_size N                  images per process; lr = base_lr * global batch / 256
  --data.view.init_args.regions none|random|annotated
  --trainer.max_epochs N  --trainer.devices N  --trainer.precision 32-true|bf16-mixed|16-mixed
  --zero_shot.source.class_path ...    labelled images to classify by name after every epoch

Weights between the start and the result (WiSE-FT):
  python tools/export.py CHECKPOINT OUT --format clip --wise_ft 0.5

The configuration used by default:

@DEFAULT@
"""

from __future__ import annotations

from functools import partial

from cmid.launch import launch

main = partial(
    launch,
    command="cmid.vision_language.training:train_clip",
    default="configs/vision_language/farslip_stage1_scenes.yaml",
    usage=__doc__,
    skip="--data.source.init_args.on_error skip",
)
