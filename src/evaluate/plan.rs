//! What is scored and how, decided before anything runs.

/// What predictions are scored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationKind {
    /// A class for every voxel.
    Semantic,
    /// A label image of objects.
    Instances,
    /// A table of names of regions.
    Names,
}

/// How predictions are compared with the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationPlan {
    pub kind: EvaluationKind,
    /// Data set of the predictions in HDF5 files; `None` for the usual one of the kind.
    pub prediction_dataset: Option<String>,
    /// Data set of the truth in HDF5 files.
    pub truth_dataset: Option<String>,
    /// A channel holds where its probability exceeds it.
    pub threshold: f64,
    /// Every channel is compared by itself with that of the truth, in place of the
    /// likeliest one.
    pub channels_apart: bool,
    /// Labels of the truth above 0 are one class.
    pub binary: bool,
    /// Class 0 of several is scored too.
    pub background: bool,
    /// Voxels with this label in the truth are left out.
    pub ignored: Option<i64>,
    /// Surface distances are computed.
    pub distances: bool,
    /// Voxel size along z, y, x in place of the files'.
    pub spacing: Option<[f64; 3]>,
    /// Human labels of less confidence are left out.
    pub min_confidence: f64,
    /// Names of the classes from the first scored one on.
    pub class_names: Vec<String>,
}

/// A score, by the name that tables and summaries give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    pub name: &'static str,
    /// What is better; `None` for counts.
    pub better: Option<Better>,
    pub meaning: &'static str,
}

/// Which values of a score are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

const fn higher(name: &'static str, meaning: &'static str) -> Score {
    Score { name, better: Some(Better::Higher), meaning }
}

const fn lower(name: &'static str, meaning: &'static str) -> Score {
    Score { name, better: Some(Better::Lower), meaning }
}

const fn count(name: &'static str, meaning: &'static str) -> Score {
    Score { name, better: None, meaning }
}

static SEMANTIC: [Score; 8] = [
    higher("dice", "2 · both / (predicted + true) voxels"),
    higher("iou", "intersection over union"),
    higher("precision", "share of predicted voxels that are true"),
    higher("recall", "share of true voxels that are predicted"),
    lower("hausdorff95", "95th percentile of the distances between the surfaces"),
    lower("average_distance", "mean distance between the surfaces, both ways"),
    count("truth_voxels", "voxels of the class in the truth"),
    count("predicted_voxels", "voxels of the class in the prediction"),
];

static INSTANCES: [Score; 23] = [
    higher("average_precision", "mean of ap_50 to ap_95"),
    higher("ap_50", "TP / (TP + FP + FN) where objects match from IoU 0.50 on"),
    higher("ap_55", "the same from IoU 0.55 on"),
    higher("ap_60", "the same from IoU 0.60 on"),
    higher("ap_65", "the same from IoU 0.65 on"),
    higher("ap_70", "the same from IoU 0.70 on"),
    higher("ap_75", "the same from IoU 0.75 on"),
    higher("ap_80", "the same from IoU 0.80 on"),
    higher("ap_85", "the same from IoU 0.85 on"),
    higher("ap_90", "the same from IoU 0.90 on"),
    higher("ap_95", "the same from IoU 0.95 on"),
    higher("panoptic_quality", "summed IoU of matches / (TP + FP/2 + FN/2) at IoU 0.5"),
    higher("precision", "share of predicted objects that match at IoU 0.5"),
    higher("recall", "share of true objects that are matched at IoU 0.5"),
    lower("adapted_rand_error", "adapted Rand error, background of the truth left out"),
    lower("variation_of_information", "in bits; sum of the two below"),
    lower("split_entropy", "bits of the prediction within true objects: too much is cut"),
    lower("merge_entropy", "bits of the truth within predicted objects: too little is cut"),
    count("truth_objects", "objects in the truth"),
    count("predicted_objects", "objects in the prediction"),
    lower("splits", "true objects that hold more than half of two or more predicted ones"),
    lower("merges", "predicted objects that hold more than half of two or more true ones"),
    lower("count_error", "difference of the two counts, without sign"),
];

static NAMES: [Score; 6] = [
    higher("agreement", "share of regions whose name is the human one"),
    higher("agreement_but_for_side", "the same if left and right count as one"),
    higher("named", "share of regions that are not UNKNOWN"),
    count("compared", "regions with one human name"),
    count("unknown", "of these, left UNKNOWN by the prediction"),
    count("absent", "regions with a human name that the prediction lacks"),
];

impl EvaluationKind {
    /// The scores of a file, in the order of tables.
    pub fn scores(self) -> &'static [Score] {
        match self {
            EvaluationKind::Semantic => &SEMANTIC,
            EvaluationKind::Instances => &INSTANCES,
            EvaluationKind::Names => &NAMES,
        }
    }

    /// How the flag `--kind` calls it.
    pub fn name(self) -> &'static str {
        match self {
            EvaluationKind::Semantic => "semantic",
            EvaluationKind::Instances => "instances",
            EvaluationKind::Names => "names",
        }
    }
}
