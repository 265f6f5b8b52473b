import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tornado_sse.serializers.registry as module
from tornado_sse.errors import DecodeError, SerializerError, SerializerNotFoundError, SerializerPluginError
from tornado_sse.serializers import decode, encode, get_by_codec, get_serializer, list_serializers, register
from tornado_sse.serializers.json import JSONSerializer
from tornado_sse.serializers.registry import Registry, SerializerInfo

Install = Callable[..., None]

GOOD = """
class Serializer:
    name = {name!r}
    codec = {codec!r}

    def dumps(self, payload):
        return repr(payload).encode()

    def loads(self, data):
        return data.decode()
"""


class Custom:
    """A serializer made for the test."""

    def __init__(self, name: Any = "custom", codec: Any = "custom") -> None:
        self.name = name
        self.codec = codec

    def dumps(self, payload: object) -> bytes:
        return repr(payload).encode()

    def loads(self, data: bytes) -> Any:
        return {"by": self.name, "data": data.decode()}

    def __len__(self) -> int:
        # Falsy, to see that nobody takes that for "none".
        return 0


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution of one module, with the metadata that pip would write."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def install(distribution: str, entries: dict[str, str], **modules: str) -> None:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
            written.append(name)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[tornado_sse.serializers]", *lines, ""]))
        importlib.invalidate_caches()

    yield install
    for name in written:
        sys.modules.pop(name, None)


def infos(registry: Registry) -> dict[str, list[SerializerInfo]]:
    """Return what there is besides the built-in ones, by name."""
    result: dict[str, list[SerializerInfo]] = {}
    for info in registry.list_serializers():
        if info.source != "built-in":
            result.setdefault(info.name, []).append(info)
    return result


def test_the_built_in_four_are_there_without_any_metadata() -> None:
    registry = Registry(list)
    assert registry.list_serializers() == [
        SerializerInfo("binary", "binary", "built-in"),
        SerializerInfo("json", "json", "built-in"),
        SerializerInfo("msgpack", "msgpack", "built-in"),
        SerializerInfo("text", None, "built-in"),
    ]
    for name in ("binary", "json", "msgpack", "text"):
        assert registry.get_serializer(name).name == name


def test_metadata_is_not_looked_at_as_long_as_names_are_registered() -> None:
    def find() -> Any:
        raise AssertionError

    registry = Registry(find)
    registry.register(Custom())
    registry.get_serializer("json")
    registry.get_serializer("custom")
    registry.decode("custom", "")


def test_listing_tries_what_is_there_if_it_is_told_to(install: Install) -> None:
    install("broken-one", {"broken": "no_such_module:x", "json": "no_such_module:x"})
    registry = Registry()
    assert infos(registry)["broken"][0].problem == ""
    problems = {info.name: info.problem for info in registry.list_serializers(load=True) if info.problem}
    assert problems["broken"].startswith("it does not load: ModuleNotFoundError")
    assert problems["json"].startswith("hidden: "), "and is not tried"
    assert infos(registry)["broken"][0].problem == problems["broken"]


def test_metadata_is_looked_at_once() -> None:
    calls = []

    def find() -> Any:
        calls.append(1)
        return []

    registry = Registry(find)
    for _ in range(3):
        registry.list_serializers()
        with pytest.raises(SerializerNotFoundError):
            registry.get_serializer("nobody")
    assert calls == [1]


def test_a_registered_serializer_is_found_by_name_and_by_codec() -> None:
    registry = Registry(list)
    custom = Custom()
    registry.register(custom)
    assert registry.get_serializer("custom") is custom
    assert registry.get_by_codec("custom") is custom
    assert infos(registry) == {"custom": [SerializerInfo("custom", "custom", "registered")]}


@pytest.mark.parametrize(
    ("serializer", "message"),
    [
        (object(), "it is no Serializer: it lacks name, codec, dumps, loads"),
        (Custom(name="a b"), r"its name, 'a b', must be"),
        (Custom(name=None), r"its name, None, must be"),
        (Custom(codec="a\nb"), r"its codec, 'a\\nb', must be None or"),
        (Custom(codec=""), r"its codec, '', must be"),
    ],
)
def test_what_is_no_serializer_is_not_registered(serializer: Any, message: str) -> None:
    registry = Registry(list)
    with pytest.raises(SerializerPluginError, match=message):
        registry.register(serializer)
    assert infos(registry) == {}


def test_a_dumps_that_is_no_method_is_told() -> None:
    custom: Any = Custom()
    custom.dumps = None
    with pytest.raises(SerializerPluginError, match="it lacks dumps"):
        Registry(list).register(custom)


@pytest.mark.parametrize(
    ("name", "source"), [("json", "built-in"), ("text", "built-in"), ("custom", "registered")]
)
def test_a_name_is_taken_only_on_purpose(name: str, source: str) -> None:
    registry = Registry(list)
    registry.register(Custom())
    before = registry.get_serializer(name)
    with pytest.raises(
        SerializerPluginError, match=f"'{name}' is taken by the {source} one; pass replace=True"
    ):
        registry.register(Custom(name))
    assert registry.get_serializer(name) is before
    after = Custom(name, codec=before.codec)
    registry.register(after, replace=True)
    assert registry.get_serializer(name) is after
    assert infos(registry)[name] == [SerializerInfo(name, before.codec, "registered")]


def test_replace_needs_nothing_to_replace() -> None:
    registry = Registry(list)
    registry.register(Custom(), replace=True)
    assert registry.get_serializer("custom").name == "custom"


@pytest.mark.parametrize("names", [("a", "shared", "z"), ("z", "shared", "a"), ("shared", "z", "a")])
def test_of_several_with_one_codec_readers_use_the_one_of_that_name(names: tuple[str, ...]) -> None:
    registry = Registry(list)
    for name in names:
        registry.register(Custom(name, "shared"))
    assert registry.get_by_codec("shared").name == "shared"


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b")])
def test_of_several_with_one_codec_and_other_names_readers_use_the_first(names: tuple[str, ...]) -> None:
    registry = Registry(list)
    for name in names:
        registry.register(Custom(name, "shared"))
    assert registry.get_by_codec("shared").name == "a"


def test_a_second_json_leaves_readers_with_the_first() -> None:
    registry = Registry(list)
    registry.register(JSONSerializer("big", strict_integers=False))
    assert registry.get_by_codec("json").name == "json"
    assert registry.decode("json", encode(registry.get_serializer("big"), 2**60)) == 2**60


def test_a_replaced_serializer_reads_no_longer() -> None:
    registry = Registry(list)
    registry.register(Custom("x", "x"))
    registry.register(Custom("x", "y"), replace=True)
    assert registry.get_by_codec("y").name == "x"
    with pytest.raises(SerializerNotFoundError):
        registry.get_by_codec("x")


def test_a_plugin_is_found_unloaded_and_loaded_when_first_used(install: Install) -> None:
    install("acme-sse", {"acme": "acme_codec:Serializer"}, acme_codec=GOOD.format(name="acme", codec="acme"))
    registry = Registry()
    assert infos(registry)["acme"] == [SerializerInfo("acme", None, "acme-sse[acme]")]
    assert "acme_codec" not in sys.modules
    serializer = registry.get_serializer("acme")
    assert registry.get_serializer("acme") is serializer
    assert encode(serializer, [1]) == "[1]"
    assert registry.decode("acme", "[1]") == "[1]"
    assert infos(registry)["acme"] == [SerializerInfo("acme", "acme", "acme-sse[acme]")]


def test_an_entry_point_may_be_an_instance(install: Install) -> None:
    source = GOOD.format(name="acme", codec="acme") + "\nserializer = Serializer()\n"
    install("acme-sse", {"acme": "acme_instance:serializer"}, acme_instance=source)
    assert Registry().get_serializer("acme") is sys.modules["acme_instance"].serializer


def test_a_codec_loads_the_plugin_of_exactly_that_name_and_no_other(install: Install) -> None:
    install(
        "acme-sse",
        {"one": "acme_one:Serializer", "two": "acme_two:Serializer"},
        acme_one=GOOD.format(name="one", codec="one"),
        acme_two=GOOD.format(name="two", codec="one-and-a-half"),
    )
    registry = Registry()
    assert registry.get_by_codec("one").name == "one"
    assert "acme_two" not in sys.modules
    for codec in ("one-and-a-half", "two", "text", "", "../x", "x" * 1000):
        with pytest.raises(SerializerNotFoundError):
            registry.get_by_codec(codec)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "it does not load: ModuleNotFoundError: No module named"),
        ("1 / 0", "it does not load: ZeroDivisionError"),
        ("def", "it does not load: SyntaxError"),
        ("", "it does not load: AttributeError"),
        ("class Serializer:\n    def __init__(self, needed): ...", "it does not load: TypeError"),
        ("class Serializer: ...", "it is no Serializer: it lacks name, codec, dumps, loads"),
        ("Serializer = len", "it is no Serializer: it lacks name, codec"),
        (GOOD.format(name="other", codec="x"), "it calls itself 'other', and its entry point 'acme'"),
        (GOOD.format(name="acme", codec="a b"), "its codec, 'a b', must be"),
    ],
)
def test_a_broken_plugin_is_blamed_each_time_and_hurts_nobody_else(
    install: Install, source: str, reason: str
) -> None:
    install(
        "acme-sse",
        {"acme": "acme_broken:Serializer", "fine": "acme_fine:Serializer"},
        acme_broken=source,
        acme_fine=GOOD.format(name="fine", codec="fine"),
    )
    registry = Registry()
    for _ in range(3):
        with pytest.raises(SerializerPluginError, match=reason) as caught:
            registry.get_serializer("acme")
        assert caught.value.plugin == "acme-sse[acme]"
        assert (caught.value.__cause__ is not None) == ("does not load" in reason)
        with pytest.raises(SerializerPluginError):
            registry.decode("acme", "")
    assert registry.get_serializer("fine").name == "fine"
    assert registry.get_serializer("json").name == "json"
    [info] = infos(registry)["acme"]
    assert info.problem == caught.value.reason


def test_a_broken_plugin_is_imported_once(install: Install, tmp_path: Path) -> None:
    source = f"with open({str(tmp_path / 'count')!r}, 'a') as file:\n    file.write('x')\n1 / 0\n"
    install("acme-sse", {"acme": "acme_once:Serializer"}, acme_once=source)
    registry = Registry()
    for _ in range(3):
        with pytest.raises(SerializerPluginError):
            registry.get_serializer("acme")
    assert (tmp_path / "count").read_text() == "x"


def test_a_plugin_cannot_have_the_name_of_a_built_in_and_that_is_told(install: Install) -> None:
    install("acme-sse", {"json": "acme_json:Serializer"}, acme_json=GOOD.format(name="json", codec="json"))
    registry = Registry()
    assert isinstance(registry.get_serializer("json"), JSONSerializer)
    assert isinstance(registry.get_by_codec("json"), JSONSerializer)
    assert infos(registry)["json"] == [
        SerializerInfo("json", None, "acme-sse[json]", "hidden: the name is taken by the built-in one")
    ]
    assert "acme_json" not in sys.modules


def test_a_plugin_is_hidden_by_what_is_registered_also_after_it_was_loaded(install: Install) -> None:
    install(
        "acme-sse", {"acme": "acme_hidden:Serializer"}, acme_hidden=GOOD.format(name="acme", codec="acme")
    )
    registry = Registry()
    registry.get_serializer("acme")
    custom = Custom("acme", "acme")
    registry.register(custom)
    assert registry.get_serializer("acme") is custom
    assert registry.get_by_codec("acme") is custom
    assert infos(registry)["acme"] == [
        SerializerInfo("acme", "acme", "registered"),
        SerializerInfo("acme", None, "acme-sse[acme]", "hidden: the name is taken by the registered one"),
    ]


def test_two_distributions_with_one_name_both_lose_it_and_nothing_else(install: Install) -> None:
    source = GOOD.format(name="acme", codec="acme")
    install("zeta", {"acme": "zeta_module:Serializer"}, zeta_module=source)
    other = GOOD.format(name="other", codec="other")
    install(
        "alpha",
        {"acme": "alpha_module:Serializer", "other": "alpha_other:Serializer"},
        alpha_module=source,
        alpha_other=other,
    )
    registry = Registry()
    for _ in range(2):
        with pytest.raises(SerializerPluginError, match="all of these claim the name 'acme'") as caught:
            registry.get_serializer("acme")
        assert caught.value.plugin == "alpha[acme], zeta[acme]"
    assert {"alpha_module", "zeta_module"}.isdisjoint(sys.modules)
    assert registry.get_serializer("other").name == "other"
    assert [info.source for info in infos(registry)["acme"]] == ["alpha[acme]", "zeta[acme]"]
    assert all("all of these claim" in info.problem for info in infos(registry)["acme"])


def test_registering_settles_a_quarrel_of_plugins(install: Install) -> None:
    source = GOOD.format(name="acme", codec="acme")
    install("zeta", {"acme": "zeta_module:Serializer"}, zeta_module=source)
    install("alpha", {"acme": "alpha_module:Serializer"}, alpha_module=source)
    registry = Registry()
    with pytest.raises(SerializerPluginError):
        registry.get_serializer("acme")
    custom = Custom("acme", "acme")
    registry.register(custom)
    assert registry.get_serializer("acme") is custom


def test_an_entry_point_without_a_distribution_is_blamed_all_the_same() -> None:
    from importlib.metadata import EntryPoint

    registry = Registry(lambda: [EntryPoint("lost", "no_such_module_anywhere:x", module.GROUP)])
    with pytest.raises(SerializerPluginError, match=r"\?\[lost\]"):
        registry.get_serializer("lost")


def test_a_missing_name_lists_what_there_is_and_says_how_to_get_more(install: Install) -> None:
    install("acme-sse", {"acme": "acme_codec:Serializer"}, acme_codec="")
    registry = Registry()
    registry.register(Custom())
    with pytest.raises(SerializerNotFoundError) as caught:
        registry.get_serializer("nobody")
    known = set(caught.value.known)
    assert {"acme", "binary", "custom", "json", "msgpack", "text"} <= known
    assert list(caught.value.known) == sorted(known)
    assert "group tornado_sse.serializers" in str(caught.value)


def test_a_plugin_we_know_of_is_recommended_by_its_distribution() -> None:
    for ask in (Registry(list).get_serializer, Registry(list).get_by_codec):
        with pytest.raises(SerializerNotFoundError, match="`pip install tornado-sse-cbor` adds it"):
            ask("cbor")


def test_a_wrong_codec_of_the_plugin_we_know_of_is_no_reason_to_install_it_again() -> None:
    registry = Registry(list)
    registry.register(Custom("cbor", None))
    with pytest.raises(SerializerNotFoundError) as caught:
        registry.get_by_codec("cbor")
    assert "pip" not in str(caught.value)


def test_data_without_a_codec_is_the_text_itself() -> None:
    assert decode(None, "[1]") == "[1]"


@pytest.mark.parametrize(
    ("name", "payload"),
    [("json", {"a": [1, None]}), ("binary", b"\x00\xff"), ("msgpack", {"a": b"\xff"}), ("text", "é\n")],
)
def test_what_a_write_call_encodes_a_reader_decodes_by_the_codec(name: str, payload: object) -> None:
    serializer = get_serializer(name)
    assert decode(serializer.codec, encode(serializer, payload)) == payload


@pytest.mark.parametrize("codec", ["json", "binary", "msgpack"])
def test_damaged_data_is_a_decode_error(codec: str) -> None:
    for data in ("{", "\ud800", "�"):
        with pytest.raises(DecodeError) as caught:
            decode(codec, data)
        assert caught.value.serializer == codec


def test_whatever_loads_raises_is_a_decode_error_but_for_memory() -> None:
    class Broken(Custom):
        error: BaseException = KeyError("k")

        def loads(self, data: bytes) -> Any:
            raise self.error

    registry = Registry(list)
    broken = Broken()
    registry.register(broken)
    with pytest.raises(
        DecodeError, match="the custom serializer can't read this data: KeyError: 'k'"
    ) as caught:
        registry.decode("custom", "")
    assert caught.value.__cause__ is broken.error
    for error in (DecodeError("custom", "its own words"), MemoryError(), KeyboardInterrupt()):
        broken.error = error
        with pytest.raises(type(error)) as passed:
            registry.decode("custom", "")
        assert passed.value is error


def test_all_that_can_go_wrong_when_decoding_has_one_root() -> None:
    for codec, data in (("nobody", ""), ("json", "{")):
        with pytest.raises(SerializerError):
            decode(codec, data)


def test_the_module_functions_share_one_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = module._registry
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(registry, "_codecs", dict(registry._codecs))
    custom = Custom("custom-of-this-test", "custom-of-this-test")
    register(custom)
    assert get_serializer("custom-of-this-test") is custom
    assert get_by_codec("custom-of-this-test") is custom
    assert "custom-of-this-test" in [info.name for info in list_serializers()]
