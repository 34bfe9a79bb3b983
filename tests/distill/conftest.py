from tests.teachers.conftest import options

__all__ = ["options"]
