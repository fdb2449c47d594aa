"""The annotation of a photograph in the format of PASCAL VOC."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from resnet_repro.detection.annotated import number
from resnet_repro.errors import UserError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
TRUTH = {"0": False, "false": False, "": False, "1": True, "true": True}


def parse(path: Path) -> ElementTree.Element:
    """Return the annotation in a file.

    Raises:
        UserError: It is damaged or something else.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is damaged, it is not XML: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if root.tag != "annotation":
        raise UserError(f"{path} is not in PASCAL VOC's format: it has <{root.tag}>")
    return root


def pixels(root: ElementTree.Element, side: str) -> int:
    """Return the photograph's `height` or `width`, as annotated; 0 if that is no size."""
    value = number(root.findtext(f"size/{side}"))
    return int(value) if 0 < value < 2**31 else 0


def objects(
    root: ElementTree.Element, path: Path
) -> Iterator[tuple[str, str, bool, tuple[float, ...]]]:
    """Yield the objects, not the parts of objects: place, class, whether difficult, corners.

    Raises:
        UserError: An object has no class, or a mark that is unknown.
    """
    for position, each in enumerate(root.findall("object"), start=1):
        place = f"{path.name} object {position}"
        name = (each.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{path}: object {position} has no <name>: add its class")
        difficult = (each.findtext("difficult") or "").strip().lower()
        if difficult not in TRUTH:
            raise UserError(
                f"{path}: object {position}: <difficult>{difficult}</difficult> must be 0 or 1"
            )
        corners = tuple(number(each.findtext(f"bndbox/{corner}")) for corner in CORNERS)
        yield place, name, TRUTH[difficult], corners
