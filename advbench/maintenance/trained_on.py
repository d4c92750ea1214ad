"""Records the ids of MNIST's training images, so that a run can tell if a zoo model was trained on an image.

Run `python -m advbench.maintenance.trained_on DATA_ROOT`, with the folder that `advbench train --data-root` takes.
"""

from pathlib import Path

import click

from advbench.catalog.zoo import DATA
from advbench.datasets.trained_on import ids_of_pixels, packed_ids, shipped_file
from advbench.records.storage.atomic import write_atomic
from advbench.training.data.sets import in_parts, load_split


@click.command()
@click.argument("data_root", type=click.Path(path_type=Path))
def main(data_root: Path) -> None:
    """Write the ids of MNIST's training images in DATA_ROOT into the package."""
    images = load_split("mnist", data_root, "train")
    content = packed_ids(ids_of_pixels(x for x, _ in in_parts(images)))
    written = write_atomic(shipped_file("mnist"), content)
    click.echo(f"{written}: {len(content):,} bytes, {len(images.x):,} images of {DATA['mnist'].title}")


if __name__ == "__main__":
    main()
