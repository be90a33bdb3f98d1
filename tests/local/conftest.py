import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts can enter. Another run of pytest would close the one of `tmp_path` again."""
    with tempfile.TemporaryDirectory(prefix="store-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)
