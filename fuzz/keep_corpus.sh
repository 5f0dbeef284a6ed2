#!/usr/bin/env bash
# Packs what the fuzzers found, cut down to the inputs that matter, into
# tests/fixtures/fuzz/corpora.zip, where tests/checkpoint/fuzz_corpus.rs reads it.
#
#   cargo +nightly fuzz run checkpoint -- -runs=3000000    and so on, then
#   fuzz/keep_corpus.sh
set -euo pipefail
cd "$(dirname "$0")"
small=$(mktemp -d)
trap 'rm -rf "$small"' EXIT
for target in checkpoint pickle config; do
    mkdir "$small/$target"
    cargo +nightly fuzz run "$target" "$small/$target" "corpus/$target" -- -merge=1 -max_len=2048
done
mkdir -p ../tests/fixtures/fuzz
python3 - "$small" ../tests/fixtures/fuzz/corpora.zip <<'PYTHON'
import pathlib
import struct
import sys
import zipfile

folder, out = sys.argv[1:]
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for target in sorted(pathlib.Path(folder).iterdir()):
        inputs = sorted((p.read_bytes() for p in target.iterdir()), key=lambda b: (len(b), b))
        packed = b"".join(struct.pack("<I", len(b)) + b for b in inputs)
        entry = zipfile.ZipInfo(target.name)  # without the time of today
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, packed)
        print(target.name, len(inputs), "inputs")
PYTHON
