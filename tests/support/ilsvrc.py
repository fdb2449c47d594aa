"""Made-up sets in the folders of ILSVRC: of its detection task, and of its localisation."""

from tests.support.scenes import annotation, photograph


def write_files(root, files):
    """Write text or bytes by the paths of files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_det(root, lists, annotations, **files):
    """Write a set of detection.

    Args:
        root: The folder of `ImageSets`, `Annotations` and `Data`.
        lists: Lines by list.
        annotations: Objects by `PART/NAME`; None for a photograph without annotation.
        files: More files, by paths with __ for /.
    """
    write_files(root, {f"ImageSets/DET/{k}.txt": "\n".join(v) + "\n" for k, v in lists.items()})
    for name, objects in annotations.items():
        write_files(root, {f"Data/DET/{name}.JPEG": photograph()})
        if objects is not None:
            write_files(root, {f"Annotations/DET/{name}.xml": annotation(*objects)})
    write_files(root, {name.replace("__", "/"): content for name, content in files.items()})


def write_loc(root, train, val, size=(40, 30)):
    """Write a set of localisation: objects by `CLASS/NAME` in `train` and by `NAME` in `val`."""
    for part, photographs in (("train", train), ("val", val)):
        for name, objects in photographs.items():
            text = annotation(*objects, width=size[0], height=size[1])
            write_files(
                root,
                {
                    f"{part}/{name}.JPEG": photograph(*size),
                    f"Annotations/{part}/{name}.xml": text,
                },
            )
