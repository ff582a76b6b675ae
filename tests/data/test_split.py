import numpy as np
import pytest

from lorgnette.data.split import given_split, split
from lorgnette.document import Document, Targets, Text
from lorgnette.errors import ConfigError, DataError


def documents(labels, splits=None):
    return [
        Document((Text(str(i)),), f"d{i}", {"split": splits[i]} if splits else {}, Targets(label=label))
        for i, label in enumerate(labels)
    ]


def parts(result):
    return [set(part.indices) for part in result]


def test_clusters_stay_together_and_nothing_is_lost():
    rng = np.random.default_rng(0)
    clusters = np.sort(rng.integers(0, 120, 300))
    source = documents([None] * 300)
    result = split(source, clusters)
    train, validation, test = parts(result)
    assert train | validation | test == set(range(300))
    assert len(train) + len(validation) + len(test) == 300
    owners = [{int(clusters[i]) for i in part} for part in (train, validation, test)]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    assert abs(len(test) - 60) <= 3
    assert abs(len(validation) - 30) <= 3
    assert result.test[0].key == f"d{min(test)}"
    assert parts(split(source, clusters)) == [train, validation, test]
    assert parts(split(source, clusters, seed=1)) != [train, validation, test]


def test_classes_are_kept_in_proportion():
    labels = ["cat"] * 100 + ["dog"] * 50 + ["owl"] * 3 + ["yak"]
    _, validation, test = parts(split(documents(labels), np.arange(154)))

    def count(part, label):
        return sum(labels[i] == label for i in part)

    assert abs(count(test, "cat") - 20) <= 1
    assert abs(count(test, "dog") - 10) <= 1
    assert abs(count(validation, "cat") - 10) <= 1
    assert count(test, "yak") == count(validation, "yak") == 0
    assert count(test, "owl") + count(validation, "owl") <= 2


def test_many_small_classes_add_up():
    labels = [f"class {i // 3}" for i in range(300)]
    train, validation, test = parts(split(documents(labels), np.arange(300)))
    assert abs(len(test) - 60) <= 2
    assert abs(len(validation) - 30) <= 2
    assert len({labels[i] for i in train}) == 100


def test_a_large_cluster_goes_to_training():
    clusters = np.array([0] * 60 + list(range(60, 100)))
    train, validation, test = parts(split(documents([None] * 100), clusters))
    assert set(range(60)) <= train
    assert test
    assert validation


def test_too_small():
    with pytest.raises(DataError, match="At least 10 distinct pictures are needed"):
        split(documents([None] * 30), np.arange(30) % 9)
    with pytest.raises(DataError, match="no documents are left for"):
        split(documents([str(i) for i in range(12)]), np.arange(12))
    with pytest.raises(ConfigError, match="leave a part empty"):
        split(documents([None] * 30), np.arange(30), test=0.9)


def test_given_split_drops_what_leaks():
    names = ["train"] * 6 + ["val", "val", "Test", "test"]
    clusters = np.array([0, 1, 2, 3, 4, 8, 6, 9, 8, 9])
    result, left_out = given_split(documents([None] * 10, names), clusters)
    assert parts(result) == [{0, 1, 2, 3, 4}, {6}, {8, 9}]
    assert left_out == 2
    assert given_split(documents([None] * 10), clusters) is None


def test_given_split_makes_a_validation_part():
    names = ["train"] * 40 + ["test"] * 10
    result, left_out = given_split(documents([None] * 50, names), np.arange(50))
    assert [len(part) for part in result] == [35, 5, 10]
    assert left_out == 0


def test_bad_given_split():
    with pytest.raises(DataError, match="d1: split: 'tset' is no part"):
        given_split(documents([None] * 3, ["train", "tset", "test"]), np.arange(3))
    with pytest.raises(DataError, match="d1: split: None is no part"):
        given_split(documents([None] * 3, ["train", None, "test"]), np.arange(3))
    with pytest.raises(DataError, match="nothing is left for the part 'test'"):
        given_split(documents([None] * 3, ["train", "train", "val"]), np.arange(3))
