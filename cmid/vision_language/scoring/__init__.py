"""How well a text describes an image: scores that are learned from preferences, and rewards."""
