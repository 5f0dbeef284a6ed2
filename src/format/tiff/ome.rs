//! The metadata of OME-TIFF, <https://docs.openmicroscopy.org/ome-model/>.

use anyhow::{Context, Result, bail, ensure};
use roxmltree::{Document, Node};

use super::stack::{Stack, ensure_pages};
use crate::volume::{Calibration, LengthUnit};

/// Reads the OME-XML of a file with that many pages. Of several images it is the first.
///
/// # Errors
/// XML that cannot be read, and images whose pages are in other files.
pub(super) fn stack(xml: &str, pages: usize) -> Result<Stack> {
    let document = Document::parse(xml).context("its OME-XML cannot be read")?;
    let root = document.root_element();
    ensure!(
        child(root, "BinaryOnly").is_none(),
        "its OME-XML is in another file: open the first file of the data set, or save it as one"
    );
    let images = root.children().filter(|node| node.has_tag_name_without_space("Image"));
    let image = images.clone().next().context("its OME-XML has no image")?;
    if images.count() > 1 {
        log::warn!("an OME-TIFF file holds several images: the first one is read");
    }
    let pixels = child(image, "Pixels").context("its OME-XML has no pixels")?;
    let size = |name: &str| -> Result<usize> {
        let text = pixels.attribute(name).with_context(|| format!("its OME-XML has no {name}"))?;
        let size = text.parse().ok().filter(|size| *size > 0);
        size.with_context(|| format!("its OME-XML says {name}=\"{text}\""))
    };
    // The fastest axis first.
    let order = pixels.attribute("DimensionOrder").unwrap_or("XYZCT");
    let order: Vec<char> = order.strip_prefix("XY").unwrap_or_default().chars().collect();
    ensure!(
        order.len() == 3 && order.iter().all(|axis| "ZCT".contains(*axis)),
        "its OME-XML has the order {order:?} of pages"
    );
    let (z, c, t) = (size("SizeZ")?, size("SizeC")?, size("SizeT")?);
    let length = |axis: char| match axis {
        'Z' => z,
        'C' => c,
        _ => t,
    };
    let dims: Vec<usize> = order.iter().rev().map(|axis| length(*axis)).collect();
    let all = dims.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    let all = all.context("its OME-XML names more pages than any file has")?;
    ensure_pages(all, pages)?;
    let axes: String = order.iter().rev().map(char::to_ascii_lowercase).collect();
    Ok(Stack {
        pages: page_numbers(pixels, &order, &dims, pages)?,
        axes,
        dims,
        one_directory: false,
        calibration: calibration(pixels),
    })
}

/// The page of each place, if they do not follow each other.
fn page_numbers(
    pixels: Node<'_, '_>,
    order: &[char],
    dims: &[usize],
    pages: usize,
) -> Result<Option<Vec<usize>>> {
    let all: usize = dims.iter().product();
    let mut numbers: Vec<Option<usize>> = vec![None; all];
    let own = pixels.document().root_element().attribute("UUID");
    let mut next = 0;
    for data in pixels.children().filter(|node| node.has_tag_name_without_space("TiffData")) {
        if let Some(uuid) = child(data, "UUID")
            && own.is_some_and(|own| uuid.text().map(str::trim) != Some(own))
        {
            let name = uuid.attribute("FileName").unwrap_or("another file");
            bail!("some of its pages are in {name}: save the data set as one file");
        }
        let number = |name: &str| -> Result<Option<usize>> {
            let Some(text) = data.attribute(name) else { return Ok(None) };
            text.parse().map(Some).with_context(|| format!("its OME-XML says {name}=\"{text}\""))
        };
        // Along the axes, the fastest first.
        let mut place = 0;
        let mut step = 1;
        for (axis, length) in order.iter().zip(dims.iter().rev()) {
            let first = number(&format!("First{axis}"))?.unwrap_or(0);
            ensure!(first < *length, "its OME-XML says First{axis}=\"{first}\"");
            place += first * step;
            step *= length;
        }
        let ifd = number("IFD")?;
        let from = ifd.unwrap_or(0);
        // Without numbers it stands for all pages.
        let planes = number("PlaneCount")?.unwrap_or(match ifd {
            Some(_) => 1,
            None => pages - from.min(pages),
        });
        for (i, slot) in numbers.iter_mut().skip(place).take(planes).enumerate() {
            *slot = Some(from + i);
            next = next.max(from + i + 1);
        }
    }
    if next == 0 {
        // No `TiffData` at all: pages follow each other.
        return Ok(None);
    }
    ensure_pages(next, pages)?;
    let missing = numbers.iter().filter(|number| number.is_none()).count();
    ensure!(missing == 0, "{missing} of its {all} planes have no page in the file");
    let numbers: Vec<usize> = numbers.into_iter().flatten().collect();
    Ok(numbers.iter().enumerate().any(|(i, number)| i != *number).then_some(numbers))
}

fn calibration(pixels: Node<'_, '_>) -> Calibration {
    // A unit of space that is not known, as `pixel`, is none.
    let length = |axis: char| -> Option<(f64, Option<LengthUnit>)> {
        let size = pixels.attribute(format!("PhysicalSize{axis}").as_str())?.parse().ok()?;
        let unit = pixels.attribute(format!("PhysicalSize{axis}Unit").as_str());
        // Micrometres unless it says otherwise.
        Some((size, unit.map_or(Some(LengthUnit::Micrometre), LengthUnit::parse)))
    };
    let mut found = Calibration::default();
    if let (Some((y, y_unit)), Some((x, x_unit))) = (length('Y'), length('X')) {
        // A single plane has no distance along z.
        let (z, z_unit) = length('Z').unwrap_or(if y > x { (y, y_unit) } else { (x, x_unit) });
        let same = y_unit == x_unit && z_unit == x_unit;
        let convert = |length: f64, own: Option<LengthUnit>| match own {
            Some(own) if !same => length * own.micrometres(),
            _ => length,
        };
        found.spacing = Some([convert(z, z_unit), convert(y, y_unit), convert(x, x_unit)]);
        found.unit = if same { x_unit } else { Some(LengthUnit::Micrometre) };
    }
    if let Some(origin) = origin(pixels) {
        let unit = *found.unit.get_or_insert(LengthUnit::Micrometre);
        found.origin = Some(origin.map(|length| length / unit.micrometres()));
    }
    let channels = pixels.children().filter(|node| node.has_tag_name_without_space("Channel"));
    let names: Option<Vec<_>> =
        channels.map(|channel| channel.attribute("Name").map(str::to_owned)).collect();
    found.channels = names.unwrap_or_default();
    found
}

/// Place (z, y, x) of the first plane in micrometres, if the file gives it in a unit of length.
/// The default of OME, the frame of reference of the stage, is none.
fn origin(pixels: Node<'_, '_>) -> Option<[f64; 3]> {
    let is_first = |plane: &Node<'_, '_>| {
        plane.has_tag_name_without_space("Plane")
            && ["TheZ", "TheC", "TheT"].iter().all(|axis| plane.attribute(*axis) == Some("0"))
    };
    let first = pixels.children().find(is_first)?;
    let place = |axis: char| -> Option<f64> {
        let unit = LengthUnit::parse(first.attribute(format!("Position{axis}Unit").as_str())?)?;
        let place: f64 = first.attribute(format!("Position{axis}").as_str())?.parse().ok()?;
        Some(place * unit.micrometres())
    };
    Some([place('Z')?, place('Y')?, place('X')?])
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name_without_space(name))
}

/// Names without regard to the name space, of which there is one for each version.
trait TagName {
    fn has_tag_name_without_space(&self, name: &str) -> bool;
}

impl TagName for Node<'_, '_> {
    fn has_tag_name_without_space(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(pixels: &str, inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" \
             UUID=\"urn:uuid:1\"><Image ID=\"Image:0\"><Pixels {pixels} SizeX=\"4\" SizeY=\"3\">\
             {inside}</Pixels></Image></OME>"
        )
    }

    const SIZES: &str = "DimensionOrder=\"XYCZT\" SizeC=\"2\" SizeZ=\"3\" SizeT=\"1\"";

    #[test]
    fn pages_follow_the_order_of_the_axes() {
        let inside = "<Channel ID=\"C:0\" Name=\"GFP\"/><Channel ID=\"C:1\" Name=\"RFP\"/>\
                      <TiffData/>";
        let sizes = format!(
            "{SIZES} PhysicalSizeX=\"0.1\" PhysicalSizeY=\"100\" \
                             PhysicalSizeYUnit=\"nm\" PhysicalSizeZ=\"0.5\""
        );
        let found = stack(&xml(&sizes, inside), 6).unwrap();
        assert_eq!((found.axes.as_str(), &found.dims[..]), ("tzc", &[1, 3, 2][..]));
        assert_eq!(found.pages, None);
        assert_eq!(found.calibration.spacing, Some([0.5, 0.1, 0.1]));
        assert_eq!(found.calibration.channels, ["GFP", "RFP"]);
    }

    #[test]
    fn the_first_plane_has_a_place_where_its_unit_is_one_of_length() {
        let plane = |z: usize, unit: &str| {
            format!(
                "<Plane TheZ=\"{z}\" TheC=\"0\" TheT=\"0\" PositionZ=\"3\" PositionZUnit=\"{unit}\" \
                 PositionY=\"2000\" PositionYUnit=\"nm\" PositionX=\"1\" PositionXUnit=\"{unit}\"/>"
            )
        };
        let sizes = format!("{SIZES} PhysicalSizeX=\"0.1\" PhysicalSizeY=\"0.2\"");
        let origin = |inside: &str| stack(&xml(&sizes, inside), 6).unwrap().calibration.origin;
        let planes = format!("<TiffData/>{}{}", plane(1, "mm"), plane(0, "µm"));
        assert_eq!(origin(&planes), Some([3.0, 2.0, 1.0]));
        assert_eq!(origin(&plane(0, "reference frame")), None);
        assert_eq!(origin("<TiffData/>"), None);
    }

    #[test]
    fn pages_may_stand_in_any_order() {
        let data: String = (0..6)
            .map(|page| {
                let (z, c) = (page % 3, page / 3);
                format!("<TiffData IFD=\"{page}\" FirstZ=\"{z}\" FirstC=\"{c}\" PlaneCount=\"1\"/>")
            })
            .collect();
        let found = stack(&xml(SIZES, &data), 6).unwrap();
        assert_eq!(found.pages, Some(vec![0, 3, 1, 4, 2, 5]));
        let error =
            |inside: &str, pages| stack(&xml(SIZES, inside), pages).unwrap_err().to_string();
        assert!(error(&data, 5).contains("6 pages"));
        assert!(error("<TiffData IFD=\"0\" PlaneCount=\"5\"/>", 6).contains("1 of its 6 planes"));
        let elsewhere = "<TiffData IFD=\"0\"><UUID FileName=\"b.tif\">urn:uuid:2</UUID></TiffData>";
        assert!(error(elsewhere, 6).contains("b.tif"));
    }
}
