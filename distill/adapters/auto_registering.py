"""Make student folders known to transformers without importing it: when it is imported, they are registered.

After `import distill`, `AutoModel.from_pretrained(FOLDER)` needs no `trust_remote_code`: the code is this package's.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import MappingProxyType, ModuleType


def _configuration(auto: ModuleType) -> None:
    from distill.adapters.auto_config import StudentConfig

    auto.AutoConfig.register(StudentConfig.model_type, StudentConfig, exist_ok=True)


def _model(auto: ModuleType) -> None:
    from distill.adapters.auto_config import StudentConfig
    from distill.adapters.auto_model import StudentModel

    auto.AutoModel.register(StudentConfig, StudentModel, exist_ok=True)


def _extractor(auto: ModuleType) -> None:
    from distill.adapters.auto_config import StudentConfig
    from distill.adapters.auto_extractor import StudentFeatureExtractor

    auto.AutoFeatureExtractor.register(StudentConfig, StudentFeatureExtractor, exist_ok=True)


_REGISTER: Mapping[str, Callable[[ModuleType], None]] = MappingProxyType(
    {
        "transformers.models.auto.configuration_auto": _configuration,
        "transformers.models.auto.modeling_auto": _model,
        "transformers.models.auto.feature_extraction_auto": _extractor,
    }
)


def register_with_transformers() -> None:
    """Register students in the modules of transformers that are imported, and in the others when they are."""
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
    for name in _REGISTER:
        if name in sys.modules:
            _register(sys.modules[name])


def _register(auto: ModuleType) -> None:
    """Register what belongs to a module. An error is a warning, since it must not stop an import of transformers."""
    try:
        _REGISTER[auto.__name__](auto)
    except Exception as error:  # another version of transformers can raise anything
        warnings.warn(f"students are not registered in {auto.__name__} ({error})", stacklevel=2)


class _AfterImport(MetaPathFinder):
    """Finds the modules as Python does, and adds a step after their import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual spec of a module with the added step; None for other modules."""
        spec = PathFinder.find_spec(fullname, path) if fullname in _REGISTER else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
