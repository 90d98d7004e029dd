"""Augmentations of whole batches, each image with random parameters of its own.

kornia 0.9 was tried in their place, on 64 images of 96 px and 2 CPU threads. It takes 2 to 3 times as long for the
affine map and the color jitter, 3 to 4 times for mixup and CutMix, and 4 times for JPEG and the perspective map. Its
TrivialAugment and RandAugment draw one operation for the whole batch, and its erasing, in 0.7 times our time, does not
fill with noise.
"""
