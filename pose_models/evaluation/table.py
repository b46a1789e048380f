"""Scores as a table for the terminal: one row per result file, then one per object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HEADLINES = {
    "bop19": {
        "AR": "bop19_average_recall",
        "VSD": "bop19_average_recall_vsd",
        "MSSD": "bop19_average_recall_mssd",
        "MSPD": "bop19_average_recall_mspd",
    },
    "bop24": {
        "mAP": "bop24_mAP",
        "MSSD": "bop24_mAP_mssd",
        "MSPD": "bop24_mAP_mspd",
        "MSSD mm": "bop24_mAP_mssd_mm",
    },
    "classic": {
        name: f"classic_{key}_recall"
        for name, key in {
            "AD 0.1d": "ad",
            "ADD": "add",
            "ADI": "adi",
            "5 px": "proj",
            "CUS": "cus",
            "5cm 5deg": "5cm_5deg",
        }.items()
    },
    "ycbv-auc": {"AUC ADD-S": "auc_add_s", "AUC ADD(-S)": "auc_add(-s)"},
    "tless-siso": {
        "e_VSD<0.3": "recall_vsd_0.3",
        "ADD-S<0.1d": "recall_add_s_0.1d",
        "AUC ADD-S": "auc_add_s",
    },
    "tless-vivo": {
        "e_VSD<0.3": "recall_vsd_0.3",
        "ADD-S<0.1d": "recall_add_s_0.1d",
        "AUC ADD-S": "auc_add_s",
        "mAP ADD-S<0.1d": "map_add_s_0.1d",
    },
    "silhouette": {"IoU": "silhouette_iou", "IoU > 0.5": "silhouette_recall_at_0.5", "MSPD px": "median_mspd_px"},
}
PER_OBJECT = {
    "bop19": ("ar", "vsd", "mssd", "mspd", "instances"),
    "bop24": ("mssd", "mspd", "mssd_mm", "targets"),
    "ycbv-auc": ("add_s", "add(-s)", "instances"),
    "tless-siso": ("recall_vsd_0.3", "recall_add_s_0.1d", "auc_add_s", "instances"),
    "tless-vivo": ("recall_vsd_0.3", "recall_add_s_0.1d", "auc_add_s", "ap_add_s_0.1d", "instances"),
    "silhouette": ("silhouette_iou", "median_mspd_px", "instances_total"),
}


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Text of all tables."""
    protocol = results[0]["protocol"]
    if protocol == "coco":
        rows = [
            [Path(r["estimates"]).name, kind, *(_number(r[kind][key]) for key in ("AP", "AP50", "AP75", "AR100"))]
            for r in results
            for kind in ("bbox", "bbox_modal", "segm")
            if kind in r
        ]
        return table(["file", "type", "AP", "AP50", "AP75", "AR100"], rows)
    names = HEADLINES[protocol]
    head = ["file", *names, "AR 95 %", "s/image", "missing", "ignored"]
    text = [table(head, [_headline(r, names.values()) for r in results])]
    for result in results if protocol in PER_OBJECT else ():
        keys = PER_OBJECT[protocol]
        rows = [[str(obj), *(_number(scores[key]) for key in keys)] for obj, scores in result["per_object"].items()]
        text.append(f"{Path(result['estimates']).name}\n" + table(["object", *keys], rows))
    return "\n\n".join(text)


def _headline(result: dict[str, Any], keys: Iterable[str]) -> list[str]:
    interval = result.get("intervals", {}).get("ar")
    counts = result["counts"]
    return [
        Path(result["estimates"]).name,
        *(_number(result.get(key)) for key in keys),
        f"{interval['low']:.3f}-{interval['high']:.3f}" if interval else "-",
        _number(result["seconds_per_image"]),
        str(counts.get("missing_estimates", counts.get("image_objects_without_estimate", ""))),
        str(sum(counts["estimates_ignored"].values())),
    ]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest entry, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [[cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
             for row in (head, *rows)]  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in lines)
