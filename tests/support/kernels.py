"""Cases of the operator y = relu(bn(x) + h), and what an implementation makes of them."""

from dataclasses import dataclass

import torch

from resnet_repro.kernels import KernelsError, find_kernels
from resnet_repro.kernels.batch_norm import Norm, again, batch_norm

NO_COMPILER = "there is no C++ compiler"
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def cpu_kernels():
    """Return the CPU's kernels; None without a compiler: one that fails is a failure."""
    try:
        return find_kernels(torch.device("cpu"))
    except KernelsError as error:
        if NO_COMPILER not in str(error):
            raise
        return None


@dataclass(frozen=True)
class Case:
    """What is computed: shape (N, C, H, W), and who uses the output once more."""

    shape: tuple[int, int, int, int]
    groups: int
    format: str = "NHWC"
    dtype: torch.dtype = torch.float32
    relu: bool = True
    added: bool = True
    second: bool = True
    mean: float = 0.5
    std: float = 1.0
    momentum: float = 0.1

    def maps(self, device="cpu"):
        """Return x, h and the gradients of two uses of y."""
        generator = torch.Generator().manual_seed(sum(self.shape))
        x, *others = (torch.randn(self.shape, generator=generator) for _ in range(4))
        return [
            each.to(device, self.dtype).contiguous(memory_format=FORMATS[self.format])
            for each in (self.mean + self.std * x, *others)
        ]

    def vectors(self, device="cpu"):
        """Return weight, bias, running mean and variance."""
        generator = torch.Generator().manual_seed(1)
        drawn = [torch.randn(self.shape[1], generator=generator) for _ in range(4)]
        return [each.to(device) for each in (*drawn[:3], drawn[3].square())]

    def norm(self, vectors):
        return Norm(*vectors, momentum=self.momentum, eps=1e-5, relu=self.relu)


def results(case, maps, vectors, kernels=None):
    """Return y, the running averages and the gradients of x, weight, bias and h, by name."""
    x, h, *grads = maps
    inputs = {"x": x.clone().requires_grad_()}
    vectors = [each.clone() for each in vectors]
    inputs |= zip(("weight", "bias"), (each.requires_grad_() for each in vectors[:2]), strict=True)
    if case.added:
        inputs["h"] = h.clone().requires_grad_()
    norm = case.norm(vectors)
    y = batch_norm(inputs["x"], norm, inputs.get("h"), num_groups=case.groups, kernels=kernels)
    uses = (y, again(y)) if case.second else (y,)
    found = torch.autograd.grad(uses, list(inputs.values()), grads[: len(uses)])
    of = {f"gradient of {name}": grad for name, grad in zip(inputs, found, strict=True)}
    return {"y": y.detach(), "mean": norm.mean, "var": norm.var} | of


def exact(case, maps, vectors):
    """Return the results of plain torch in float64."""
    return results(case, [each.double() for each in maps], [each.double() for each in vectors])


def assert_alike(ours, theirs, *, tolerance):
    """Compare results, which differ by the tolerance of their largest value."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        right = theirs[name].double()
        atol = tolerance * float(right.abs().max())
        torch.testing.assert_close(value.double(), right, rtol=tolerance, atol=atol, msg=name)
