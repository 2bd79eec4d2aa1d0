"""Where the files of known data sets come from, and how to tell that they are the right ones. Fetching: fetch.py."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dptrain.errors import DataError

_BLOCK = 1 << 20
_MOST_BYTES = 1 << 30  #: of what comes out of a single .gz: the largest known is 47 MB


def digest(path: Path, algorithm: str, *, unpacked: bool = False) -> str:
    """In the form "sha256:..." of the file, or of what a gzipped one holds. Raises DataError naming the file."""
    h = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with path.open("rb") as plain:
            packed = unpacked and plain.read(2) == b"\x1f\x8b"
        total = 0
        with gzip.open(path) if packed else path.open("rb") as file:
            while block := file.read(_BLOCK):
                total += len(block)
                if packed and total > _MOST_BYTES:
                    raise DataError(f"{path} unpacks to more than {_MOST_BYTES:,} bytes: refused")
                h.update(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return f"{algorithm}:{h.hexdigest()}"


def found(path: Path, source: Source) -> str:
    """The file's digest in the kind and of the content that the source's is of. Raises DataError."""
    single = source.file.endswith(".gz") and not source.file.endswith(".tar.gz")
    return digest(path, source.digest.partition(":")[0], unpacked=single)


_TORONTO = ("https://www.cs.toronto.edu/~kriz/",)
_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_STANFORD = ("http://cs231n.stanford.edu/",)
_GTSRB = ("https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/",)


class Source(NamedTuple):
    """One file. Its digest is that of the content: of a .gz what is inside, since packers differ in their headers."""

    file: str
    digest: str  #: "sha256:..." or, where nobody has published one, "md5:..."
    mirrors: tuple[str, ...]  #: URLs of the folders it lies in, the best first

    @property
    def urls(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return tuple(mirror + self.file for mirror in self.mirrors)


class Known(NamedTuple):
    """A data set that has a name here."""

    about: str  #: one line for `dptrain data list`
    folder: str  #: where its files lie, below the data home; "": archives bring their own folder
    needed: tuple[Source, ...] = ()  #: what `dptrain data get` fetches
    accepted: tuple[Source, ...] = ()  #: other files `dptrain data add` takes for it
    by_hand: str = ""  #: for those that nobody may pass on: where a person gets them
    holds: tuple[str, ...] = ()  #: and the paths of their files; in each name, * and [0-9] as a shell has them

    def has(self, path: PurePosixPath) -> bool:
        """Is this one of `holds`?"""
        wanted = (held.split("/") for held in self.holds)
        return any(len(names) == len(path.parts) and all(map(fnmatchcase, path.parts, names)) for names in wanted)


def _idx(mirrors: tuple[str, ...], digests: tuple[str, str, str, str]) -> tuple[Source, ...]:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    pairs = zip(parts, digests, strict=True)
    return tuple(Source(f"{part}-ubyte.gz", f"sha256:{digest}", mirrors) for part, digest in pairs)


KNOWN: dict[str, Known] = {
    "cifar10": Known(
        "60,000 photographs 32x32, 10 classes; no licence stated, cite the report",
        "",
        (
            Source(
                "cifar-10-python.tar.gz",
                "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                _TORONTO,
            ),
        ),
        (Source("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", _TORONTO),),
    ),
    "cifar100": Known(
        "60,000 photographs 32x32, 100 classes (cifar100:coarse: 20); no licence stated, cite the report",
        "",
        (
            Source(
                "cifar-100-python.tar.gz",
                "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                _TORONTO,
            ),
        ),
        (Source("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8", _TORONTO),),
    ),
    "mnist": Known(
        "70,000 handwritten digits 28x28; CC BY-SA 3.0",
        "mnist",
        _idx(
            _MNIST,
            (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    "fashion-mnist": Known(
        "70,000 pictures of clothes 28x28; MIT",
        "fashion-mnist",
        _idx(
            _FASHION,
            (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    ),
    "mnist-kaggle": Known(
        "42,000 handwritten digits 28x28, as Kaggle's digit-recognizer has them",
        "mnist-kaggle",
        by_hand="https://www.kaggle.com/c/digit-recognizer/data (train.csv)",
        holds=("train.csv",),
    ),
    "sfddd": Known(
        "22,424 photographs of drivers, 10 classes, reduced to 48x64 (sfddd:HxW: another size); Kaggle's rules",
        "sfddd",
        by_hand="https://www.kaggle.com/c/state-farm-distracted-driver-detection/data (imgs.zip, driver_imgs_list.csv)",
        holds=(
            "imgs/train/c[0-9]/*",
            "train/c[0-9]/*",
            "driver_imgs_list.csv",
            "imgs/driver_imgs_list.csv",
            "imgs/train/driver_imgs_list.csv",
            "train/driver_imgs_list.csv",
        ),
    ),
    "tiny-imagenet": Known(
        "110,000 photographs 64x64, 200 classes; ImageNet's terms",
        "",
        (Source("tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de", _STANFORD),),
    ),
    "gtsrb": Known(
        "39,270 traffic signs, 43 classes, reduced to 32x32 (gtsrb:HxW: another size)",
        "gtsrb",
        (
            Source("GTSRB-Training_fixed.zip", "md5:513f3c79a4c5141765e10e952eaa2478", _GTSRB),
            Source("GTSRB_Final_Test_Images.zip", "md5:c7e4e6327067d32654124b0fe9e82185", _GTSRB),
            Source("GTSRB_Final_Test_GT.zip", "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5", _GTSRB),
        ),
    ),
}


def by_hand(name: str) -> tuple[str, ...]:
    """What a person does without `dptrain data get`: addresses with digests, and the command that takes the files."""
    known = KNOWN[name]
    if known.by_hand:
        return (f"get it from {known.by_hand}, then `dptrain data add {name} FILE ...`",)
    files = (f"{source.urls[0]} ({source.digest})" for source in known.needed)
    return (*files, f"by hand: copy these here and `dptrain data add {name} FILE ...`")
