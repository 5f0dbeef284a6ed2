"""Makes images of fluorescent nuclei in 3D, as a light-sheet microscope sees them, with
their truth.

    python scripts/make_nuclei.py OUT [--images 1] [--shape 48 160 160] [--seed 0]

writes OUT/images/<i>.ome.tif, (D, H, W) uint16, and OUT/masks/<i>.ome.tif, the number of
the nucleus at each voxel, 0 outside. Voxels are 1 x 0.4 x 0.4 um (z, y, x).

How an image comes about:

1. Nuclei are ellipsoids of 5 to 8 um with uneven surfaces. They crowd in a tissue that
   fills a part of the volume and are pushed apart until they hardly overlap: many touch.
   Where two overlap, they meet in a face.
2. Each has a brightness of its own (log-normal), chromatin of uneven density, and dark
   nucleoli. Between the nuclei of the tissue lies a faint haze.
3. The sheet and the emitted light lose strength with depth (Beer-Lambert).
4. The point spread function is that of a detection objective (NA 0.5, water, 530 nm) by
   scalar diffraction: |Fourier transform of the pupil with the phase of defocus|^2, times
   a Gaussian light sheet of 4 um (full width at half maximum).
5. The camera counts photons (Poisson), adds read noise (Gaussian) and an offset, and
   writes integers.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile

VOXEL = np.array([1.0, 0.4, 0.4])  # um, (z, y, x)
WAVELENGTH, APERTURE, REFRACTION = 0.53, 0.5, 1.33
SHEET = 4.0  # full width at half maximum, um
PHOTONS = 45.0  # of a nucleus of mean brightness at the surface, per voxel
HAZE, BACKGROUND = 0.10, 2.5  # of a nucleus' brightness; photons everywhere
READ_NOISE, GAIN, OFFSET = 2.0, 2.2, 100.0
MEAN_FREE_PATH = 70.0  # um


def blur(volume, length):
    """The volume through a Gaussian of standard deviation `length` in um; it goes on
    periodically beyond its faces."""
    spectrum = np.fft.rfftn(volume)
    for axis, (size, voxel) in enumerate(zip(volume.shape, VOXEL)):
        frequency = (np.fft.rfftfreq if axis == 2 else np.fft.fftfreq)(size, voxel)
        form = [1, 1, 1]
        form[axis] = -1
        spectrum *= np.exp(-2 * (np.pi * length * frequency) ** 2).reshape(form)
    return np.fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2))


def smooth_noise(rng, shape, length):
    """Gaussian noise of mean 0 and standard deviation 1 whose values are alike within
    about `length` um."""
    noise = blur(rng.normal(size=shape), length)
    return (noise - noise.mean()) / noise.std()


def place(rng, shape):
    """Returns centres (n, 3) and semi-axes (n, 3) of nuclei, both in um."""
    size = np.array(shape) * VOXEL
    # Tissue: about two thirds of the volume, in one or two pieces.
    tissue = smooth_noise(rng, shape, 14) > -0.35
    wanted = int(tissue.mean() * np.prod(size) * 0.42 / (4 / 3 * np.pi * 3.2**3))
    places = np.argwhere(tissue)
    centres = (places[rng.integers(len(places), size=wanted)] + rng.uniform(size=(wanted, 3))) * VOXEL
    axes = rng.uniform(2.5, 4.0, (wanted, 1)) * rng.uniform(0.85, 1.15, (wanted, 3))
    radius = axes.mean(axis=1)
    reach = radius[:, None] + radius[None, :]
    np.fill_diagonal(reach, 0)
    for _ in range(60):
        apart = centres[:, None] - centres[None, :]
        distance = np.linalg.norm(apart, axis=2) + 1e-9
        overlap = np.maximum(0.97 * reach - distance, 0)
        centres += 0.25 * (apart / distance[..., None] * overlap[..., None]).sum(axis=1)
        centres = np.clip(centres, 0.3 * radius[:, None], size - 0.3 * radius[:, None])
    return centres, axes


def rotation(rng):
    """A random rotation matrix, (3, 3)."""
    matrix, triangle = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix * np.sign(np.diag(triangle))


def nuclei(rng, shape):
    """Returns the mask, (D, H, W), and the density of the dye, of the same shape."""
    centres, axes = place(rng, shape)
    nearest = np.full(shape, np.inf)
    mask = np.zeros(shape, np.uint16)
    dye = np.zeros(shape)
    uneven = 0.10 * smooth_noise(rng, shape, 1.5)
    chromatin = np.exp(0.30 * smooth_noise(rng, shape, 0.6))
    for number, (centre, semi) in enumerate(zip(centres, axes), start=1):
        turned = rotation(rng) / semi
        low = np.maximum(((centre - 1.4 * semi.max()) / VOXEL).astype(int), 0)
        high = np.minimum(((centre + 1.4 * semi.max()) / VOXEL).astype(int) + 1, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high)), indexing="ij"), -1)
        offset = (grid + 0.5) * VOXEL - centre
        # 1 on the surface of the ellipsoid.
        reach = np.linalg.norm(offset @ turned.T, axis=-1) + uneven[box]
        mine = (reach < 1) & (reach < nearest[box])
        density = rng.lognormal(-0.06, 0.35) * chromatin[box]
        for _ in range(rng.integers(1, 4)):
            nucleolus = centre + rng.normal(size=3) * semi * 0.35
            near = np.linalg.norm((grid + 0.5) * VOXEL - nucleolus, axis=-1) < rng.uniform(0.7, 1.2)
            density = np.where(near, 0.35 * density, density)
        mask[box][mine] = number
        nearest[box][mine] = reach[mine]
        dye[box][mine] = density[mine]
    return tidy(mask), dye


def tidy(mask):
    """Numbers the nuclei from 1 without gaps; slivers of less than 20 voxels, of nuclei that
    others cover or the volume cuts off, are given up."""
    counts = np.bincount(mask.ravel())
    kept = np.flatnonzero(counts >= 20)
    kept = kept[kept > 0]
    numbers = np.zeros(len(counts), np.uint16)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[mask]


def point_spread(depth, width):
    """The point spread function on a grid of voxels, (depth, width, width), of sum 1, with
    its centre at index 0 of each axis."""
    frequency = np.fft.fftfreq(width, VOXEL[1])
    square = frequency[:, None] ** 2 + frequency[None, :] ** 2
    pupil = square <= (APERTURE / WAVELENGTH) ** 2
    axial = np.sqrt(np.maximum((REFRACTION / WAVELENGTH) ** 2 - square, 0))
    z = np.fft.fftfreq(depth) * depth * VOXEL[0]
    field = np.fft.ifft2(pupil * np.exp(2j * np.pi * z[:, None, None] * axial))
    sheet = np.exp(-4 * np.log(2) * (z / SHEET) ** 2)
    psf = np.abs(field) ** 2 * sheet[:, None, None]
    return psf / psf.sum()


def convolve(volume, margin=12):
    """The volume seen through the point spread function; what lies outside mirrors it."""
    padded = np.pad(volume, margin, mode="reflect")
    depth, height, width = padded.shape
    side = max(height, width)
    padded = np.pad(padded, ((0, 0), (0, side - height), (0, side - width)), mode="edge")
    spectrum = np.fft.rfftn(padded) * np.fft.rfftn(point_spread(depth, side))
    seen = np.fft.irfftn(spectrum, padded.shape, axes=(0, 1, 2))
    return seen[tuple(slice(margin, margin + size) for size in volume.shape)]


def image(rng, shape):
    """Returns (raw, mask), both (D, H, W) uint16."""
    mask, dye = nuclei(rng, shape)
    # The haze of the cells' bodies lies around the nuclei.
    near = convolve((mask > 0).astype(float))
    haze = HAZE * np.clip(4 * near, 0, 1) * np.exp(0.25 * smooth_noise(rng, shape, 3))
    depth = (np.arange(shape[0]) + 0.5) * VOXEL[0]
    strength = np.exp(-depth / MEAN_FREE_PATH)[:, None, None]
    light = convolve((dye + haze * (mask == 0)) * strength)
    photons = rng.poisson(np.maximum(PHOTONS * light, 0) + BACKGROUND)
    counts = GAIN * (photons + rng.normal(0, READ_NOISE, shape)) + OFFSET
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16), mask


def write(path, volume):
    """Writes (D, H, W) as OME-TIFF with the size of its voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    z, y, x = VOXEL
    metadata = {"axes": "ZYX", "PhysicalSizeZ": z, "PhysicalSizeY": y, "PhysicalSizeX": x}
    metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"}
    tifffile.imwrite(path, volume, ome=True, metadata=metadata, compression="zlib")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--shape", type=int, nargs=3, default=(48, 160, 160), metavar=("D", "H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for number in range(arguments.images):
        rng = np.random.default_rng((arguments.seed, number))
        raw, mask = image(rng, tuple(arguments.shape))
        write(arguments.out / "images" / f"{number}.ome.tif", raw)
        write(arguments.out / "masks" / f"{number}.ome.tif", mask)
        print(f"{arguments.out}: image {number}, {mask.max()} nuclei")


if __name__ == "__main__":
    main()
