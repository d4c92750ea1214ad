"""Errors of AlexNet on ImageNet and ImageNet-C, the reference for mean corruption errors. Plain data.

Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations
<https://arxiv.org/abs/1903.12261>, 2019.
"""

CLEAN = 0.435
"""Top-1 error on clean images."""
CORRUPTED = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Corruption -> top-1 error, the mean over the five severities."""
CLASSES = 1000
"""Number of classes of the data set on which these errors were measured; for others they are meaningless."""
