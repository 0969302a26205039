"""FarSLIP: fine-grained language-image pretraining (arXiv:2511.14901)."""
