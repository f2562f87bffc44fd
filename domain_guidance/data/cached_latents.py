"""The images that a training has, and their posteriors, read one at a time."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .buckets import Size
from .latent_store import DamagedEntry, LatentStore, Posterior
from .left_out import Remark, Skipped, because, remark_sentences


@dataclass(frozen=True)
class CachedImage:
    """An image with latents. index: in its source. key: of its content. bucket: the size it was encoded at."""

    index: int
    name: str
    key: str
    bucket: Size


class CachedLatents:
    """The usable images of a filled cache; `images[i]` and `read(i, ...)` go together.

    restore: called with an image and what is wrong with its entry, to put it there again.
    """

    def __init__(
        self,
        images: Sequence[CachedImage],
        skipped: Sequence[Skipped],
        store: LatentStore,
        restore: Callable[[CachedImage, str], None],
        remarks: Sequence[Remark] = (),
    ):
        self.images, self.skipped, self.remarks = tuple(images), tuple(skipped), tuple(remarks)
        self._store, self._restore = store, restore

    def __len__(self) -> int:
        return len(self.images)

    def read(self, position: int, mirrored: bool = False) -> Posterior:
        """The posterior of one image or of its mirror, [C, h, w] in fp16.

        An entry that is missing or damaged is encoded again on the spot. Raises LatentCacheError or ImageError if the
        image is no longer what was cached.
        """
        image = self.images[position]
        try:
            return self._store.read(image.key, image.bucket, mirrored)
        except DamagedEntry as damage:
            self._restore(image, str(damage))
            return self._store.read(image.key, image.bucket, mirrored)

    @property
    def commonest_bucket(self) -> Size:
        """The size of most images; of equally common ones the largest, so that the images' names do not matter."""
        counts = Counter(image.bucket for image in self.images)
        return max(counts, key=lambda bucket: (counts[bucket], math.prod(bucket), bucket))

    @property
    def bytes_per_image(self) -> float:
        """The mean size on disk, from one entry of each bucket: entries of one bucket are equally large."""
        sample = {image.bucket: image for image in self.images}
        counts = Counter(image.bucket for image in self.images)
        total = sum(self._store.size(sample[bucket].key, bucket) * count for bucket, count in counts.items())
        return total / len(self.images)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ where contents, buckets or the VAE differ; names and order do not count.

        For a resumed run to notice another set of images, and for ranks to see that they agree.
        """
        lines = sorted(f"{image.key} {image.bucket}" for image in self.images)
        return hashlib.sha256("\n".join([self._store.vae, *lines]).encode()).hexdigest()[:16]

    @property
    def report(self) -> str:
        """For the user: how many are used and what they take, which are not and why, and what to know of the others."""
        used = f"{len(self.images)} images used, {self.bytes_per_image / 1000:.0f} kB each in the latent cache"
        skipped = f"{len(self.skipped)} skipped: {because(self.skipped)}" if self.skipped else "none skipped"
        return " ".join([f"{used}, {skipped}.", *remark_sentences(self.remarks)])
