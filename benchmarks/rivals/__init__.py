"""Other self-supervised methods, with the reference losses and heads of ``lightly``."""
