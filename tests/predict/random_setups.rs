//! Random set-ups of prediction and training against a plain computation in float64 with
//! torch. Many more of them: `python tests/soak/random_setups.py` (its counts stand in
//! `docs/reliability.md`).

use crate::support::program::script;

/// Runs set-ups that the script draws from another seed than its default, so that a full
/// run of the script meets others than the tests.
fn run(predictions: &str, trainings: &str) -> String {
    script(
        "../soak/random_setups.py",
        ["--predictions", predictions, "--trainings", trainings, "--seed", "2", "--program"]
            .into_iter()
            .chain([env!("CARGO_BIN_EXE_unet3d")]),
    )
}

#[test]
fn random_predictions_are_those_of_a_plain_computation() {
    let said = run("12", "0");
    assert!(said.contains("predict: ") && said.contains("equal"), "{said}");
}

#[test]
fn random_trainings_are_those_of_a_plain_computation() {
    assert_eq!(run("0", "6"), "train: 6 equal\n");
}
