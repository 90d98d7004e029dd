"""Augmentations of whole batches, each sample with random parameters of its own."""
