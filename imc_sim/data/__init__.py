"""Data sets, made-up characters, and few-shot episodes. Needs numpy alone; nothing is read before it is asked for."""

from imc_sim.data._archives import ARCHIVES
from imc_sim.data._cache import cached_array, fingerprint
from imc_sim.data._check import CheckReport, check
from imc_sim.data._classes import class_count, load_classes
from imc_sim.data._episodes import Episodes, EpisodeShape, sample_episodes
from imc_sim.data._fetch import fetch
from imc_sim.data._fingerprint import data_digest, data_parts, data_state, digests_of, foreign_digests
from imc_sim.data._folders import cache_folder, data_root
from imc_sim.data._gather import (
    LabelledScaling,
    Scaling,
    UniqueImages,
    gather_images,
    gather_labelled,
    repeated_images,
    unique_images,
)
from imc_sim.data._glyphs import make_glyphs
from imc_sim.data._image_folder import FolderImages
from imc_sim.data._load import load_labelled, load_pool
from imc_sim.data._registry import DATASETS, DatasetInfo, own_kind, stored_name
from imc_sim.data._sets import CharacterPool, LabelledImages, as_pool
from imc_sim.data._views import AS_THEY_ARE, View, check_labels, pixel_order, said_labels, task_images

__all__ = [
    "ARCHIVES",
    "AS_THEY_ARE",
    "DATASETS",
    "CharacterPool",
    "CheckReport",
    "DatasetInfo",
    "EpisodeShape",
    "Episodes",
    "FolderImages",
    "LabelledImages",
    "LabelledScaling",
    "Scaling",
    "UniqueImages",
    "View",
    "as_pool",
    "cache_folder",
    "cached_array",
    "check",
    "check_labels",
    "class_count",
    "data_digest",
    "data_parts",
    "data_root",
    "data_state",
    "digests_of",
    "fetch",
    "fingerprint",
    "foreign_digests",
    "gather_images",
    "gather_labelled",
    "load_classes",
    "load_labelled",
    "load_pool",
    "make_glyphs",
    "own_kind",
    "pixel_order",
    "repeated_images",
    "said_labels",
    "sample_episodes",
    "stored_name",
    "task_images",
    "unique_images",
]
