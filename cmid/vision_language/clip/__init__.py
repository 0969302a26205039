"""The dual encoder: towers, model, how it is built and stored, contrastive losses."""
