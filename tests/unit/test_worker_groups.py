"""Which worker processes the settings and the command line ask for."""

import pytest

from audio_text.errors import ConfigurationError
from audio_text.worker.groups import worker_groups
from factories import make_settings


def test_by_default_one_group_listens_to_every_queue() -> None:
    settings = make_settings()

    (group,) = worker_groups(settings)

    assert group.tiers == ("audio_small", "audio_medium", "audio_large", "audio_processing")
    assert group.concurrency == 2


def test_in_multi_queue_mode_every_tier_has_a_group_of_its_own_size() -> None:
    groups = worker_groups(make_settings({"worker.mode": "multi-queue"}))

    assert {group.tiers: group.concurrency for group in groups} == {
        ("audio_small",): 4,
        ("audio_medium",): 2,
        ("audio_large",): 1,
        ("audio_processing",): 2,
    }


def test_named_tiers_get_a_group_each_whatever_the_mode() -> None:
    groups = worker_groups(make_settings(), ("audio_large", "audio_small"))

    assert [(group.name, group.concurrency) for group in groups] == [("audio_large", 1), ("audio_small", 4)]


def test_an_unknown_tier_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no tier 'audio_huge'.*audio_small, audio_medium"):
        worker_groups(make_settings(), ("audio_huge",))
