"""How many networks of timm and transformers are mapped unchanged, on an ideal chip.

    python benchmarks/breadth.py [timm|transformers [NAME ...]] [--out breadth.jsonl] [--limit 180]

Neither package is a dependency of the project (`pip install timm transformers`); what is not installed is left out.
torchvision is replaced by empty modules where it is not installed. Of timm a small member of each family is taken, of
transformers a small configuration of each type, both with random weights.

Every network is mapped in a separate process, with all weights on cells of any conductance, and compared with itself in
float64. A network passes if its error is at most 4 times that of the float32 pass of the network or of the rounding of
weights in cells that the report states, if all multiply-adds that torch counts are in products that were seen, and if
all weights are on crossbars. One line of JSON is written per
network; a second call computes what is missing in the file.
"""

from __future__ import annotations

import argparse
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import multiprocessing
import resource
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import imc_sim as imc
from imc_sim.sites import leaves, own_copy

#: cells of any conductance, all weights on crossbars
CHIP = (
    imc.load_chip("ideal")
    .replace("device.levels", "continuous")
    .replace("policy", {"binary": "crossbar", "int8": "crossbar", "float": "crossbar"})
    .replace("encoding_multibit", {"kind": "differential"})
)
#: error of a mapped network against that of its float32 pass or of its weights, and the least that counts
TIMES, LEAST = 4.0, 1e-6
#: sides of images that are tried, smallest first
SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 288, 384)
#: a small member of each family of timm
FAMILIES = """
    beit_base_patch16_224 lambda_resnet26t mobileone_s0 cait_xxs24_224 coat_lite_tiny convit_tiny
    convmixer_1024_20_ks9_p14 convnext_zepto_rms cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s
    cspnext_tiny davit_tiny deepseek_vit_412m_enc deit_tiny_patch16_224 densenet121 dla46x_c dpn48b
    edgenext_xx_small efficientformer_l1 efficientformerv2_s0 tinynet_e efficientvim_m1 efficientvit_b0
    efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m
    ghostnet_050 hardcorenas_a hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny hrnet_w18_small iformer_t
    inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_128s lowformer_b0
    mambaout_femto maxvit_pico_rw_256 poolformer_s12 gmlp_ti16_224 lcnet_035 mobilenetv5_base mobilevit_xxs
    mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge nest_tiny nextvit_small nf_regnet_b0 pit_ti_224
    pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m0_9 res2net50_14w_8s
    resnest14d resnet10t resnetv2_18 rexnetr_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18
    starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224
    tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_svt_small vgg11 visformer_tiny vit_tiny_patch16_224
    vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 samvit_base_patch16_224 vitamin_small_224 volo_d1_224
    ese_vovnet19b_slim_dw legacy_xception xception41 xcit_nano_12_p16_224
""".split()  # noqa: SIM905  a list literal would take a line for each
#: types of transformers
TYPES = """
    albert bart beit bert big_bird bloom camembert codegen convbert convnext convnextv2 deberta deberta-v2 deit
    distilbert electra ernie falcon fnet funnel gemma gpt2 gpt_neo gpt_neox gptj layoutlm llama longformer mamba
    marian mbart megatron-bert mistral mixtral mobilebert mobilevit mpnet nystromformer opt pegasus phi poolformer
    qwen2 rembert resnet roberta roformer rwkv segformer squeezebert stablelm swin swinv2 t5 vit xglm xlm-roberta
    yoso clip hubert wav2vec2 whisper
""".split()  # noqa: SIM905  a list literal would take a line for each
#: settings of small configurations, by the names that the types have for them
SMALL = {
    name: value
    for value, names in {
        32: "hidden_size d_model n_embd dim embedding_size attention_hidden_size projection_dim image_size",
        64: "intermediate_size d_ff ffn_dim encoder_ffn_dim decoder_ffn_dim hidden_dim n_positions ffn_hidden_size "
        "max_position_embeddings",
        2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_key_value_heads",
        4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
        "attention_window state_size",
        8: "d_kv head_dim rotary_dim",
        100: "vocab_size",
        0: "pad_token_id",
    }.items()
    for name in names.split()
}
_STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
_WINDOWS = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_SPEECH = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
#: settings of single networks: fewer blocks or features of the largest ones, and lists of settings
OWN: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 2}, "deepseek_vit_412m_enc": {"depth": 2}, "gemma4_vit_167m": {"depth": 2},
    "qwen3_vit_88m": {"depth": 2}, "samvit_base_patch16_224": {"depth": 4}, "vgg11": {"mlp_ratio": 0.0625},
    "convnext": _STAGES, "convnextv2": _STAGES, "poolformer": _STAGES, "resnet": {"embedding_size": 8} | _STAGES,
    "segformer": {"num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16} | _STAGES,
    "mobilevit": {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32]},
    "swin": _WINDOWS, "swinv2": _WINDOWS, "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "funnel": {
        "architectures": ["FunnelModel"], "block_sizes": [1, 1], "num_decoder_layers": 1, "d_head": 8, "d_inner": 64,
        "d_model": 32, "n_head": 4,
    },
    "hubert": _SPEECH, "wav2vec2": _SPEECH,
}  # fmt: skip


class _Named(type):
    """A class whose every attribute is another such class."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(name, (), {"__module__": cls.__module__})


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `torchvision` and all below it as modules whose every name is an empty class."""

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("torchvision"):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module, names = types.ModuleType(spec.name), _Named(spec.name, (), {})
        vars(module)["__getattr__"] = lambda name: _Named.__getattr__(names, name)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave the module empty."""


def timm_network(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network of timm and the smallest images that it takes."""
    timm = importlib.import_module("timm")
    for options, size in [({"img_size": size}, size) for size in SIZES] + [({}, size) for size in SIZES]:
        try:
            network = timm.create_model(name, **options, **OWN.get(name, {})).eval()
            x = torch.randn(2, network.pretrained_cfg["input_size"][0], size, size)
            network(x)
        except Exception:  # noqa: S112  the next size
            continue
        return network, {"x": x}
    raise RuntimeError("no size of images works")


def _settings(given: Any, kind: str) -> dict[str, Any]:
    """Return small settings by those of the configuration that are numbers, also of the configurations inside."""
    numbers = {} if kind in OWN and kind not in ("gpt_neo", "hubert", "wav2vec2") else SMALL
    changed: dict[str, Any] = {
        n: v
        for n, v in numbers.items()
        if isinstance(getattr(given, n, None), int) and not isinstance(getattr(type(given), n, None), property)
    }
    inside = [name for name in type(given).sub_configs if getattr(given, name, None) is not None]
    return changed | {name: _settings(getattr(given, name), "") for name in inside} | OWN.get(kind, {})


def transformers_network(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a small network of a type of transformers and its inputs."""
    transformers = importlib.import_module("transformers")
    given = transformers.AutoConfig.for_model(name)
    network = transformers.AutoModel.from_config(type(given)(**_settings(given, name))).eval()
    names, ids = inspect.signature(network.forward).parameters, torch.randint(3, 99, (2, 16))
    images = getattr(network.config, "vision_config", network.config)
    size = min(getattr(images, "image_size", 64), 64)
    shaped = {
        "input_ids": ids, "pixel_values": torch.randn(2, 3, size, size), "input_values": torch.randn(2, 3200),
        "input_features": torch.randn(2, getattr(network.config, "num_mel_bins", 1), 3000),
    }  # fmt: skip
    inputs = {key: x for key, x in shaped.items() if key in names}
    return network, inputs | ({"decoder_input_ids": ids[:, :8]} if network.config.is_encoder_decoder else {})


def vary(network: nn.Module) -> None:
    """Move weights that a fresh network has all equal, such as zeros of the last layer, so that nothing vanishes."""
    for weight in network.parameters():
        if weight.is_floating_point() and weight.numel() > 1 and bool((weight == weight.flatten()[0]).all()):
            weight += 0.1 * torch.randn_like(weight)


def measure(suite: str, name: str) -> dict[str, Any]:
    """Map one network and compare it with itself."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, inputs = (timm_network if suite == "timm" else transformers_network)(name)
    vary(network.requires_grad_(False))
    row: dict[str, Any] = {"weights": sum(w.numel() for w in network.parameters())}
    row["inputs"] = {key: list(x.shape) for key, x in inputs.items()}
    double = own_copy(network).double()  # without tensors that some networks keep from a pass
    with FlopCounterMode(display=False) as counter:
        own = network(**copy.deepcopy(inputs))
    started = time.perf_counter()
    analog = imc.map_model(network, CHIP, chips=2, inputs=inputs)
    row["map_s"], started = round(time.perf_counter() - started, 1), time.perf_counter()
    found = analog(**inputs)
    row["pass_s"] = round(time.perf_counter() - started, 1)
    row |= errors(double, inputs, own, found)
    products = analog.report.products
    sites = [site for site in products.sites if site.weight is not None]
    row |= {
        "sites": len(sites), "kinds": sorted({site.weights.kind for site in sites}),
        "digital": len(sites) - len(analog.report.placed), "dynamic": sum(site.dynamic for site in products.sites),
        "counted": max(counter.get_total_flops() // 2, products.counted), "seen": products.seen,
        "unseen": list(products.unseen),
        "opaque": [f"{path}: {function}" for path, function in products.opaque],
        "together": analog.sites is not None and analog.sites.together(2) > 1,
        "report": analog.report.to_text().splitlines()[-2:],
    }  # fmt: skip
    attention = sum(site.multiply_adds for site in products.sites if site.kind == "attention")
    row["counted_all"] = 0 <= row["seen"] - row["counted"] <= attention  # torch does not count all attention on CPUs
    row["weight_error"] = max((each.weight_error or 0.0 for each in analog.report.layers), default=0.0)
    equal = row["error"] <= max(TIMES * max(row["own_error"], row["weight_error"]), LEAST)
    return row | {"equal": equal, "ok": equal and not row["digital"] and row["counted_all"]}


@torch.no_grad()
def errors(double: nn.Module, inputs: dict[str, Any], own: Any, found: Any) -> dict[str, float]:
    """Return the largest error of an output of the chips, and of the network itself in float32.

    Errors are those to a pass in float64, relative to the variation of the output over the samples, or to the output
    where random weights make it the same for all samples.
    """
    try:
        exact = double(**{key: x.double() if x.is_floating_point() else x for key, x in inputs.items()})
    except RuntimeError:  # networks that cannot compute in float64
        exact = own
    pairs = []
    for a, b, chips in zip(*map(_numbers, (own, exact, found)), strict=True):
        varied, size = float((b - b.mean(0)).norm()), float(b.norm())
        scale = varied if varied > LEAST * size else size
        if scale > 0.0:
            pairs.append([float((x.double() - b).norm()) / scale for x in (a, *chips)])
    own_errors, *chip_errors = zip(*pairs, strict=True)
    return {"own_error": max(own_errors), "error": max(map(max, chip_errors)), "outputs": len(pairs)}


def _numbers(output: Any) -> list[Tensor]:
    return [x for x in leaves(output) if isinstance(x, Tensor) and x.is_floating_point()]


def _child(pipe: Any, suite: str, name: str, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    try:
        row = measure(suite, name)
    except Exception as error:  # one line per network, whatever it raises
        row = {"ok": False, "failed": f"{type(error).__name__}: {error}"[:2000]}
    row["peak_GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    pipe.send(row)


def limited(suite: str, name: str, limit: int) -> dict[str, Any]:
    """Return the row of one network, measured in a process of at most so many processor seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    started = time.perf_counter()
    process = context.Process(target=_child, args=(theirs, suite, name, limit))
    process.start()
    theirs.close()
    try:
        row = ours.recv()
    except EOFError:
        row = {"ok": False, "failed": f"ended after {limit} s of processor time, or by lack of memory"}
    process.join()
    return {"suite": suite, "name": name, "seconds": round(time.perf_counter() - started, 1)} | row


def run(suite: str, names: Sequence[str], out: Path, limit: int) -> None:
    """Measure networks of one package and print a line for each; those in the file only if they are named."""
    if importlib.util.find_spec(suite) is None:
        print(f"{suite} is not installed: pip install {suite}")
        return
    if suite == "timm" and importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_Empty())
    importlib.import_module(suite)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {row["name"] for row in rows if row["suite"] == suite}
    for name in names or [each for each in (FAMILIES if suite == "timm" else TYPES) if each not in done]:
        row = limited(suite, name, limit)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        numbers = " ".join(f"{key}={row[key]:.2g}" for key in ("error", "own_error", "map_s", "pass_s") if key in row)
        print("ok  " if row["ok"] else "FAIL", name, numbers, row.get("failed", "")[:300], flush=True)


def main() -> None:
    """Measure the networks that the file lacks."""
    parser = argparse.ArgumentParser(description="Map networks of timm and transformers.")
    parser.add_argument("suite", choices=("timm", "transformers"), nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("breadth.jsonl"))
    parser.add_argument("--limit", type=int, default=180, help="processor seconds of a network")
    args = parser.parse_args()
    for suite in (args.suite,) if args.suite else ("timm", "transformers"):
        run(suite, args.names, args.out, args.limit)


if __name__ == "__main__":
    main()
