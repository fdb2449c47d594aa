"""Localisation of an image's class: networks with outputs of their own for each class."""
