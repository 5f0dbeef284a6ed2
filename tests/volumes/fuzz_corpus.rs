//! Reads the corpora of the readers of volumes. No input may cause a panic.

use crate::support::corpora::corpus;

#[path = "../../fuzz/readers/volume.rs"]
mod read_volume;

#[test]
fn headers_of_every_format() {
    for (target, name) in
        [("tiff", "a.tif"), ("nrrd", "a.nrrd"), ("nifti", "a.nii"), ("metaimage", "a.mha")]
    {
        corpus(target, 10).iter().for_each(|input| read_volume::read(name, input));
    }
    corpus("zarr", 10).iter().for_each(|input| read_volume::read_store(input));
}
