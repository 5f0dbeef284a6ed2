#!/usr/bin/env bash
# Packs what the fuzzers found, cut down to the inputs that matter, into
# tests/fixtures/fuzz/corpora.zip, which tests read. Without names, of all targets; those
# that are not named stay as they are.
#
#   cargo +nightly fuzz run checkpoint -- -runs=3000000    and so on, then
#   fuzz/keep_corpus.sh checkpoint
set -euo pipefail
cd "$(dirname "$0")"
small=$(mktemp -d)
trap 'rm -rf "$small"' EXIT
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    targets=(checkpoint pickle config tiff nrrd nifti metaimage zarr)
fi
for target in "${targets[@]}"; do
    mkdir "$small/$target"
    if [ -n "${FUZZERS:-}" ]; then
        # Built without cargo-fuzz: FUZZERS is the folder of the programs.
        "$FUZZERS/$target" -merge=1 -max_len=2048 "$small/$target" "corpus/$target"
    else
        cargo +nightly fuzz run "$target" "$small/$target" "corpus/$target" -- -merge=1 -max_len=2048
    fi
done
mkdir -p ../tests/fixtures/fuzz
python3 - "$small" ../tests/fixtures/fuzz/corpora.zip <<'PYTHON'
import pathlib
import struct
import sys
import zipfile

folder, out = sys.argv[1:]
entries = {}
if pathlib.Path(out).exists():
    with zipfile.ZipFile(out) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
for target in sorted(pathlib.Path(folder).iterdir()):
    inputs = sorted((p.read_bytes() for p in target.iterdir()), key=lambda b: (len(b), b))
    entries[target.name] = b"".join(struct.pack("<I", len(b)) + b for b in inputs)
    print(target.name, len(inputs), "inputs")
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for name in sorted(entries):
        entry = zipfile.ZipInfo(name)  # without the time of today
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, entries[name])
PYTHON
