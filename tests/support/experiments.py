"""The words of an experiment of ours, and the file of a user's."""

QUICKSTART = "experiment=quickstart"
TABLE = "experiment=cifar_depth"
MINE = """\
# @package _global_
defaults:
  - override /model: cifar_resnet
  - override /data: cifar10
  - override /recipe: cifar_64k

rows:
  - {name: "ResNet-8, thin (1)", set: {model.depth: 8}}
"""
