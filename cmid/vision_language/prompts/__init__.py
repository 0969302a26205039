"""What is said of images: templates, class names, class lists of segmentation sets."""
