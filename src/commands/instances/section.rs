//! The section `instances` of a prediction's configuration: the flags of the command as
//! keys.

use std::ffi::OsString;

use clap::{Args, Command, FromArgMatches};

use crate::cli;
use crate::config::{ConfigError, Node, Parameter, YamlValue};
use crate::instances::LABEL_FORMATS;

const OF: &[&str] = &["foreground", "boundary"];
const SPLITS: &[&str] = &["none", "thresholds", "distance", "seeds"];
const NEIGHBOURS: &str = "6, 18 or 26";

/// The keys of the section. They are the flags of `unet3d instances` that are about a
/// single prediction, with underscores.
pub const INSTANCES: &[Parameter] = &[
    Parameter::integer("channel", 1, "channel with the probability (of one: 0)")
        .at_least(0.0)
        .optional(),
    Parameter::choice("method", "foreground", OF, "what the probability is of"),
    Parameter::probability("threshold", 0.5, "a voxel counts if its probability exceeds this"),
    Parameter::integer("min_size", 7, "least voxels of a region; 100 for boundaries")
        .at_least(0.0)
        .optional(),
    Parameter::integer("max_size", 0, "most voxels of a region").at_least(0.0).optional(),
    Parameter::integer("connectivity", 6, NEIGHBOURS).optional(),
    Parameter::flag("fill_cavities", false, "count cavities as part of the region around them"),
    Parameter::flag("drop_border", false, "leave out regions that touch a face of the volume"),
    Parameter::path("mask", "image of the same size, or a folder: only voxels not 0 count"),
    Parameter::choice("split", "thresholds", SPLITS, "how regions of several objects are found")
        .optional(),
    Parameter::numbers("split_thresholds", &[0.7, 0.8, 0.9], "further thresholds").optional(),
    Parameter::integers("split_min_sizes", &[5, 4, 4], "least voxels of a part at each").optional(),
    Parameter::flag("mark_parts", false, "mark parts by all of their voxels"),
    Parameter::number("sigma", 1.0, "gaussian that smooths the distance, in voxels")
        .at_least(0.0)
        .optional(),
    Parameter::number("h_maxima", 0.0, "height of a maximum of the distance")
        .at_least(0.0)
        .optional(),
    Parameter::number("min_distance", 0.0, "distance of two maxima").at_least(0.0).optional(),
    Parameter::path("seeds", "label image, or a folder, whose labels are the seeds"),
    Parameter::integer("seed_channel", 0, "channel whose regions are the seeds")
        .at_least(0.0)
        .optional(),
    Parameter::integer("boundary_channel", 0, "channel with the probability of a border")
        .at_least(0.0)
        .optional(),
    Parameter::choice(
        "flood",
        "probability",
        &["probability", "distance", "raw"],
        "what the flood from the markers follows",
    )
    .optional(),
    Parameter::flag("confine", false, "keep the flood within the region"),
    Parameter::flag("no_confine", false, "let the flood run through voxels outside of the region"),
    Parameter::choice("queue", "own", &["previous", "own"], "the value with which a voxel waits")
        .optional(),
    Parameter::integer("flood_connectivity", 26, NEIGHBOURS).optional(),
    Parameter::number("sigma_weights", 2.0, "boundaries: gaussian that smooths the probability")
        .at_least(0.0)
        .optional(),
    Parameter::probability("alpha", 1.0, "boundaries: share of the probability in the height")
        .optional(),
    Parameter::flag("slices", false, "boundaries: every slice by itself"),
    Parameter::path("raw", "images of the same size, or a folder; the table gets their means"),
    Parameter::text("raw_dataset", "raw", "data set with the raw image, in HDF5 files"),
    Parameter::integer(
        "raw_channel",
        0,
        "of images named <prefix>_t<time>_ch<channel>, the channel",
    )
    .at_least(0.0)
    .optional(),
    Parameter::text("label_dataset", "label", "data set of masks and seeds, in HDF5 files"),
    Parameter::numbers("voxel_size", &[], "size of a voxel along z, y, x").of_length(3).optional(),
    Parameter::choice("layout", "plain", &["plain", "antsun"], "which files are written"),
    Parameter::choice(
        "format",
        "input",
        LABEL_FORMATS,
        "of the label image; `input`: as predicted",
    ),
    Parameter::path("output", "folder for the results; if absent, beside each prediction"),
    Parameter::flag("original", false, "as SegmentationTools.jl, faults and all"),
    Parameter::flag("preview", false, "write a picture of each result too"),
    Parameter::integer("memory", 512, "MiB for an image; a larger one is read again, in slabs")
        .at_least(0.0),
];

/// The options that the section stands for.
///
/// # Errors
/// Keys of wrong types, and values that the command would refuse.
pub fn options(node: &Node) -> Result<cli::Instances, ConfigError> {
    node.section(INSTANCES)?;
    let mut words: Vec<OsString> = vec!["instances".into(), "predictions".into()];
    for parameter in INSTANCES {
        let Some(child) = node.get(parameter.name) else { continue };
        let flag = format!("--{}", parameter.name.replace('_', "-"));
        match &child.value {
            YamlValue::Flag(true) => words.push(flag.into()),
            YamlValue::Flag(false) => {}
            YamlValue::List(items) => {
                let list: Option<Vec<String>> = items.iter().map(scalar).collect();
                let list = list.ok_or_else(|| child.error("a list of numbers is wanted"))?;
                words.push(format!("{flag}={}", list.join(",")).into());
            }
            _ => {
                let text = scalar(child).ok_or_else(|| child.error("a single value is wanted"))?;
                words.push(format!("{flag}={text}").into());
            }
        }
    }
    let parsed = cli::Instances::augment_args(Command::new("instances"))
        .try_get_matches_from(words)
        .and_then(|matches| cli::Instances::from_arg_matches(&matches));
    parsed.map_err(|fault| {
        // The first line tells what is wrong.
        let text = fault.to_string();
        let first = text.lines().next().unwrap_or_default();
        node.error(as_keys(first.strip_prefix("error: ").unwrap_or(first)))
    })
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        YamlValue::Integer(value) => Some(value.to_string()),
        YamlValue::Number(value) => Some(value.to_string()),
        YamlValue::Text(value) => Some(value.clone()),
        _ => None,
    }
}

/// A message about flags as one about keys: `--min-size` becomes `min_size`.
pub fn as_keys(message: &str) -> String {
    let words = message.split(' ').map(|word| match word.find("--") {
        Some(at) => word[..at].to_owned() + &word[at + 2..].replace('-', "_"),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tree;
    use clap::CommandFactory;

    fn options_of(yaml: &str) -> Result<cli::Instances, String> {
        let tree = Tree::parse(yaml, "a.yaml", &[]).unwrap();
        let options = options(tree.root.get("instances").unwrap());
        options.map_err(|fault| fault.to_string())
    }

    #[test]
    fn keys_are_the_flags_of_the_command() {
        let cli = crate::cli::Cli::command();
        let command = cli.find_subcommand("instances").unwrap();
        let flags: Vec<String> =
            command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        for parameter in INSTANCES {
            assert!(flags.contains(&parameter.name.replace('_', "-")), "{}", parameter.name);
        }
        // The others are about which predictions are taken, or about the run.
        let others = flags.iter().filter(|flag| {
            !INSTANCES.iter().any(|parameter| parameter.name.replace('_', "-") == **flag)
        });
        let others: Vec<&str> = others.map(String::as_str).collect();
        assert_eq!(others, ["dataset", "skip-existing", "shard", "threads", "verbose", "quiet"]);
    }

    #[test]
    fn values_are_those_of_the_section() {
        let options = options_of(
            "instances: {threshold: 0.4, split_thresholds: [0.6, 0.9], split_min_sizes: [3, 2], \
             drop_border: true, confine: false, layout: antsun, output: out}",
        )
        .unwrap();
        assert_eq!(options.threshold, 0.4);
        assert_eq!(options.split_thresholds, Some(vec![0.6, 0.9]));
        assert_eq!(options.split_min_sizes, Some(vec![3, 2]));
        assert!(options.drop_border && !options.confine);
        assert_eq!(options.output, Some("out".into()));
        let fault = options_of("instances: {connectivity: 8}").unwrap_err();
        assert!(fault.contains("6, 18 or 26"), "{fault}");
        assert!(options_of("instances: {threshold: high}").unwrap_err().contains("threshold"));
        assert_eq!(as_keys("--split-min-sizes needs (--x-y)"), "split_min_sizes needs (x_y)");
    }
}
