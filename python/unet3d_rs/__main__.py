"""`python -m unet3d_rs` is the command `unet3d`."""

from ._program import main

main()
