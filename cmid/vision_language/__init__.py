"""Systems of images and texts, built on the backbones."""
