"""A quick start: `torch._dynamo` is loaded when something is compiled, not before.

It is torch's compiler, and takes longer to import than all the rest of torch (it brings sympy and triton along). A run that
compiles nothing has no use for it, yet every optimiser imports it, for two functions that do nothing then, and lightning-fabric
for a class. So it begins as a module of stand-ins for these three, and becomes itself, the same object, when anything else of it
is asked for: another attribute, or a module inside it. A version of torch that asks for more gets it, as late as that.
"""

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


def postpone_dynamo() -> None:
    """From now on `import torch._dynamo` loads nothing yet. Without effect once it has been imported."""
    if NAME not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Postponed(ModuleType):
    """`torch._dynamo` before it is loaded; afterwards the same object is an ordinary module."""

    def __init__(self, spec: ModuleSpec, loader: Loader) -> None:
        super().__init__(NAME)
        # What importlib would set; it leaves what is there, save __spec__.
        self.__spec__, self.__loader__, self.__package__ = spec, loader, NAME
        self.__file__, self.__cached__, self.__path__ = spec.origin, spec.cached, spec.submodule_search_locations or []
        self._lock = threading.RLock()
        self._loading = False
        self.graph_break = lambda msg="": None  # no graph is being compiled
        self.disable = functools.partial(_disable, self)
        self.OptimizedModule = _Kind("OptimizedModule", (), {"module": self})

    def __getattr__(self, name: str) -> Any:
        # importlib itself looks for names like __path__.
        if (name == "__all__" or not name.startswith("__")) and load(self):
            return getattr(self, name)
        raise AttributeError(f"module {NAME!r} has no attribute {name!r}")


def load(module: ModuleType) -> bool:
    """Make a postponed module itself. False while this very thread is at it: what is missing then is missing."""
    if not isinstance(module, _Postponed):
        return True
    with module._lock:
        if not isinstance(module, _Postponed):  # by another thread, meanwhile
            return True
        if module._loading:
            return False
        module._loading = True
        try:
            module.__loader__.exec_module(module)
        finally:
            module._loading = False
        module.__class__ = ModuleType
    return True


def _disable(module: ModuleType, fn: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Any:
    """In place of `torch._dynamo.disable`: the function as it is, until there is a compiler to keep away from it."""
    if fn is None:
        load(module)
        return module.disable(fn, *args, **kwargs)
    away: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def call(*inputs: Any, **named: Any) -> Any:
        if not away and not isinstance(module, _Postponed):
            away.append(module.disable(fn, *args, **kwargs))
        return (away[0] if away else fn)(*inputs, **named)

    return call


class _Kind(type):
    """Of a class whose instances are those of the module's own `OptimizedModule`: none while there is no compiler."""

    module: ModuleType

    def __instancecheck__(cls, instance: object) -> bool:
        return not isinstance(cls.module, _Postponed) and isinstance(instance, cls.module.OptimizedModule)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return not isinstance(cls.module, _Postponed) and issubclass(subclass, cls.module.OptimizedModule)


class _Finder(MetaPathFinder):
    """Finds `torch._dynamo` postponed, and loads it before anything inside it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As importlib calls it; None leaves a module to the other finders."""
        if name == NAME:
            spec = PathFinder.find_spec(name, path)
            if spec is None or spec.loader is None:
                return None
            return spec_from_loader(name, _Ready(_Postponed(spec, spec.loader)), is_package=True)
        inside = name.startswith(f"{NAME}.") and isinstance(sys.modules.get(NAME), _Postponed)
        # Loading the package imports most of what is inside; importlib, on its way already, would do that again.
        if inside and load(sys.modules[NAME]) and name in sys.modules:
            return spec_from_loader(name, _Ready(sys.modules[name]))
        return None


class _Ready(Loader):
    """Hands out a module that is there already, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run; importlib has replaced the module's own __spec__."""
        module.__spec__ = self.spec
