"""From images to batches of latents: sources, buckets, the cache on disk and the order of training."""

from .buckets import Size, aspect_buckets, bucket_sizes, sdxl_size_conditioning, shorter_side
from .cached_latents import CachedImage, CachedLatents
from .held_out import Split, split
from .images import ImageError, UnreadableImage, read_image
from .latent_cache import Encoded, LatentCache, LatentCacheError
from .latent_store import Posterior
from .left_out import Remark, Skipped, because, remark_sentences
from .loader import LatentBatch, LatentLoader, held_out_batches
from .order import BatchOrder, Visit
from .sources import BatchImages, FolderImages, ImageSource, Pictures

__all__ = [
    "BatchImages",
    "BatchOrder",
    "CachedImage",
    "CachedLatents",
    "Encoded",
    "FolderImages",
    "ImageError",
    "ImageSource",
    "LatentBatch",
    "LatentCache",
    "LatentCacheError",
    "LatentLoader",
    "Pictures",
    "Posterior",
    "Remark",
    "Size",
    "Skipped",
    "Split",
    "UnreadableImage",
    "Visit",
    "aspect_buckets",
    "because",
    "bucket_sizes",
    "held_out_batches",
    "read_image",
    "remark_sentences",
    "sdxl_size_conditioning",
    "shorter_side",
    "split",
]
