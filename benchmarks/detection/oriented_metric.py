"""Average precision of oriented boxes, of tiles or of the whole images they were cut from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.evaluation.functional import average_precision
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmrotate.evaluation import DOTAMetric
from mmrotate.evaluation.functional.mean_ap import print_map_summary, tpfp_default
from mmrotate.structures.bbox import qbox2rbox
from numpy.typing import NDArray

from benchmarks.detection.merging import Detections, merge_tiles, write_submission
from cmid.data.dota import read_objects
from cmid.files import check_new


@METRICS.register_module()
class OrientedMetric(DOTAMetric):
    """mmrotate's ``DOTAMetric`` with merged evaluation, and within one process.

    The original starts four processes a call, each of which imports everything again; it rounds
    scores in submission files to two digits, and evaluates no merged results.

    Args:
        whole_labels: for ``merge_patches``, folder of the whole images' text files; merged boxes
            are compared with them. Objects that are not easy count neither as found nor as missed,
            as in DOTA's own evaluation.
        kwargs: arguments of ``DOTAMetric``, with rotated boxes only. With ``merge_patches``,
            ``outfile_prefix`` is a new folder for the submission files.

    Raises:
        ValueError: ``merge_patches`` with neither of the two, or ``whole_labels`` without it.
        FileNotFoundError: no folder ``whole_labels``.
        FileExistsError: ``outfile_prefix`` of submission files is not empty.
    """

    def __init__(self, whole_labels: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.merge_patches and not (whole_labels or self.outfile_prefix):
            raise ValueError("merge_patches needs whole_labels, outfile_prefix, or both")
        if whole_labels and not self.merge_patches:
            raise ValueError("whole_labels needs merge_patches=True")
        if whole_labels and not Path(whole_labels).is_dir():
            raise FileNotFoundError(f"no folder of labels {whole_labels}")
        if self.merge_patches and self.outfile_prefix:
            check_new(Path(self.outfile_prefix))  # now, and not after all images
        self.whole_labels = whole_labels

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Merge, write and compare, as far as each is asked for."""
        truths, found = zip(*results, strict=True)
        predictions = {
            each["img_id"]: Detections(each["bboxes"], each["scores"], each["labels"])
            for each in found
        }
        annotations: Any = dict(zip(predictions, truths, strict=True))
        if self.merge_patches:
            predictions = merge_tiles(predictions, iou_threshold=self.iou_thr)
            if self.outfile_prefix:
                classes = self.dataset_meta["classes"]
                path = write_submission(Path(self.outfile_prefix), predictions, classes)
                MMLogger.get_current_instance().info(f"submission files: {path}")
            if self.whole_labels is None:
                return {}
            annotations = self._whole_annotations(list(predictions))
        elif self.format_only:
            self.results2json(found, self.outfile_prefix)
            return {}
        unlabelled = [image for image, truth in annotations.items() if not truth]
        if unlabelled:
            raise ValueError(f"{unlabelled[0]} has no labels to compare with")
        return self._average_precisions(predictions, annotations)

    def _whole_annotations(self, images: Sequence[str]) -> dict[str, dict[str, NDArray[Any]]]:
        classes = list(self.dataset_meta["classes"])
        annotations = {}
        labelled = {path.stem for path in Path(str(self.whole_labels)).glob("*.txt")}
        absent = sorted(labelled.difference(images))
        if absent:
            MMLogger.get_current_instance().warning(
                f"{len(absent)} of {len(labelled)} images in {self.whole_labels} have no tiles and"
                f" are not evaluated, first {absent[0]}"
            )
        for image in images:
            path = Path(str(self.whole_labels), f"{image}.txt")
            objects = read_objects(path, classes=classes)
            corners = torch.from_numpy(objects.corners.reshape(-1, 8)).float()
            boxes = qbox2rbox(corners).numpy().reshape(-1, 5)
            labels = np.array([classes.index(name) for name in objects.categories], dtype=np.int64)
            easy = objects.difficulties == 0
            annotations[image] = {
                "bboxes": boxes[easy],
                "labels": labels[easy],
                "bboxes_ignore": boxes[~easy],
                "labels_ignore": labels[~easy],
            }
        return annotations

    def _average_precisions(
        self,
        predictions: Mapping[str, Detections],
        annotations: Mapping[str, Mapping[str, NDArray[Any]]],
    ) -> dict[str, float]:
        classes = self.dataset_meta["classes"]
        logger = MMLogger.get_current_instance()
        means: dict[str, float] = {}
        scores: dict[str, float] = {}
        for threshold in self.iou_thrs:
            rows = [
                self._class_result(label, predictions, annotations, threshold)
                for label in range(len(classes))
            ]
            name = f"AP{round(threshold * 100):02d}"
            known = {c: float(r["ap"]) for c, r in zip(classes, rows, strict=True) if r["num_gts"]}
            means[name] = float(np.mean([*known.values()])) if known else 0.0
            logger.info(f"IoU threshold {threshold}")
            print_map_summary(means[name], rows, classes, logger=logger)
            scores |= {f"{name}_{category}": value for category, value in known.items()}
        return {"mAP": float(np.mean([*means.values()])), **means, **scores}

    def _class_result(
        self,
        label: int,
        predictions: Mapping[str, Detections],
        annotations: Mapping[str, Mapping[str, NDArray[Any]]],
        threshold: float,
    ) -> dict[str, Any]:
        """Precision and recall of one class, in the form of ``print_map_summary``."""
        hits, misses, confidences = [], [], [np.zeros(0)]
        num_objects = 0
        for image, found in predictions.items():
            truth = annotations[image]
            mine = found.labels == label
            scored = np.hstack([found.boxes[mine], found.scores[mine, None]])
            objects = truth["bboxes"][truth["labels"] == label]
            ignored = truth["bboxes_ignore"][truth["labels_ignore"] == label]
            hit, miss = tpfp_default(scored, objects, ignored, iou_thr=threshold)
            hits.append(hit[0])
            misses.append(miss[0])
            confidences.append(found.scores[mine])
            num_objects += len(objects)
        order = np.argsort(-np.concatenate(confidences), kind="stable")
        hit_sum = np.cumsum(np.concatenate(hits)[order])
        miss_sum = np.cumsum(np.concatenate(misses)[order])
        recall = hit_sum / max(num_objects, 1)
        precision = hit_sum / np.maximum(hit_sum + miss_sum, 1e-9)
        mode = "11points" if self.use_07_metric else "area"
        return {
            "num_gts": num_objects,
            "num_dets": len(order),
            "recall": recall,
            "precision": precision,
            "ap": average_precision(recall, precision, mode),
        }
