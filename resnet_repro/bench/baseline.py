"""The baseline: a conventional training loop that ours is compared with; used for nothing else.

Images pass one at a time through torchvision's transforms on PIL images, with one loader process
per core; the network runs eagerly in fp32 with torch's defaults (which use TF32 for convolutions on
CUDA); loss and errors are read in every iteration.
"""

import sys

import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_repro.data.images import Images
from resnet_repro.engine.device import choose_device, set_up_device
from resnet_repro.engine.interleave import Loop
from resnet_repro.machine import num_cores
from resnet_repro.models import build_model
from resnet_repro.settings.run import RunConfig

# What a program of its own has. The loop is timed in a spawned process, whose readers would each
# start Python and import torch: minutes on a machine of many cores.
START_METHOD = "fork" if sys.platform == "linux" else None


class _AsPillow(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR10 class returns them."""

    def __init__(self, images: Images, padding: int) -> None:
        self.pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(self.pixels.shape[1], padding=padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            ]
        )

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]

    def __len__(self) -> int:
        return len(self.labels)


def baseline_loop(config: RunConfig, images: Images) -> Loop:
    """Train a run's network conventionally and endlessly; yield after each iteration.

    Args:
        config: The run's settings; batch norm uses the whole mini-batch.
        images: The training images.
    """
    recipe, device = config.recipe, choose_device(config.compute)
    set_up_device(config.compute, device)
    model = build_model(config.model).to(device).train()
    optimizer = SGD(
        model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    loader = DataLoader(
        _AsPillow(images, recipe.crop_padding),
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=num_cores(),
        multiprocessing_context=START_METHOD,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        drop_last=True,
    )
    total_loss, num_errors = 0.0, 0
    while True:
        for inputs, labels in loader:
            inputs, labels = inputs.to(device), labels.to(device)
            logits = model(inputs)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total_loss += loss.item()
            num_errors += (logits.argmax(dim=1) != labels).sum().item()
            yield
