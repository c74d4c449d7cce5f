"""What PyTorch and safetensors raise where they cannot write, as the OSError that it is."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_SAYINGS = ("no space left", "write failed", "failed writing", "file too large", "unexpected pos", "quota", "os error")


@contextmanager
def removed_on_error(folder: Path) -> Iterator[None]:
    """Writes into `folder`: an error leaves nothing of it, and is an OSError with a name where writing has failed."""
    try:
        yield
    except BaseException as error:
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        shutil.rmtree(folder, ignore_errors=True)
        told = str(error).lower()
        if not isinstance(error, RuntimeError | SafetensorError) or not any(saying in told for saying in _SAYINGS):
            raise
        code = errno.ENOSPC if "no space" in told or free < 1 << 24 else errno.EFBIG
        raise OSError(code, os.strerror(code), str(folder)) from error
