"""Where the images of a data set are, as far as its name does not say. No torch."""

from pathlib import Path
from typing import Any

from advbench.config.fields import Strict


class DataSource(Strict):
    """The place of a data set and the part of it that is meant.

    Example:
        >>> DataSource(path=Path("val"), split="test").revision is None
        True
    """

    path: Path | None = None
    """The file or folder, for a data set that is read from one; a relative path starts at the suite file."""
    root: Path | None = None
    """The folder of a torchvision data set; None: that of `ADVBENCH_DATA`."""
    split: str | None = None
    """The split, such as "test"; None: the one that models are evaluated on."""
    config: str | None = None
    """The configuration of a data set on the Hugging Face hub; None: the only one."""
    revision: str | None = None
    """The revision of a data set on the Hugging Face hub; None: the newest that is there."""
    image_column: str | None = None
    """The column of the images, for a data set with columns; None: it is detected."""
    label_column: str | None = None
    """The column of the labels; None: it is detected."""

    def given(self) -> dict[str, Any]:
        """What is said of the place, by the names of the fields above.

        Example:
            >>> DataSource(split="test").given()
            {'split': 'test'}
        """
        return {name: value for name in DataSource.model_fields if (value := getattr(self, name)) is not None}
