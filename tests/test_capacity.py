from __future__ import annotations

import gc
import resource
import weakref

import tornado.web

from tornado_sse.capacity import Capacity


def test_there_are_as_many_places_as_the_limit_says() -> None:
    capacity = Capacity()
    assert [capacity.acquire(2) for _ in range(3)] == [True, True, False]
    capacity.release()
    assert capacity.acquire(2)
    assert not Capacity().acquire(0)


def test_without_a_limit_the_descriptors_are_the_limit() -> None:
    capacity = Capacity()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    taken = 0
    while capacity.acquire(None):
        taken += 1
    assert 0.8 * descriptors < taken < descriptors


def test_an_application_has_one_count_which_does_not_keep_it_alive() -> None:
    application, other = tornado.web.Application([]), tornado.web.Application([])
    assert Capacity.of(application) is Capacity.of(application)
    assert Capacity.of(application) is not Capacity.of(other)
    gone = weakref.ref(application)
    del application
    gc.collect()
    assert gone() is None
