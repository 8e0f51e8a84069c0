"""DINOv2 (a small ViT) from transformers; its weights are fetched once.

pip install transformers torch torchvision
"""

import torch
from transformers import AutoImageProcessor, AutoModel

NAME = "facebook/dinov2-small"
processor, model = AutoImageProcessor.from_pretrained(NAME), AutoModel.from_pretrained(NAME).eval()


def encode(images):
    """n Pillow images in RGB -> features [n, 384]."""
    with torch.inference_mode():
        return model(**processor(images, return_tensors="pt")).last_hidden_state[:, 0]
