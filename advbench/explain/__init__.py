"""Explain what a network sees: in a picture, in its adversarial version, and on its own.

Every function takes an `advbench.Classifier`; the computing functions return tensors, and `explain` draws them.

Example:
    >>> import torch
    >>> from advbench import Classifier, explain
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> model, x = Classifier(net, num_classes=2, mean=[0.0], input_size=8), torch.rand(2, 1, 8, 8)
    >>> explain.grad_cam(model, x, model(x).argmax(1)).shape
    torch.Size([2, 1, 8, 8])
    >>> layer = explain.find_layer(model, "0")
    >>> explain.activations(model, x, layer).shape, explain.filter_images(model, layer, [0, 3], steps=2).images.shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2, 1, 8, 8]))
"""

from advbench.config.explain import Options
from advbench.explain.attribution import grad_cam, integrated_gradients, occlusion, saliency, smooth_saliency
from advbench.explain.embedding import hidden, principal_axes
from advbench.explain.layers import Layer, activations, find_layer, last_maps, list_layers
from advbench.explain.maximise import Painted, class_images, filter_images
from advbench.explain.page import Explained, explain, explain_picture
from advbench.explain.path import Plane, plane, straight_line
from advbench.explain.subject import Subject, attack_subject, read_subject

__all__ = [
    "Explained",
    "Layer",
    "Options",
    "Painted",
    "Plane",
    "Subject",
    "activations",
    "attack_subject",
    "class_images",
    "explain",
    "explain_picture",
    "filter_images",
    "find_layer",
    "grad_cam",
    "hidden",
    "integrated_gradients",
    "last_maps",
    "list_layers",
    "occlusion",
    "plane",
    "principal_axes",
    "read_subject",
    "saliency",
    "smooth_saliency",
    "straight_line",
]
