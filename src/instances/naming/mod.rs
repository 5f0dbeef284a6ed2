//! From class probabilities to one name a region, as AutoCellLabeler names neurons.

mod files;
mod give;
mod human;
mod label_input;
mod matrix;
mod table;

pub use files::{read_matrix, read_names, read_regions, write_matrix};
pub use give::{
    EXCLUDED, NamedRegion, NamingPlan, Pairs, REPEATABLE, Regions, UNKNOWN, coordinates,
    give_names, label_table,
};
pub use human::{HumanLabel, human_labels};
pub use label_input::{
    CropCentre, CropPlan, Cropped, RegionTables, WeightPlan, crop, name_counts, padding,
    region_tables,
};
pub use matrix::{MatrixBuilder, MatrixPlan, NameMatrix, Strange, averaged};
pub use table::{field as table_field, rows as table_rows};
