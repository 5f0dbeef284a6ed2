"""Adds to pyproject.toml what it cannot say: the version, which Cargo.toml holds, and the
tag of a wheel that has a program in it but no extension module."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.dist import Distribution

cargo = Path(__file__).parent / "Cargo.toml"


class PlatformWheel(bdist_wheel):
    """A wheel of one platform for every version of Python."""

    def get_tag(self):
        return "py3", "none", self.plat_name.replace("-", "_").replace(".", "_")


class WithProgram(Distribution):
    """Not pure Python: it is installed among the files of its platform."""

    def has_ext_modules(self):
        return True


setup(
    version=re.search(r'^version = "(.+)"$', cargo.read_text(), re.MULTILINE).group(1),
    distclass=WithProgram,
    cmdclass={"bdist_wheel": PlatformWheel},
)
