"""Any folder of images: one subfolder for each class."""

import contextlib
import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from recipes.common.command_line.errors import InputError, first_line
from recipes.common.files.reading import read_bytes
from recipes.vision.data.images import DataSet, ImageData, Split, image_data
from recipes.vision.data.search import missing

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # by content, whatever the name: others start programs
# Of one image, before it is decoded: 8192 x 4096, 128 MiB in colour.
PIXELS = 2**25
FILE = 2**28  # bytes: more than that many pixels take in any of the formats
DENSITY = 2**9  # pixels of a large image per byte of its file; photographs have up to 100
# Of all images of a folder, which take half a second for each 2**25: so many where the files have
# less than 16 MiB in all, and `DENSITY` for each byte beyond.
TOTAL, TOTAL_SIZE = 3 * 2**28, 2**24
# Passes over a JPEG: progressive ones have about 10, and each takes as long however short it is.
SCANS = 100
HELD_OUT = ("val", "validation", "test")
SHARE = 0.1  # held out where the folder has no such part
# Bytes of decoded images that are kept; beyond, they are decoded when needed. Files that are small
# for what they become are kept up to the second number, or to the third times their own size.
MEMORY, SMALL, GROWTH = 2**30, 2**28, 2**5


class PixelBudget:
    """Lets threads decode together while their images have no more than so many pixels in all.

    Small images then use every core, and the largest are decoded one at a time.

    Args:
        limit: The sum, not less than the pixels of any one image.
    """

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels: int):
        """Waits until there is room for `pixels`, and holds them."""
        with self._changed:
            self._changed.wait_for(lambda: self.used + pixels <= self.limit)
            self.used += pixels
        try:
            yield
        finally:
            with self._changed:
                self.used -= pixels
                self._changed.notify_all()


_BUDGET = PixelBudget(PIXELS)


class PixelAccount:
    """Counts the pixels of a folder while its images are decoded for the first time.

    A small file can have many pixels, and a small folder many such files.

    Args:
        stored: Bytes of all its files.
    """

    def __init__(self, stored: int):
        self.stored, self.counted = stored, 0
        self.limit = TOTAL + DENSITY * max(0, stored - TOTAL_SIZE)
        self._seen: set[Path] = set()
        self._lock = threading.Lock()

    def add(self, path: Path, width: int, height: int) -> None:
        """Counts an image, once.

        Raises:
            InputError: If it is the one too many.
        """
        with self._lock:
            if path in self._seen:
                return
            self._seen.add(path)
            self.counted += width * height
            if self.counted > self.limit:
                raise InputError(
                    f"The images have more than {self.limit:,} pixels in {self.stored:,} bytes of "
                    "files, and decoding them would take long. Make them smaller first, for "
                    f"example 512 pixels high. Received: {path}, {width} x {height}"
                )


class Decoded:
    """Image files that are decoded when indexed.

    Args:
        paths: The files.
        size: Height and width of what comes out: the largest centred square, resized.
        account: Where the pixels of the folder are counted, or `None`.
    """

    def __init__(self, paths: list[Path], size: int, account: PixelAccount | None = None):
        self.paths = paths
        self.shape = (len(paths), size, size, 3)
        self.account = account

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        size = self.shape[1]
        return np.stack([decode(self.paths[index], size, self.account) for index in indices])


def decode(path: Path, size: int, account: PixelAccount | None = None) -> np.ndarray:
    """The centred square of an image, in colour, resized; uint8 `(size, size, 3)`.

    Args:
        path: The file.
        size: Height and width of what comes out.
        account: Where the pixels of the folder are counted, or `None`.

    Raises:
        ValueError: If it cannot be decoded; the message names it.
    """
    try:
        content = read_bytes(path, FILE)
        # From memory: of a file Pillow would ask for as many bytes as a damaged length says.
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise InputError(
                    f"{path} cannot be decoded as an image: it has more than {PIXELS:,} pixels. "
                    f"Received: {image.width} x {image.height}"
                )
            if image.width * image.height > max(2**20, DENSITY * len(content)):
                raise InputError(
                    f"{path} cannot be decoded as an image: it is too small a file for its "
                    f"pixels. Received: {image.width} x {image.height}"
                )
            if image.format == "JPEG" and content.count(b"\xff\xda") > SCANS:
                raise InputError(
                    f"{path} cannot be decoded as an image: it is a JPEG of more than {SCANS} "
                    f"scans. Received: {image.width} x {image.height}"
                )
            if account is not None:
                account.add(path, image.width, image.height)
            with _BUDGET.of(image.width * image.height):
                return _square(image, size, path)
    except InputError:
        raise
    # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise InputError(
            f"{path} cannot be decoded as an image ({first_line(error)}). Received: {path}"
        ) from None


def _square(image: Image.Image, size: int, path: Path) -> np.ndarray:
    # Large JPEGs are decoded at the fraction of their size that is still large enough.
    image.draft("RGB", (2 * size, 2 * size))
    image.load()
    image = _eight_bits(image, path)
    # Cameras store portraits as landscapes with a note to turn them.
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode != "RGB":
        image = image.convert("RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8)


def _eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Sixteen grey bits to eight; `convert` would clip all above 255 to white."""
    if image.mode == "F":
        raise InputError(
            "An image of floating-point numbers has no fixed white; expected 8 or 16 bits a "
            f"channel. Received: {path}"
        )
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image)
    grey = np.empty(levels.shape, np.uint8)
    rows = max(1, 2**20 // image.width)  # a part at a time: between, each pixel takes 12 bytes
    for start in range(0, image.height, rows):
        part = levels[start : start + rows].clip(0, 65535).astype(np.uint32)
        grey[start : start + rows] = (part + 128) // 257
    eight = Image.fromarray(grey)
    if exif := image.info.get("exif"):
        eight.info["exif"] = exif
    return eight


def load(folder: str | None = None, image_size: int = 32) -> ImageData:
    """The images below `folder`: `CLASS/...`, or `train/CLASS/...` and `val/CLASS/...`.

    With no `val`, `validation` or `test` a tenth of each class is held out, chosen by the names
    of the files, so that it stays the same from run to run and machine to machine.

    Links to regular files are followed, wherever they lead: a folder of links is a way to choose
    from a larger one.

    Up to 1 GiB of decoded images is decoded at once and kept, so a damaged file shows at the
    start; more are decoded batch by batch, and a damaged one stops the run when it is met. So are
    images that would take more than 256 MiB and 32 times the size of their files.

    A folder of less than 16 MiB may have 800 million pixels; more would take longer to decode than
    anyone expects of it, and are an error that says so.

    Args:
        folder: The root.
        image_size: Height and width of the images that come out.
    """
    if image_size < 1:
        raise InputError(f"`image_size` is a number of pixels. Received: image_size={image_size}")
    if folder is None or not Path(folder).expanduser().is_dir():
        raise _missing([Path(folder)] if folder else [], folder)
    root = Path(folder).expanduser()
    held = next((root / name for name in HELD_OUT if (root / name).is_dir()), None)
    if (root / "train").is_dir() and held:
        classes, training = _list(root / "train")
        other, validation = _list(held)
        unknown = sorted(set(other) - set(classes))
        if unknown:
            raise InputError(
                f"{held} has classes that {root / 'train'} lacks: {unknown}. "
                f"Received: data_dir={folder}"
            )
        how = f"{held.name}/ held out"
    else:
        root = root / "train" if (root / "train").is_dir() else root
        classes, files = _list(root)
        training, validation = _hold_out(root, files)
        how = f"{SHARE:.0%} of each class held out by name"
    if len(classes) < 2 or not training or not validation:
        raise _missing([root], folder)
    stored = sum(path.stat().st_size for path, _ in training + validation)
    kept = _are_kept(len(training) + len(validation), stored, image_size)
    account = PixelAccount(stored)
    splits = [_split(part, classes, image_size, kept, account) for part in (training, validation)]
    return image_data(*splits, tuple(classes), f"images in {folder} ({how})")


def _missing(searched: list[Path], folder: str | None):
    return missing(
        "A folder of images",
        searched or ["nowhere: no folder was given"],
        f"{', '.join(SUFFIXES)}, in one subfolder for each of two or more classes, at least two "
        "images in each; or such subfolders in train/ and in val/ or test/",
        ("name the folder: --data-dir FOLDER",),
        folder,
    )


Files = list[tuple[Path, str]]


def _list(root: Path) -> tuple[list[str], Files]:
    """Classes in alphabetical order, and all files with their classes."""
    files = []
    for path in sorted(root.glob("*/**/*"), key=lambda path: path.relative_to(root).parts):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            files.append((path, parts[0]))
    return sorted({name for _, name in files}), files


def _hold_out(root: Path, files: Files) -> tuple[Files, Files]:
    training, validation = [], []
    for name in sorted({name for _, name in files}):
        members = [path for path, label in files if label == name]
        # By a digest of the name: spread evenly, whatever the names count or sort by.
        members.sort(key=lambda p: hashlib.sha256(p.relative_to(root).as_posix().encode()).digest())
        count = max(1, round(SHARE * len(members))) if len(members) > 1 else 0
        validation += [(path, name) for path in members[:count]]
        training += [(path, name) for path in members[count:]]
    return training, validation


def _are_kept(count: int, stored: int, size: int) -> bool:
    decoded = count * size * size * 3
    return decoded <= min(MEMORY, max(SMALL, GROWTH * stored))


def _split(files: Files, classes: list[str], size: int, kept: bool, account: PixelAccount) -> Split:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for _, name in files], np.int64)
    images = Decoded([path for path, _ in files], size, account)
    if kept:
        paths, images = images.paths, np.empty(images.shape, np.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as executor:  # decoding leaves Python's lock
            decoded = executor.map(lambda path: decode(path, size, account), paths)
            for index, image in enumerate(decoded):
                images[index] = image
    return Split(images, labels)


FOLDER = DataSet(load, epochs=90.0, resizable=True)
