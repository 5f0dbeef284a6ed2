"""Puts the small files of tests/fixtures/formats into fuzz/corpus as the first inputs of the
targets that read volumes.

    python3 fuzz/seed_corpus.py
"""

import shutil
from pathlib import Path

HERE = Path(__file__).parent
FORMATS = HERE.parent / "tests/fixtures/formats"
EXTENSIONS = {"tiff": ["tif"], "nrrd": ["nrrd", "nhdr"], "nifti": ["nii", "nii.gz"], "metaimage": ["mha", "mhd"]}
PARTS = ["zarr.json", ".zarray", ".zattrs", "{level}/zarr.json", "{level}/.zarray"]
LARGEST = 16_384


def main():
    for target, extensions in EXTENSIONS.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for extension in extensions:
            for file in FORMATS.rglob(f"*.{extension}"):
                if file.stat().st_size <= LARGEST:
                    shutil.copy(file, folder / "_".join(file.relative_to(FORMATS).parts))
    folder = HERE / "corpus" / "zarr"
    folder.mkdir(parents=True, exist_ok=True)
    for store in FORMATS.rglob("*.zarr"):
        # The level of an image, or an array of a group, takes the place of `0`.
        level = next((name for name in ("s0", "raw") if (store / name).is_dir()), "0")
        files = [store / part.format(level=level) for part in PARTS]
        texts = [file.read_text().replace(f'"{level}"', '"0"') if file.is_file() else "" for file in files]
        (folder / store.name).write_text("\n----\n".join(texts))


if __name__ == "__main__":
    main()
