"""The search by itself: a drawn world in which scores and evidence follow from the windows."""

import numpy as np
import pytest
import torch

from sess_kernels import ConfigError, SESSConfig
from sess_kernels.prefilter import pre_filter
from sess_kernels.search import Search, _boxes, _shares, _sum_inside
from sess_kernels.windows import grids

SIZE = 300, 400


def _config(recall=0.95, ratio=0.9):
    settings = {"scales": 10, "pre_filter_ratio": ratio, "search_recall": recall}
    return SESSConfig(search=True, **settings).for_input(224)


def _world(seed, n_classes=1, side=0.25):
    """Answers of windows: an object at a random place, seen best in windows that fit it."""
    rng = np.random.default_rng(seed)
    windows = grids(*SIZE, _config())
    boxes = _boxes(windows, 224)
    scores, cams = [], []
    for _ in range(n_classes):
        centre = rng.uniform(side, 1 - side, 2)
        low, high = centre - side / 2, centre + side / 2
        over = np.minimum(boxes[:, 2:], high) - np.maximum(boxes[:, :2], low)
        common = over.clip(0).prod(1)
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        fit = common / (sizes + side**2 - common)
        noise = rng.normal(0, 0.1, len(boxes))
        scores.append(1 / (1 + np.exp(3 - 12 * fit + noise)))
        cams.append([_cam(box, centre, side) for box in boxes])
    return windows, np.array(scores), np.array(cams)


def _cam(box, centre, side):
    """Evidence where the object is, a little against it elsewhere."""
    steps = (np.arange(7) + 0.5) / 7
    xs, ys = (box[i] + steps * (box[i + 2] - box[i]) for i in (0, 1))
    near_x, near_y = (np.abs(a - c) < side / 2 for a, c in ((xs, centre[0]), (ys, centre[1])))
    return np.where(near_y[:, None] & near_x, 3.0, -0.5)


def _run(search, scores, cams):
    rounds = []
    while len(asked := search.ask()):
        rounds.append(asked)
        search.tell(asked, scores[:, asked], cams[:, asked])
    return rounds


def _recall(search, scores, config):
    kept = [pre_filter(torch.from_numpy(row), config).numpy() for row in scores]
    return np.mean([search.asked[one].mean() for one in kept])


def test_most_of_the_best_windows_are_found_with_few_forwards():
    found, shares, first = [], [], []
    for seed in range(20):
        windows, scores, cams = _world(seed)
        search = Search(windows, _config(), 1)
        _run(search, scores, cams)
        found.append(_recall(search, scores, _config()))
        shares.append(search.asked.mean())
        coarse = np.arange(len(search.asked)) < search.asked.sum()
        kept = pre_filter(torch.from_numpy(scores[0]), _config())
        first.append(coarse[kept.numpy()].mean())
    assert np.mean(found) >= 0.9
    assert np.mean(shares) <= 0.5
    assert np.mean(found) >= np.mean(first) + 0.3  # coarse scales first, as many windows


def test_a_higher_aim_asks_for_more_and_finds_more():
    shares, recalls = [], []
    for recall in (0.5, 0.9, 0.99):
        config, share, found = _config(recall), 0.0, 0.0
        for seed in range(8):
            windows, scores, cams = _world(seed)
            search = Search(windows, config, 1)
            _run(search, scores, cams)
            share, found = share + search.asked.mean(), found + _recall(search, scores, config)
        shares.append(share)
        recalls.append(found)
    assert shares == sorted(shares)
    assert shares[0] < shares[2]
    assert recalls == sorted(recalls)


def test_each_window_is_asked_for_once_and_the_first_scale_first():
    windows, scores, cams = _world(3, n_classes=3)
    search = Search(windows, _config(), 3)
    rounds = _run(search, scores, cams)
    asked = np.concatenate(rounds)
    assert rounds[0].tolist() == list(range(len(windows[0])))
    assert len(set(asked.tolist())) == len(asked) == search.asked.sum()
    assert all(len(one) <= 6 for one in rounds[1:])  # two for each class, less what they share


def test_classes_share_what_was_scored():
    windows, scores, cams = _world(4, n_classes=2)
    together = Search(windows, _config(), 2)
    _run(together, scores, cams)
    alone = []
    for one in range(2):
        search = Search(windows, _config(), 1)
        _run(search, scores[one : one + 1], cams[one : one + 1])
        alone.append(search.asked.sum())
    assert together.asked.sum() < sum(alone)
    assert _recall(together, scores, _config()) >= 0.9


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9, 0.99])
def test_no_fewer_are_scored_than_are_kept(ratio):
    windows, scores, cams = _world(5)
    config = _config(recall=0.01, ratio=ratio)
    search = Search(windows, config, 1)
    _run(search, scores, cams)
    assert search.asked.sum() >= config.kept(len(search.asked))


def test_no_evidence_anywhere_ends_too():
    windows, scores, _ = _world(6)
    n_windows = scores.shape[1]
    search = Search(windows, _config(), 1)
    _run(search, np.full((1, n_windows), 0.0), np.zeros((1, n_windows, 7, 7)))
    assert search.asked.any()


def test_values_that_are_not_finite_end_the_search():
    windows, scores, cams = _world(7)
    search = Search(windows, _config(), 1)
    _run(search, np.full_like(scores, np.nan), cams)  # what comes of it is checked by the caller
    assert search.asked.all()


def test_shares_are_those_of_areas():
    config = _config()
    windows = grids(*SIZE, config)
    boxes = _boxes(windows, 224)
    rows = np.array([0, 5, 40])
    within, inside, overlap = _shares(boxes, rows, (7, 5))
    for i, row in enumerate(rows):
        for j, other in enumerate(boxes):
            width = min(boxes[row][2], other[2]) - max(boxes[row][0], other[0])
            height = min(boxes[row][3], other[3]) - max(boxes[row][1], other[1])
            common = max(width, 0) * max(height, 0)
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (boxes[row], other)]
            assert within[i, j] == pytest.approx(common / areas[1])
            assert overlap[i, j] == pytest.approx(common / (sum(areas) - common))
            cells = inside[0][i, j].sum() * inside[1][i, j].sum()
            assert cells / 35 == pytest.approx(common / areas[0])
    assert _sum_inside(np.ones((1, 3, 7, 5)), inside)[0, 0, 0] == pytest.approx(35)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": True}, "pre_filter_ratio 0 keeps all"),
        ({"search": "yes", "pre_filter_ratio": 0.9}, "search must be true or false"),
        ({"search_recall": 1.0}, "search_recall must be in"),
        ({"search_recall": 0}, "search_recall must be in"),
    ],
)
def test_settings_that_make_no_search_are_told(changes, said):
    with pytest.raises(ConfigError, match=said):
        SESSConfig(**changes)
