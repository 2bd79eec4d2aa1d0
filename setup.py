"""Which packages the wheel holds; everything else about the distribution stands in pyproject.toml.

`workers/` and `launch/` are top-level folders of the repository and `dptrain.workers` and `dptrain.launch` when
installed. A pyproject.toml can either search for packages or map folders; doing both takes these two lines.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["dptrain", "dptrain.*"]), "dptrain.workers", "dptrain.launch"],
    package_dir={"dptrain": "dptrain", "dptrain.workers": "workers", "dptrain.launch": "launch"},
)
