"""Judges: which truth they go by, and whom they pass over."""

import numpy as np
import pytest
import torch

from pipeline.evaluation import EvaluationConfig
from pipeline.evaluation.judge import Case
from pipeline.evaluation.judges import JUDGES
from pipeline.truth import ClassTruth, ImageTruth

CONFIG = EvaluationConfig(metric=tuple(JUDGES))


def judge(name):
    return JUDGES[name](CONFIG, 3)


def case(*classes, truth=None, size=(20, 20), at=(5, 5), predicted=None):
    maps = torch.zeros(len(classes), *size)
    maps[:, at[0], at[1]] = 1
    return Case("", None, truth, classes, maps, predicted)


def in_box(*box, difficult=False, region=None):
    return ClassTruth(torch.tensor([box]).float(), torch.tensor([difficult]), lambda: region)


@pytest.mark.parametrize("name", [name for name in JUDGES if name not in ("insertion", "miou")])
def test_what_nobody_knows_is_not_judged(name):
    elsewhere = ImageTruth({1: in_box(0, 0, 9, 9)}, size=(20, 20))
    assert judge(name).judge(case(0, 2)) == [None, None]
    assert judge(name).judge(case(0, 2, truth=elsewhere)) == [None, None]


def test_pointing_goes_by_regions_before_boxes():
    region = torch.zeros(20, 20, dtype=torch.bool)
    region[0, 0] = True
    for truth, hit in ((in_box(0, 0, 9, 9), 1), (in_box(0, 0, 9, 9, region=region), 0)):
        [found] = judge("pointing").judge(case(1, truth=ImageTruth({1: truth}, size=(20, 20))))
        assert found.values == {"pointing": hit, "difficult": 0}


def test_pointing_is_difficult_for_small_objects_among_others():
    small, large = in_box(0, 0, 9, 9), in_box(0, 0, 15, 15)
    for truth, hard in (
        (ImageTruth({1: small}), 0),
        (ImageTruth({1: small, 2: large}), 1),
        (ImageTruth({1: large, 2: small}), 0),
        (ImageTruth({1: small}, others={"sofa": 2}), 1),
        (ImageTruth({1: small, 2: large}, labelled=False), 0),
    ):
        [found] = judge("pointing").judge(case(1, truth=truth))
        assert found.values["difficult"] == hard
        assert found.statistics.tolist() == [1, 1, hard, hard]


def test_difficult_objects_alone_are_passed_over():
    truth = ImageTruth({1: in_box(0, 0, 9, 9, difficult=True)})
    assert judge("pointing").judge(case(1, truth=truth)) == [None]
    assert judge("corloc").judge(case(1, truth=truth)) == [None]


def test_localisation_asks_for_the_class_too():
    truth = ImageTruth({1: in_box(5, 5, 6, 6)})
    for predicted, right in ((1, 1), (0, 0)):
        [found] = judge("localisation").judge(case(1, truth=truth, predicted=predicted))
        assert found.values == {"gt_known": 1, "top1": right}


def test_pxap_goes_by_masks_of_images_and_regions_of_classes():
    mask = torch.zeros(20, 20, dtype=torch.uint8)
    mask[5, 5], mask[5, 6], mask[0] = 2, 1, 255
    of_image = ImageTruth({1: in_box(0, 0, 9, 9)}, read_mask=lambda: mask)
    [found] = judge("pxap").judge(case(1, truth=of_image))
    assert found.statistics.view(2, -1).sum(1).tolist() == [1, 379]  # a row of 20 is unknown
    region = mask == 2
    of_class = ClassTruth(
        torch.zeros(0, 4), torch.zeros(0).bool(), lambda: region, lambda: mask == 255
    )
    [found] = judge("pxap").judge(case(1, truth=ImageTruth({1: of_class})))
    assert found.statistics.view(2, -1).sum(1).tolist() == [1, 379]


def test_miou_takes_all_maps_of_an_image():
    mask = torch.from_numpy(np.full((20, 20), 2, np.uint8))
    truth = ImageTruth({}, read_mask=lambda: mask)
    one = case(1, truth=truth)
    one.maps[:] = 1
    metric = judge("miou").metric
    [found] = judge("miou").judge(one)
    assert found.statistics.shape == metric.sums.shape
    assert metric.figures(found.statistics)["miou"] == 1
    assert judge("miou").judge(case(1)) == [None]
