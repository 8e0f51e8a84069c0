"""The image encoder of CLIP (ViT-B/32, trained on LAION-2B); its weights are fetched once.

pip install open_clip_torch
"""

import open_clip
import torch

model, _, transform = open_clip.create_model_and_transforms(
    "ViT-B-32", pretrained="laion2b_s34b_b79k"
)
model.eval()


def encode(images):
    """n Pillow images in RGB -> features [n, 512]."""
    with torch.inference_mode():
        return model.encode_image(torch.stack([transform(image) for image in images]))
