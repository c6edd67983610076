"""The works that the lab's methods come from, and which of them a run used."""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType

from msip_core.config import PruneConfig, TrainConfig
from msip_core.views.citations import Citation

WORKS = MappingProxyType(
    {
        work.key: work
        for work in (
            Citation(
                "fang_msip", "unpublished", ("Fang, Yuebing",),
                "YOLOv8 optimisation for crypt classification of intestinal organoids: "
                "multi-strategy importance pruning", "Southeast University", note="In Chinese",
            ),
            Citation(
                "yolov8_ultralytics", "software",
                ("Jocher, Glenn", "Chaurasia, Ayush", "Qiu, Jing"), "Ultralytics YOLOv8",
                "Ultralytics", "2023", url="https://github.com/ultralytics/ultralytics",
                note="AGPL-3.0",
            ),
            Citation(
                "fang2023depgraph", "inproceedings",
                ("Fang, Gongfan", "Ma, Xinyin", "Song, Mingli", "Mi, Michael Bi",
                 "Wang, Xinchao"),
                "DepGraph: Towards Any Structural Pruning",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2023",
                "16091–16101", arxiv="2301.12900",
                url="https://github.com/VainF/Torch-Pruning",
            ),
            Citation(
                "li2017filters", "inproceedings",
                ("Li, Hao", "Kadav, Asim", "Durdanovic, Igor", "Samet, Hanan",
                 "Graf, Hans Peter"),
                "Pruning Filters for Efficient ConvNets",
                "International Conference on Learning Representations", "2017",
                arxiv="1608.08710",
            ),
            Citation(
                "lee2021lamp", "inproceedings",
                ("Lee, Jaeho", "Park, Sejun", "Mo, Sangwoo", "Ahn, Sungsoo", "Shin, Jinwoo"),
                "Layer-adaptive Sparsity for the Magnitude-based Pruning",
                "International Conference on Learning Representations", "2021",
                arxiv="2010.07611",
            ),
            Citation(
                "liu2017slimming", "inproceedings",
                ("Liu, Zhuang", "Li, Jianguo", "Shen, Zhiqiang", "Huang, Gao", "Yan, Shoumeng",
                 "Zhang, Changshui"),
                "Learning Efficient Convolutional Networks through Network Slimming",
                "IEEE International Conference on Computer Vision", "2017", "2736–2744",
                arxiv="1708.06519",
            ),
            Citation(
                "he2019fpgm", "inproceedings",
                ("He, Yang", "Liu, Ping", "Wang, Ziwei", "Hu, Zhilan", "Yang, Yi"),
                "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks "
                "Acceleration",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2019",
                "4340–4349", arxiv="1811.00250",
            ),
            Citation(
                "molchanov2019taylor", "inproceedings",
                ("Molchanov, Pavlo", "Mallya, Arun", "Tyree, Stephen", "Frosio, Iuri",
                 "Kautz, Jan"),
                "Importance Estimation for Neural Network Pruning",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2019",
                "11264–11272", arxiv="1906.10771",
            ),
            Citation(
                "hassibi1993surgeon", "inproceedings", ("Hassibi, Babak", "Stork, David G."),
                "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon",
                "Advances in Neural Information Processing Systems", "1993", "164–171",
            ),
            Citation(
                "kurtic2023ziplm", "inproceedings",
                ("Kurtić, Eldar", "Frantar, Elias", "Alistarh, Dan"),
                "ZipLM: Inference-Aware Structured Pruning of Language Models",
                "Advances in Neural Information Processing Systems", "2023",
                arxiv="2302.04089",
            ),
            Citation(
                "lin2020hrank", "inproceedings",
                ("Lin, Mingbao", "Ji, Rongrong", "Wang, Yan", "Zhang, Yichen", "Zhang, Baochang",
                 "Tian, Yonghong", "Shao, Ling"),
                "HRank: Filter Pruning Using High-Rank Feature Map",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2020",
                "1529–1538", arxiv="2002.10179",
            ),
            Citation(
                "yu2018nisp", "inproceedings",
                ("Yu, Ruichi", "Li, Ang", "Chen, Chun-Fu", "Lai, Jui-Hsin", "Morariu, Vlad I.",
                 "Han, Xintong", "Gao, Mingfei", "Lin, Ching-Yung", "Davis, Larry S."),
                "NISP: Pruning Networks Using Neuron Importance Score Propagation",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2018",
                "9194–9203", arxiv="1711.05908",
            ),
            Citation(
                "roffo2015inffs", "inproceedings",
                ("Roffo, Giorgio", "Melzi, Simone", "Cristani, Marco"),
                "Infinite Feature Selection", "IEEE International Conference on Computer Vision",
                "2015", "4202–4210",
            ),
            Citation(
                "zhang2021prunedyolo", "inproceedings",
                ("Zhang, Jiacheng", "Wang, Pingyu", "Zhao, Zhicheng", "Su, Fei"),
                "Pruned-YOLO: Learning Efficient Object Detector Using Model Pruning",
                "Artificial Neural Networks and Machine Learning (ICANN)", "2021",
                doi="10.1007/978-3-030-86380-7_4",
            ),
            Citation(
                "fang2024isomorphic", "inproceedings",
                ("Fang, Gongfan", "Ma, Xinyin", "Mi, Michael Bi", "Wang, Xinchao"),
                "Isomorphic Pruning for Vision Models", "European Conference on Computer Vision",
                "2024", arxiv="2407.04616",
            ),
            Citation(
                "he2018amc", "inproceedings",
                ("He, Yihui", "Lin, Ji", "Liu, Zhijian", "Wang, Hanrui", "Li, Li-Jia",
                 "Han, Song"),
                "AMC: AutoML for Model Compression and Acceleration on Mobile Devices",
                "European Conference on Computer Vision", "2018", "784–800", arxiv="1802.03494",
            ),
            Citation(
                "yang2018netadapt", "inproceedings",
                ("Yang, Tien-Ju", "Howard, Andrew", "Chen, Bo", "Zhang, Xiao", "Go, Alec",
                 "Sandler, Mark", "Sze, Vivienne", "Adam, Hartwig"),
                "NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications",
                "European Conference on Computer Vision", "2018", "285–300", arxiv="1804.03230",
            ),
            Citation(
                "akiba2019optuna", "inproceedings",
                ("Akiba, Takuya", "Sano, Shotaro", "Yanase, Toshihiko", "Ohta, Takeru",
                 "Koyama, Masanori"),
                "Optuna: A Next-generation Hyperparameter Optimization Framework",
                "ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
                "2019", "2623–2631", arxiv="1907.10902",
            ),
            Citation(
                "fan2020layerdrop", "inproceedings",
                ("Fan, Angela", "Grave, Edouard", "Joulin, Armand"),
                "Reducing Transformer Depth on Demand with Structured Dropout",
                "International Conference on Learning Representations", "2020",
                arxiv="1909.11556",
            ),
            Citation(
                "shu2021cwd", "inproceedings",
                ("Shu, Changyong", "Liu, Yifan", "Gao, Jianfei", "Yan, Zheng", "Shen, Chunhua"),
                "Channel-wise Knowledge Distillation for Dense Prediction",
                "IEEE/CVF International Conference on Computer Vision", "2021", "5311–5320",
                arxiv="2011.13256",
            ),
            Citation(
                "romero2015fitnets", "inproceedings",
                ("Romero, Adriana", "Ballas, Nicolas", "Kahou, Samira Ebrahimi",
                 "Chassang, Antoine", "Gatta, Carlo", "Bengio, Yoshua"),
                "FitNets: Hints for Thin Deep Nets",
                "International Conference on Learning Representations", "2015",
                arxiv="1412.6550",
            ),
            Citation(
                "sabaghian2025", "unpublished",
                ("Sabaghian, Melika", "Keyvanrad, Mohammad Ali", "Moghadami, Seyyedeh Mahila"),
                "A Novel Compression Framework for YOLOv8: Achieving Real-Time Aerial Object "
                "Detection on Edge Devices via Structured Pruning and Channel-Wise Distillation",
                "arXiv", "2025", arxiv="2509.12918",
            ),
            Citation(
                "selvaraju2017gradcam", "inproceedings",
                ("Selvaraju, Ramprasaath R.", "Cogswell, Michael", "Das, Abhishek",
                 "Vedantam, Ramakrishna", "Parikh, Devi", "Batra, Dhruv"),
                "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based "
                "Localization",
                "IEEE International Conference on Computer Vision", "2017", "618–626",
                arxiv="1610.02391", doi="10.1109/ICCV.2017.74",
            ),
            Citation(
                "lundberg2017shap", "inproceedings", ("Lundberg, Scott M.", "Lee, Su-In"),
                "A Unified Approach to Interpreting Model Predictions",
                "Advances in Neural Information Processing Systems", "2017", "4765–4774",
                volume="30", arxiv="1705.07874",
            ),
        )
    }
)  # fmt: skip

_OF_METHOD = MappingProxyType(
    {
        "msip": ("fang_msip",),
        "msip-literal": ("fang_msip",),
        "msip-published": ("fang_msip",),
        "l1": ("li2017filters",),
        "l2": ("li2017filters",),
        "lamp": ("lee2021lamp",),
        "bnscale": ("liu2017slimming",),
        "slim": ("liu2017slimming",),
        "fpgm": ("he2019fpgm",),
        "taylor": ("molchanov2019taylor",),
        "taylor-abs": ("molchanov2019taylor",),
        "taylor-2": ("molchanov2019taylor",),
        "obs": ("hassibi1993surgeon", "kurtic2023ziplm"),
        "hrank": ("lin2020hrank",),
        "nisp": ("yu2018nisp",),
        "nisp-inffs": ("yu2018nisp", "roffo2015inffs"),
        "bn-weight": ("zhang2021prunedyolo",),
    }
)
_OF_ALLOCATION = MappingProxyType(
    {
        "isomorphic": ("fang2024isomorphic",),
        "sensitivity": ("li2017filters",),
        "netadapt": ("yang2018netadapt",),
        "amc": ("he2018amc",),
        "search": ("akiba2019optuna",),
    }
)
_OF_GRANULARITY = MappingProxyType({"layerdrop": ("fan2020layerdrop",)})
_OF_RECOVERY = MappingProxyType(
    {"cwd": ("shu2021cwd",), "feature": ("romero2015fitnets",), "sparse": ("liu2017slimming",)}
)
_OF_EXPLAINER = MappingProxyType(
    {"gradcam": "selvaraju2017gradcam", "shap": "lundberg2017shap"}
)  # fmt: skip


def keys_of(config: PruneConfig) -> dict[str, tuple[str, ...]]:
    """Keys of the works behind each choice of a run, by the name of the setting."""
    return {
        "method": _OF_METHOD.get(config.method, ()),
        "allocation": _OF_ALLOCATION.get(config.allocation or "", ()),
        "granularity": _OF_GRANULARITY.get(config.granularity, ()),
        "recovery": _OF_RECOVERY.get(config.recovery, ()),
    }


def works_of(
    config: TrainConfig | PruneConfig, explained: Collection[str] = ()
) -> tuple[Citation, ...]:
    """The works that this run used, each once, in the order in which its methods name them.

    Args:
        explained: of "gradcam" and "shap", those that were computed.
    """
    keys = ["yolov8_ultralytics"]
    if isinstance(config, PruneConfig):
        keys.append("fang2023depgraph")
        keys += [key for choice in keys_of(config).values() for key in choice]
    keys += [key for name, key in _OF_EXPLAINER.items() if name in explained]
    return tuple(WORKS[key] for key in dict.fromkeys(keys))
