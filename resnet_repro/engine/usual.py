"""The loop as most training scripts write it: what ours is measured against, and nothing else.

Images go one at a time through torchvision's transforms on PIL images, in as many loader processes
as there are cores; the network runs as it is written, in fp32; loss and errors are looked at in
every iteration.
"""

from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_repro.config import RunConfig
from resnet_repro.data.images import Images
from resnet_repro.distributed import num_cores
from resnet_repro.engine.turns import Work
from resnet_repro.models import build_model

GRACE_SECONDS = 20.0


class _AsPillow(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR10 class hands them out."""

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


def usual_loop(config: RunConfig, images: Images, device: torch.device) -> Work:
    """Train a run's network as usual, for ever; yield after each iteration.

    In a process of its own: what ours asks of torch and of the C library is not asked there.

    Args:
        config: Of the run; batch norm takes each mini-batch whole.
        images: The training images.
        device: Where.
    """
    ours, theirs = Pipe()
    process = get_context("spawn").Process(
        target=_serve, args=(theirs, config, images, device, torch.get_num_threads()), daemon=False
    )
    process.start()
    theirs.close()
    try:
        while True:
            ours.send(True)
            ours.recv()
            yield
    finally:
        ours.close()
        process.join(GRACE_SECONDS)  # to end its loader processes
        process.kill()


def _serve(
    asked: Connection, config: RunConfig, images: Images, device: torch.device, threads: int
) -> None:
    """Do an iteration whenever asked."""
    torch.set_num_threads(threads)
    loop = _loop(config, images, device)
    with suppress(EOFError):  # nobody asks any more
        while asked.recv():
            next(loop)
            asked.send(None)


def _loop(config: RunConfig, images: Images, device: torch.device) -> Iterator[None]:
    recipe = config.recipe
    model = build_model(config.model).to(device).train()
    optimizer = SGD(
        model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    loader = DataLoader(
        _AsPillow(images, recipe.crop_padding),
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=num_cores(),
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
