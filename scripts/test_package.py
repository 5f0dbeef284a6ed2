"""Runs bioimageio.core's own test on model packages, and prints what it says.

    python scripts/test_package.py PACKAGE.zip ...

Needs bioimageio.core 0.11, pydantic 2.11, torch, and pytorch3dunet 1.9.6 for packages of its
networks. The last result is in docs/bioimage-zoo.md.
"""

import sys

from bioimageio.core import test_model

failed = 0
for package in sys.argv[1:]:
    summary = test_model(package, weight_format="pytorch_state_dict")
    print(f"{package}: {summary.status}")
    if summary.status not in ("passed", "valid-format"):
        failed += 1
        print(summary.format())
sys.exit(failed)
