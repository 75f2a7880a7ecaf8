"""Specifications, strict YAML, canonical hashes and the look-up of shipped content."""

from imc_sim.config._archs import ARCHS
from imc_sim.config._code import Code, code_of, is_code, is_onnx
from imc_sim.config._content import (
    FoundCard,
    Kind,
    beside,
    content_names,
    family_summaries,
    find_card,
    find_content,
    search_folders,
    shipped_content,
    unreadable_families,
    user_path,
    working_folder,
)
from imc_sim.config._engine import NATIVE, Engine, as_engine
from imc_sim.config._held import Held, held, held_name, holding_objects, is_held
from imc_sim.config._installation import REINSTALL, is_shipped, missing_files, package_file
from imc_sim.config._spec import Effect, Spec, build, canonical_json, digest, drop_paths, set_path
from imc_sim.config._stored import SHUFFLED, read_stored, shuffled, stored_file
from imc_sim.config._synonyms import SYNONYMS, stored_names
from imc_sim.config._trust import check_trusted, trust_all, trusting
from imc_sim.config._units import Ampere, ElectronVolt, Hertz, Kelvin, Seconds, Siemens, Volt
from imc_sim.config._user_code import (
    FUNCTION,
    code_errors,
    function_code,
    load_function,
    place_of_error,
    run_code,
    split_code,
)
from imc_sim.config._yaml import parse_setting, parse_yaml, read_yaml, write_yaml

__all__ = [
    "ARCHS",
    "FUNCTION",
    "NATIVE",
    "REINSTALL",
    "SHUFFLED",
    "SYNONYMS",
    "Ampere",
    "Code",
    "Effect",
    "ElectronVolt",
    "Engine",
    "FoundCard",
    "Held",
    "Hertz",
    "Kelvin",
    "Kind",
    "Seconds",
    "Siemens",
    "Spec",
    "Volt",
    "as_engine",
    "beside",
    "build",
    "canonical_json",
    "check_trusted",
    "code_errors",
    "code_of",
    "content_names",
    "digest",
    "drop_paths",
    "family_summaries",
    "find_card",
    "find_content",
    "function_code",
    "held",
    "held_name",
    "holding_objects",
    "is_code",
    "is_held",
    "is_onnx",
    "is_shipped",
    "load_function",
    "missing_files",
    "package_file",
    "parse_setting",
    "parse_yaml",
    "place_of_error",
    "read_stored",
    "read_yaml",
    "run_code",
    "search_folders",
    "set_path",
    "shipped_content",
    "shuffled",
    "split_code",
    "stored_file",
    "stored_names",
    "trust_all",
    "trusting",
    "unreadable_families",
    "user_path",
    "working_folder",
    "write_yaml",
]
