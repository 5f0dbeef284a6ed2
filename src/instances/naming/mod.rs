//! From class probabilities to one name a region, as AutoCellLabeler names neurons.

mod give;
mod human;
mod label_input;
mod matrix;
mod table;

pub use give::{
    EXCLUDED, NamedRegion, NamingPlan, Pairs, REPEATABLE, Regions, UNKNOWN, coordinates,
    give_names, label_table,
};
pub use human::{HumanLabel, human_labels};
pub use label_input::{
    CropCentre, CropPlan, Cropped, RegionTables, WeightPlan, crop, name_counts, padding,
    region_tables,
};
pub use matrix::{MatrixBuilder, MatrixPlan, NameMatrix, averaged};
pub use table::rows as table_rows;
