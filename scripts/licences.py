#!/usr/bin/env python3
"""licences.py: prints the licences of everything that is compiled into the program, as
Markdown: name, version and licence of each crate, then the texts that the crates carry,
each once. libtorch and the CUDA libraries are not part of the program; their wheels carry
licences of their own."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"


def main() -> None:
    command = ["cargo", "metadata", "--format-version=1", f"--filter-platform={TARGET}", "--locked"]
    data = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}

    # What is linked: dependencies of the program that are not for building or testing alone.
    root = data["resolve"]["root"]
    linked, waiting = set(), [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in linked:
                linked.add(dependency["pkg"])
                waiting.append(dependency["pkg"])

    crates = sorted((packages[name] for name in linked), key=lambda p: (p["name"], p["version"]))
    without = [crate["name"] for crate in crates if not crate["license"] and not crate["license_file"]]
    if without:
        sys.exit(f"no licence is named by {', '.join(without)}")
    print("# Licences\n\nunet3d is free software under the MIT licence. It contains these libraries:\n")
    print("| crate | version | licence |\n| --- | --- | --- |")
    texts: dict[str, tuple[list[str], str]] = {}
    for crate in crates:
        print(f"| {crate['name']} | {crate['version']} | {crate['license'] or 'see below'} |")
        folder = Path(crate["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            stem = file.name.upper()
            if file.is_file() and stem.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                key = hashlib.sha256("".join(text.split()).encode()).hexdigest()
                texts.setdefault(key, ([], text))[0].append(crate["name"])
    # HDF5 itself comes inside hdf5-metno-src, in a folder of its own.
    for crate in crates:
        for file in sorted(Path(crate["manifest_path"]).parent.glob("ext/*/COPYING*")) + sorted(
            Path(crate["manifest_path"]).parent.glob("ext/*/LICENSE*")
        ):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            key = hashlib.sha256("".join(text.split()).encode()).hexdigest()
            texts.setdefault(key, ([], text))[0].append(f"{crate['name']} ({file.parent.name})")
    for names, text in sorted(texts.values(), key=lambda entry: entry[0]):
        fence = "````"
        print(f"\n## {', '.join(sorted(set(names)))}\n\n{fence}\n{text}\n{fence}")


main()
