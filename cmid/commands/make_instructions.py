"""Make conversations about labelled images, to train a multimodal model on.

python tools/make_instructions.py data/AID --kind classification --out aid.json
python tools/make_instructions.py train.json --kind coco --images train --out boxes.json
python tools/make_instructions.py data/DOTA --kind dota --box_shape oriented --out dota.json
python tools/make_instructions.py data/roads --kind masks --names land road --out roads.json
python tools/make_instructions.py data/LEVIR --kind change --changed buildings --out change.json
python tools/make_instructions.py scenes --kind features --features osm.gpkg --out map.json

Questions come in varied wordings, and only with answers that the labels prove. Answers are balanced
among questions of the same meaning: yes as often as no, no count or place far above the others;
a report tells what a guesser would reach who does not see the image. Train on OUT with

--data.source.class_path ConversationFile --data.source.init_args.path OUT
"""

from __future__ import annotations

from cmid.command_line import command
from cmid.multimodal.instructions.settings import LabelledConfig, WritingConfig


@command(
    LabelledConfig,
    WritingConfig,
    told=True,
    memory="the number of images",
    skip="--on_error skip",
)
def main(labelled: LabelledConfig, writing: WritingConfig, called: str) -> None:
    """Make them, print their balance."""
    # After parsing: --help and typing errors answer at once.
    from cmid.multimodal.instructions.making import make_instructions
    from cmid.reporting import markdown_table

    made = make_instructions(labelled, writing, command=called)
    print(markdown_table(made.table, aligned=True))
    print(
        f"{writing.out}: {made.conversations} conversations of {made.questions} questions about"
        f" {made.images} images"
    )
    print(f"report: {made.report / 'report.html'}")
