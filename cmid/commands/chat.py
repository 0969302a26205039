"""Chat with a multimodal model about images, in the terminal or on a page.

python tools/chat.py MODEL [--image FILE ...]
python tools/chat.py MODEL --web

Answers appear as they are written. In the terminal /help lists the commands (/image, /region,
/temperature, /draw ...). The page, on this machine alone unless --share is given, takes uploads
(GeoTIFFs with a choice of bands and a stretch), draws the boxes of answers, and takes regions by
clicks or a brush. Needs the extra: pip install 'cmid[multimodal]'
"""

from __future__ import annotations

from cmid.command_line import command
from cmid.console import quieten
from cmid.multimodal.chat.settings import MAX_UPLOAD, ChatConfig, PlaceConfig


@command(ChatConfig, PlaceConfig, memory="--max_tokens, --max_images or --max_pixels")
def main(config: ChatConfig, place: PlaceConfig) -> None:
    """Load the model, then talk."""
    quieten()
    # After parsing: --help and typing errors answer at once.
    from cmid.multimodal.chat.session import open_chat
    from cmid.multimodal.chat.terminal import converse, load_images, typed

    chat = open_chat(config)
    load_images(chat, place.image)
    if place.web:
        from cmid.multimodal.chat.page import serve

        limit = place.max_upload or MAX_UPLOAD
        serve(chat, port=place.port, share=place.share, max_upload=limit)
        return
    print("ask about the images; /help lists commands, /quit ends")
    converse(chat, typed())
