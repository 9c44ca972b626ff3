"""`hw.instrument` inside one process: what a pattern reaches, what it leaves alone, and that everything can be put back."""

import asyncio
import functools
import importlib
import inspect
import itertools
import logging
import pickle
import sys
import textwrap
import threading
import types

import pytest
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument import imports, isolate, patching, zero
from headwater.instrument.patterns import Pattern

__all__ = ["no_provider", "recorder"]
NUMBERS = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules of a package of a name of its own; gives the package's name."""
    name = f"hwpkg{next(NUMBERS)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**modules):
        for module, text in modules.items():
            (tmp_path / name / f"{module}.py").write_text(textwrap.dedent(text).replace("PKG", name))
        importlib.invalidate_caches()
        return name

    yield write
    hw.uninstrument()
    isolate.clear_counts()
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def load(name):
    return importlib.import_module(name)


KINDS = """
    import functools

    def plain(x):
        "Doubles."
        return x * 2

    async def later(x):
        return x * 2

    def numbers(n):
        yield from range(n)

    @functools.lru_cache
    def cached(x):
        return x * 2

    class Base:
        def inherited(self, x):
            return x * 2

    class Model(Base):
        rate = 3

        def __init__(self):
            self.seen = []

        def __call__(self, x):
            return x * 2

        def method(self, x):
            self.seen.append(x)
            return x * 2

        @classmethod
        def of_class(cls, x):
            return x * cls.rate

        @staticmethod
        def static(x):
            return x * 2

        partial = functools.partialmethod(method, 4)

        @property
        def size(self):
            return len(self.seen)

        class Inner:
            def deep(self):
                return "deep"
"""


def test_every_kind_of_function_and_method_under_one_wildcard(package, recorder):
    name = package(kinds=KINDS)
    handle = hw.instrument(f"{name}.kinds:*")
    kinds = load(f"{name}.kinds")
    model = kinds.Model()
    assert kinds.plain(2) == 4
    assert asyncio.run(kinds.later(2)) == 4
    assert list(kinds.numbers(2)) == [0, 1]
    assert (kinds.cached(2), kinds.cached(2), kinds.cached.cache_info().hits) == (4, 4, 1)
    assert (model.method(2), model.of_class(2), kinds.Model.of_class(2), model.static(2), model(2), model.inherited(2)) == (4, 6, 6, 4, 4, 4)
    assert model.Inner().deep() == "deep"
    assert recorder.names == [
        *("plain", "later", "numbers", "cached", "cached"),
        *("Model.method", "Model.of_class", "Model.of_class", "Model.static", "Base.inherited", "Model.Inner.deep"),
    ]
    assert recorder.attributes("Model.method")["code.function.name"] == f"{name}.kinds.Model.method"
    assert f"{name}.kinds:Model.Inner.deep" in handle.matched
    assert model.size == 1


def test_kind_name_and_documentation_stay(package):
    name = package(kinds=KINDS)
    hw.instrument(f"{name}.kinds:*")
    kinds = load(f"{name}.kinds")
    assert inspect.iscoroutinefunction(kinds.later)
    assert inspect.isgeneratorfunction(kinds.numbers)
    assert (kinds.plain.__name__, kinds.plain.__doc__) == ("plain", "Doubles.")
    assert isinstance(vars(kinds.Model)["of_class"], classmethod)
    assert isinstance(vars(kinds.Model)["static"], staticmethod)


def test_dunder_names_only_where_written_out(package, recorder):
    name = package(kinds=KINDS)
    hw.instrument([f"{name}.kinds:Model.__call__", f"{name}.kinds:*.method"])
    kinds = load(f"{name}.kinds")
    kinds.Model()(2)
    assert recorder.names == ["Model.__call__"]


def test_a_name_written_out_reaches_inherited_methods_on_that_class_alone(package, recorder):
    name = package(kinds=KINDS)
    hw.instrument(f"{name}.kinds:Model.inherited", stage="inherited")
    kinds = load(f"{name}.kinds")
    assert kinds.Model().inherited(2) == kinds.Base().inherited(2) == 4
    assert recorder.names == ["inherited"]
    hw.uninstrument()
    assert "inherited" not in vars(kinds.Model)


def test_a_descriptor_that_makes_the_method_is_kept(package, recorder):
    name = package(kinds=KINDS)
    hw.instrument(f"{name}.kinds:Model.partial", stage="four")
    kinds = load(f"{name}.kinds")
    model = kinds.Model()
    assert (model.partial(), model.seen) == (8, [4])
    assert recorder.names == ["four"]
    hw.instrument(f"{name}.kinds:Model.partial", stage="again")
    assert kinds.Model.partial(model) == 8
    assert recorder.names == ["four", "four"]
    with pytest.raises(TypeError):
        kinds.Model.partial()
    hw.uninstrument()
    assert isinstance(vars(kinds.Model)["partial"], functools.partialmethod)


def test_a_property_is_refused_with_a_reason_and_left_as_it_is(package, caplog):
    name = package(kinds=KINDS)
    kinds = load(f"{name}.kinds")
    with caplog.at_level(logging.WARNING, "headwater"):
        assert hw.instrument(f"{name}.kinds:Model.size").matched == ()
    assert kinds.Model().size == 0
    assert f"cannot be instrumented: {name}.kinds:Model.size: TypeError: found a property" in caplog.text


def test_classes_of_c_extensions_do_not_let_themselves_be_changed(caplog):
    try:
        with caplog.at_level(logging.WARNING, "headwater"):
            handle = hw.instrument("collections:deque.append")
        assert handle.matched == ()
        assert "cannot be instrumented: collections:deque.append" in caplog.text
    finally:
        hw.uninstrument()


COPIES = {
    "core": """
        def score(x):
            return x * 2

        STEPS = [score]
        BY_NAME = {"score": score, "other": 1}
        PAIR = (score, 1)
    """,
    "early": """
        from PKG.core import score
        import PKG.core as core

        TABLE = {"s": core.score}

        def use(x):
            return score(x)
    """,
}


def test_copies_and_tables_made_before_are_reached(package, recorder):
    name = package(**COPIES)
    core, early = load(f"{name}.core"), load(f"{name}.early")
    original = core.score
    hw.instrument(f"{name}.core:score")
    places = (core.score, early.score, core.STEPS[0], core.BY_NAME["score"], core.PAIR[0], early.TABLE["s"])
    assert {id(place) for place in places} == {id(core.score)}
    assert core.score is not original
    assert [place(1) for place in places] + [early.use(1)] == [2] * 7
    assert recorder.names == ["score"] * 7
    assert pickle.loads(pickle.dumps(core.STEPS[0])) is core.score
    hw.uninstrument()
    places = (core.score, early.score, core.STEPS[0], core.BY_NAME["score"], core.PAIR[0], early.TABLE["s"])
    assert {id(place) for place in places} == {id(original)}


def test_copies_made_in_a_circle_of_imports_are_reached(package, recorder):
    name = package(
        first="""
            def score(x):
                return x * 2

            from PKG import second
        """,
        second="""
            from PKG.first import score  # while first is still running

            def use(x):
                return score(x)
        """,
    )
    hw.instrument(f"{name}.first:score")
    load(f"{name}.first")
    assert load(f"{name}.second").use(1) == 2
    assert recorder.names == ["score"]


def test_a_late_import_and_a_reload_are_patched_and_the_loader_is_put_back(package, recorder):
    name = package(**COPIES)
    hw.instrument(f"{name}.*:score")
    assert f"{name}.core" not in sys.modules
    core = load(f"{name}.core")
    core.score(1)
    importlib.reload(core).score(1)
    assert recorder.names == ["score", "score"]
    assert type(core.__loader__).__name__ == type(core.__spec__.loader).__name__ == "SourceFileLoader"
    assert load(f"{name}.early").score is core.score


def test_twice_is_once_and_a_stage_stays_the_stage_it_is(package, recorder):
    name = package(
        own="""
            import functools
            import headwater as hw

            @hw.stage("mine")
            def mine():
                return 1

            @functools.lru_cache
            @hw.stage("cached")
            def cached():
                return 1

            def bare():
                return 1
        """
    )
    first = hw.instrument(f"{name}.own:*", stage="first")
    again = hw.instrument(f"{name}.own:*", stage="again")
    own = load(f"{name}.own")
    for function in (own.mine, own.cached, own.bare):
        function()
    assert recorder.names == ["mine", "cached", "first"]
    assert len(first.matched) == len(again.matched) == 3


def test_uninstrument_by_pattern_by_handle_and_never_again(package, recorder):
    name = package(**COPIES, other="def f():\n    return 1\n")
    hw.instrument(f"{name}.core:score")
    handle = hw.instrument(f"{name}.other:f")
    hw.uninstrument(f"{name}.core:score")
    assert load(f"{name}.core").score(1) == 2
    other = load(f"{name}.other")
    other.f()
    handle.uninstrument()
    handle.uninstrument()
    other.f()
    assert recorder.names == ["f"]
    assert zero.rules() == ()
    assert not any(isinstance(finder, imports._Finder) for finder in sys.meta_path)


def test_what_somebody_else_patched_since_is_not_undone(package):
    name = package(**COPIES)
    core = load(f"{name}.core")
    hw.instrument(f"{name}.core:score")
    core.score = theirs = lambda x: x
    hw.uninstrument()
    assert core.score is theirs


def test_a_re_export_is_followed_where_the_name_is_written_out(package, recorder):
    name = package(**COPIES, public="from PKG.core import score\n")
    hw.instrument(f"{name}.public:score", stage="public")
    hw.instrument(f"{name}.public:s*", stage="wild")
    load(f"{name}.early").use(1)
    assert recorder.names == []
    load(f"{name}.public")
    load(f"{name}.early").use(1)
    assert recorder.names == ["public"]


def test_a_method_of_an_object_in_a_module(package, recorder):
    name = package(kinds=KINDS, serve="from PKG.kinds import Model\n\nmodel = Model()\nother = Model()\n")
    hw.instrument(f"{name}.serve:model.method", stage="serve")
    serve = load(f"{name}.serve")
    assert (serve.model.method(1), serve.other.method(1)) == (2, 2)
    assert recorder.names == ["serve"]
    hw.uninstrument()
    assert "method" not in vars(serve.model)


def test_a_name_that_is_not_there_is_said_and_nothing_else_happens(package, caplog):
    name = package(**COPIES)
    load(f"{name}.core")
    with caplog.at_level(logging.WARNING, "headwater"):
        assert hw.instrument(f"{name}.core:scoer").matched == ()
    assert f"pattern matched nothing: {name}.core:scoer: module {name}.core has no scoer" in caplog.text


@pytest.mark.parametrize("match", ["no_colon", "a:b:c", "", ":f", "m:", "m: f", 3, [], [3]])
def test_what_is_no_pattern_is_refused_at_once(match):
    with pytest.raises(ValueError, match="allowed"):
        hw.instrument(match)
    assert zero.rules() == ()


def test_wrong_keywords_are_refused_at_once_not_at_an_import():
    with pytest.raises(TypeError, match="unknown keyword 'confidense'"):
        hw.instrument("m:f", confidense="conf")
    with pytest.raises(ValueError, match="stage type 'modle' is unknown"):
        hw.instrument("m:f", type="modle")
    assert zero.rules() == ()


def test_a_module_that_fails_to_import_fails_as_it_would_and_can_be_tried_again(package, recorder):
    name = package(broken="def f():\n    return 1\n\nraise RuntimeError('theirs')\n")
    hw.instrument(f"{name}.broken:f")
    with pytest.raises(RuntimeError, match="theirs"):
        load(f"{name}.broken")
    package(broken="def f():\n    return 11\n")
    assert load(f"{name}.broken").f() == 11
    assert recorder.names == ["f"]


def test_other_finders_that_ask_all_finders_do_not_run_in_circles(package, recorder):
    import wrapt

    name = package(**COPIES)
    seen = []
    hw.instrument(f"{name}.core:score")
    wrapt.register_post_import_hook(lambda module: seen.append(module.score(1)), f"{name}.core")
    load(f"{name}.core")
    assert seen == [2]
    assert recorder.names == ["score"]


def test_a_lazy_module_is_not_woken(package, monkeypatch):
    name = package(**COPIES)
    core = load(f"{name}.core")

    class Sleeping(types.ModuleType):
        def __getattribute__(self, attribute):
            raise AssertionError(f"woken by {attribute}")

    monkeypatch.setitem(sys.modules, "sleeping_module", Sleeping("sleeping_module"))
    hw.instrument(f"{name}.core:score")
    assert patching.is_traced(core.score)


def test_the_name_of_the_package_still_leads_to_its_modules():
    import headwater.instrument.isolate as by_path

    assert by_path is isolate
    assert hw.instrument.isolate is isolate
    with pytest.raises(AttributeError):
        _ = hw.instrument.nothing_of_that_name


@pytest.mark.parametrize(
    ("text", "module", "wanted"),
    [
        ("pkg.mod*:Class.fn*", "pkg.mod2", True),
        ("pkg.mod*:Class.fn*", "pkg.mod2.sub", True),
        ("pkg.mod:f", "pkg.mod2", False),
        ("pkg.mod:f", "my.pkg.mod", False),
        ("pkg.?:f", "pkg.a", True),
        ("PKG.a:f", "pkg.a", False),
        ("*:f", "headwater.instrument.record", False),
        ("*:f", "opentelemetry.sdk.trace", False),
        ("*:f", "headwaters.a", True),
    ],
)
def test_modules_a_pattern_wants(text, module, wanted):
    assert Pattern(text).wants(module) is wanted


def test_threads_that_import_lazily_while_others_instrument_do_not_wait_for_each_other(package, recorder):
    name = package(
        lazy="""
            def __getattr__(attribute):
                import importlib, time
                time.sleep(0.05)
                return getattr(importlib.import_module("PKG.slow"), attribute)
        """,
        slow="""
            import time
            time.sleep(0.1)

            def f():
                return 1
        """,
    )
    load(f"{name}.lazy")
    hw.instrument(f"{name}.slow:f", stage="slow")
    threads = [
        threading.Thread(target=load, args=(f"{name}.slow",), daemon=True),
        threading.Thread(target=hw.instrument, args=(f"{name}.lazy:f",), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert load(f"{name}.slow").f() == 1
    assert recorder.names == ["slow"]


def test_two_threads_that_import_the_same_module_make_one_stage(package, recorder):
    name = package(**COPIES)
    hw.instrument([f"{name}.core:score", f"{name}.c*:s*"])
    threads = [threading.Thread(target=load, args=(f"{name}.{module}",)) for module in ("core", "early") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load(f"{name}.early").use(1)
    assert recorder.names == ["score"]


def test_a_module_that_puts_an_object_in_its_place(package, recorder):
    name = package(
        swap="""
            import sys, types

            class Module(types.ModuleType):
                def f(self):
                    return 1

            sys.modules[__name__] = Module(__name__)
        """
    )
    hw.instrument(f"{name}.swap:f")
    assert load(f"{name}.swap").f() == 1
    assert recorder.names == ["f"]
