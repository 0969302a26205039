"""Train a language model that sees: LHRS-Bot, LHRS-Bot-Nova, or a small one.

usage: python tools/train_multimodal.py [--config FILE] [--ckpt_path last] [--FIELD VALUE ...]

Without --config: a small model, all of it untrained, on generated scenes of 64 pixels. Checkpoints,
logs and the model (a folder that cmid.multimodal.load reads) go to --run_dir.
Needs the extra: pip install 'cmid[multimodal]'

@RUN configs/multimodal/*.yaml@

Frequent fields (each key of a configuration file is an option of the same name)
  --model.start DIR                    the model of the stage before
  --model.language_model DIR           its language model, if that lies elsewhere now
  --model.network.tower.backbone B     an export, a checkpoint, random:NAME or a timm name
  --model.network.language.name NAME   a folder, a hub name, a GGUF file, tiny:KIND:WIDTHxLAYERS
  --model.network.template.name NAME   chat, llama2, llama3 or plain
  --model.stage.trained "[perceiver, adapter]"   of tower, perceiver, adapter, language
  --model.stage.average tokens|samples|answers|roots   what weighs the same in the loss
  --model.optimizer.{name,base_lr,weight_decay,warmup_epochs}
  --data.source.class_path ConversationFile|SceneConversations
  --data.batch_size N                  examples per process; lr = base_lr * global batch / 256
  --data.on_error skip                 count unreadable images instead of stopping
  --trainer.max_epochs N  --trainer.devices N  --trainer.precision 32-true|bf16-mixed|16-mixed

The configuration used by default:

@DEFAULT@
"""

from __future__ import annotations

from functools import partial

from cmid.launch import launch

main = partial(
    launch,
    command="cmid.multimodal.training:train_multimodal",
    default="configs/multimodal/scenes.yaml",
    usage=__doc__,
    skip="--data.source.init_args.on_error skip",
)
