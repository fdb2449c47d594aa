"""What is a right guess of localisation, on boxes made by hand."""

import torch

from resnet_repro.detection.localisation.judge import is_found, is_right, top_classes

OBJECTS = torch.tensor([[0.0, 0, 100, 100], [300, 300, 400, 400]])
HALF = torch.tensor([0.0, 0, 100, 50])
LESS = torch.tensor([0.0, 0, 100, 49])
OTHER = torch.tensor([300.0, 300, 400, 400])


def test_one_half_is_enough_with_any_of_the_objects():
    assert is_found(HALF, OBJECTS)
    assert not is_found(LESS, OBJECTS)
    assert is_found(OTHER, OBJECTS)


def test_one_of_five_guesses_must_have_the_class_and_the_box():
    boxes = torch.stack([OTHER, OTHER, OTHER, OTHER, HALF, HALF])
    assert is_right(torch.tensor([9, 8, 7, 6, 3]), boxes[:5], 3, OBJECTS)
    assert not is_right(torch.tensor([9, 8, 7, 6, 5]), boxes[:5], 3, OBJECTS)  # no class
    assert not is_right(
        torch.tensor([3, 8]), torch.stack([LESS, HALF]), 3, OBJECTS
    )  # its box is not
    assert is_right(torch.tensor([3, 3]), torch.stack([LESS, HALF]), 3, OBJECTS)
    assert not is_right(torch.tensor([9, 8, 7, 6, 5, 3]), boxes, 3, OBJECTS)  # the sixth


def test_the_five_most_probable_classes_are_named():
    probabilities = torch.tensor([0.1, 0.3, 0.05, 0.2, 0.15, 0.12, 0.08])
    assert top_classes(probabilities).tolist() == [1, 3, 4, 5, 0]
    assert top_classes(torch.tensor([0.2, 0.8])).tolist() == [1, 0]
